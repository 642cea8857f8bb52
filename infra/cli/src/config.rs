//! The environment, read once. Everything below `main` gets it handed in, so that tests can hand in another.

use std::collections::BTreeMap;

/// The variables this process was started with; those that are not UTF-8 are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env(BTreeMap<String, String>);

impl Env {
    pub(crate) fn read() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    /// The value, unless it is missing or blank: `MODEL= make run` means "not set".
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The named variables that are set, for a child that gets these and no others.
    pub(crate) fn only<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        names.iter().filter_map(|name| Some((*name, self.get(name)?)))
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
impl Env {
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_variable_counts_as_not_set() {
        let env = Env::of(&[("MODEL", " "), ("PATH", "/bin")]);
        assert_eq!(env.get("MODEL"), None);
        assert_eq!(env.only(&["MODEL", "PATH", "HOME"]).collect::<Vec<_>>(), [("PATH", "/bin")]);
    }
}
