//! Which deployment is meant, and how it wants to be asked: the command line, two variables, and a file of named profiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Target;
use crate::config::Env;
use crate::error::{Error, Result};

/// Where `make run` listens.
pub(crate) const LOCAL: &str = "http://localhost:8000";

/// The file of profiles.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The profile that is meant when none is named.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its address, with the stage.
    pub(crate) url: String,
    /// How requests are allowed; left out: signed where the address is API Gateway's own, else nothing.
    pub(crate) auth: Option<Scheme>,
    /// Of the signature; left out: the one in the address, or that of the AWS profile.
    pub(crate) region: Option<String>,
    /// Whose credentials sign, by their name in `~/.aws`; left out: what the AWS tools would use.
    pub(crate) aws_profile: Option<String>,
    /// The header of the key.
    pub(crate) header: Option<String>,
    /// What goes before the key, as `Bearer `.
    pub(crate) prefix: Option<String>,
    /// The variable that holds the key.
    pub(crate) key_env: Option<String>,
    /// The command that prints the key, and its arguments.
    pub(crate) key_command: Option<Vec<String>>,
}

/// What allows a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheme {
    /// Nothing: the local stack.
    None,
    /// The signature of an AWS principal: what the template asks for.
    Sigv4,
    /// A key in a header.
    ApiKey,
}

impl Profile {
    fn of_url(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    /// What was said, or what fits the address.
    pub(crate) fn scheme(&self) -> Scheme {
        self.auth.unwrap_or(if region_of(&self.url).is_some() { Scheme::Sigv4 } else { Scheme::None })
    }

    /// The region that signs, as far as it can be told without asking AWS's own files.
    pub(crate) fn region(&self) -> Option<String> {
        self.region.clone().or_else(|| region_of(&self.url))
    }
}

/// The deployment that the command line means. A flag counts more than a variable; at the same rank an address counts more than a
/// profile, whose other words then still hold. So a key never goes to an address that was typed without its profile.
pub(crate) fn resolve(target: &Target, env: &Env) -> Result<Profile> {
    if target.url.is_none() && target.profile.is_none() {
        let profile = match env.get("REPRISE_PROFILE") {
            Some(name) => Some(named(name, env)?),
            None if env.get("REPRISE_URL").is_none() => default(env)?,
            None => None,
        };
        return Ok(with_url(profile, env.get("REPRISE_URL")));
    }
    let profile = target.profile.as_deref().map(|name| named(name, env)).transpose()?;
    Ok(with_url(profile, target.url.as_deref()))
}

fn with_url(profile: Option<Profile>, url: Option<&str>) -> Profile {
    match (profile, url) {
        (Some(profile), Some(url)) => Profile { url: url.to_owned(), ..profile },
        (Some(profile), None) => profile,
        (None, url) => Profile::of_url(url.unwrap_or(LOCAL)),
    }
}

fn named(name: &str, env: &Env) -> Result<Profile> {
    let path =
        place(env).ok_or_else(|| Error::unreachable("there is no home directory for the profiles").with_hint("set REPRISE_CONFIG"))?;
    let file = read(&path)?.unwrap_or_default();
    file.profiles.get(name).cloned().ok_or_else(|| {
        let names: Vec<_> = file.profiles.keys().map(String::as_str).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::unreachable(format!("there is no profile `{name}` in {}", path.display()))
            .because(format!("there is: {there}"))
            .with_hint(format!("write it there:\n[profiles.{name}]\nurl = \"https://…\""))
    })
}

fn default(env: &Env) -> Result<Option<Profile>> {
    let Some(file) = place(env).map(|path| read(&path)).transpose()?.flatten() else { return Ok(None) };
    file.default.map(|name| named(&name, env)).transpose()
}

fn place(env: &Env) -> Option<PathBuf> {
    let folder = || env.get("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(Path::new(env.get("HOME")?).join(".config")));
    env.get("REPRISE_CONFIG").map(PathBuf::from).or_else(|| Some(folder()?.join("reprise/config.toml")))
}

/// None when there is no such file.
fn read(path: &Path) -> Result<Option<File>> {
    let wrong = |error: &dyn std::fmt::Display| Error::unreachable(format!("{} cannot be read", path.display())).because(error);
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map(Some).map_err(|error| wrong(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

/// The region in an address of API Gateway.
fn region_of(url: &str) -> Option<String> {
    let host = url.strip_prefix("https://")?.split(['/', ':']).next()?;
    let (_, rest) = host.split_once(".execute-api.")?;
    let (region, domain) = rest.split_once('.')?;
    matches!(domain, "amazonaws.com" | "amazonaws.com.cn").then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "https://abc.execute-api.eu-west-1.amazonaws.com/prod";

    fn target(url: Option<&str>, profile: Option<&str>) -> Target {
        Target { url: url.map(str::to_owned), profile: profile.map(str::to_owned) }
    }

    /// An environment whose file of profiles says this.
    fn env(test: &str, file: &str, more: &[(&str, &str)]) -> (PathBuf, Env) {
        let path = std::env::temp_dir().join(format!("reprise-profiles-{}-{test}.toml", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let pairs: Vec<_> = more.iter().copied().chain([("REPRISE_CONFIG", path.to_str().unwrap())]).collect();
        let env = Env::of(&pairs);
        (path, env)
    }

    #[test]
    fn a_flag_counts_more_than_a_variable_and_an_address_more_than_a_profile() {
        let file = "[profiles.prod]\nurl = \"https://prod\"\nauth = \"api-key\"\n[profiles.dev]\nurl = \"http://dev\"\n";
        let (path, env) = env("rank", file, &[("REPRISE_URL", "http://variable"), ("REPRISE_PROFILE", "prod")]);
        let resolved = |url, profile| resolve(&target(url, profile), &env).map(|found| (found.url.clone(), found.scheme())).unwrap();
        assert_eq!(resolved(None, None), ("http://variable".into(), Scheme::ApiKey), "at the same rank both hold");
        assert_eq!(
            resolved(Some("http://typed"), None),
            ("http://typed".into(), Scheme::None),
            "the key of the variable's profile stays here"
        );
        assert_eq!(resolved(None, Some("dev")), ("http://dev".into(), Scheme::None));
        assert_eq!(resolved(Some("https://typed"), Some("prod")), ("https://typed".into(), Scheme::ApiKey));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn without_a_word_it_is_the_default_profile_or_this_machine() {
        let (path, with_default) = env("default", "default = \"dev\"\n[profiles.dev]\nurl = \"http://dev\"\n", &[]);
        assert_eq!(resolve(&target(None, None), &with_default).unwrap().url, "http://dev");
        std::fs::remove_file(path).unwrap();
        assert_eq!(resolve(&target(None, None), &with_default).unwrap().url, LOCAL, "there is no such file");
        assert_eq!(resolve(&target(None, None), &Env::of(&[])).unwrap().url, LOCAL);
    }

    #[test]
    fn a_profile_that_is_not_there_and_a_word_that_is_none_are_named() {
        let (path, env) = env("wrong", "[profiles.dev]\nurl = \"http://dev\"\n", &[]);
        let said = resolve(&target(None, Some("prod")), &env).unwrap_err().render();
        assert!(said.contains("no profile `prod`") && said.contains("there is: dev"), "{said}");
        std::fs::write(&path, "[profiles.dev]\nurl = \"http://dev\"\npassword = \"x\"\n").unwrap();
        let said = resolve(&target(None, Some("dev")), &env).unwrap_err().render();
        assert!(said.contains("password") && said.contains("line 3"), "{said}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_address_of_api_gateway_is_signed_for_its_region() {
        let profile = Profile::of_url(GATEWAY);
        assert_eq!((profile.scheme(), profile.region().as_deref()), (Scheme::Sigv4, Some("eu-west-1")));
        for other in ["http://localhost:8000", "https://abc.execute-api.eu-west-1.example.com", "https://agents.example.com"] {
            assert_eq!(Profile::of_url(other).scheme(), Scheme::None, "{other}");
        }
    }
}
