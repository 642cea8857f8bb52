//! Where things are: the repository, the project's own tools, and the folder of one stack.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The paths of one stack. `up` makes the folders, every other command only reads them.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Root of the repository: the folder of `template.yaml`.
    pub(crate) root: PathBuf,
    /// Name given by `--name`.
    pub(crate) name: String,
}

impl Layout {
    /// Those of the stack of that name.
    pub(crate) fn find(name: &str) -> Result<Self> {
        Ok(Self { root: repository()?, name: name.to_owned() })
    }

    /// `.local/stacks/<name>`, absolute.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(".local/stacks").join(&self.name)
    }

    pub(crate) fn pid_file(&self, process: &str) -> PathBuf {
        self.folder().join("run").join(format!("{process}.pid"))
    }

    pub(crate) fn log_file(&self, process: &str) -> PathBuf {
        self.folder().join("log").join(format!("{process}.log"))
    }

    pub(crate) fn settings_file(&self) -> PathBuf {
        self.folder().join("stack.json")
    }

    /// Parameters of the template that were given to `up`.
    pub(crate) fn parameters_file(&self) -> PathBuf {
        self.folder().join("parameters.json")
    }

    pub(crate) fn outputs_file(&self) -> PathBuf {
        self.folder().join("outputs.json")
    }

    /// Says that a watcher has redirected the functions.
    pub(crate) fn watch_file(&self) -> PathBuf {
        self.folder().join("run/watch.json")
    }

    /// Interpreter of the tools that `infra/local/install.sh run` installs.
    pub(crate) fn python(&self) -> PathBuf {
        self.root.join(".local/venv/bin/python")
    }

    /// Name of the CloudFormation stack.
    pub(crate) fn stack_name(&self) -> String {
        format!("reprise-{}", self.name)
    }

    /// Deployed name of a function.
    pub(crate) fn function_name(&self, function: &str) -> String {
        format!("{}-{function}", self.stack_name())
    }

    /// A path as a reader in the repository would type it.
    pub(crate) fn short(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// Makes the folders and takes the stack for this process; a second `up` or `down` at the same time is refused.
    pub(crate) fn lock(&self) -> Result<File> {
        let folder = self.folder();
        let failed = |error: std::io::Error| Error::new(format!("cannot use the folder {}", folder.display())).because(error);
        for part in ["run", "log"] {
            std::fs::create_dir_all(folder.join(part)).map_err(failed)?;
        }
        let file = File::create(folder.join("run/lock")).map_err(failed)?;
        file.try_lock().map_err(|_held| {
            Error::new(format!("another reprise command is changing the stack `{}` right now", self.name)).with_hint("wait for it to end")
        })?;
        Ok(file)
    }
}

/// Looks for the repository from the working directory upwards, then where this binary was built.
pub(crate) fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|error| Error::new("cannot tell the working directory").because(error))?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().chain(built.ancestors()).find(|folder| is_repository(folder));
    root.map(Path::to_path_buf).ok_or_else(|| {
        Error::new("this is no checkout of Reprise: template.yaml and infra/local were not found").with_hint("run it inside the repository")
    })
}

fn is_repository(folder: &Path) -> bool {
    folder.join("template.yaml").is_file() && folder.join("infra/local").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_name_of_the_stack() {
        let layout = Layout { root: "/r".into(), name: "dev".into() };
        assert_eq!(layout.function_name("health"), "reprise-dev-health");
        assert_eq!(layout.pid_file("model"), Path::new("/r/.local/stacks/dev/run/model.pid"));
        assert_eq!(layout.short(&layout.log_file("model")), Path::new(".local/stacks/dev/log/model.log"));
    }
}
