//! The ports of a stack: chosen from variables when it is started, recorded, and read back by every other command.

use serde::{Deserialize, Serialize};

use crate::config::Env;
use crate::error::{Error, Result};
use crate::stack::layout::Layout;

/// What `up` decided; `stack.json` of the stack's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The front: where a user sends requests.
    pub(crate) port: u16,
    pub(crate) emulator_port: u16,
    pub(crate) model_port: u16,
}

impl Settings {
    /// Where the front listens unless PORT says otherwise.
    pub(crate) const PORT: u16 = 8000;

    pub(crate) fn from_env(env: &Env) -> Result<Self> {
        let settings = Self {
            port: port(env, "PORT", Self::PORT)?,
            emulator_port: port(env, "EMULATOR_PORT", 4566)?,
            model_port: port(env, "MODEL_PORT", 4010)?,
        };
        let Self { port, emulator_port, model_port } = settings;
        if port == emulator_port || port == model_port || emulator_port == model_port {
            return Err(Error::new(format!(
                "PORT={port}, EMULATOR_PORT={emulator_port} and MODEL_PORT={model_port} must be three different ports"
            )));
        }
        Ok(settings)
    }

    /// The settings of a stack that `up` has made; `None` when there is none.
    pub(crate) fn recorded(layout: &Layout) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(layout.settings_file()).ok()?).ok()
    }

    /// As `recorded`, for commands that need a stack.
    pub(crate) fn required(layout: &Layout) -> Result<Self> {
        Self::recorded(layout).ok_or_else(|| {
            Error::unreachable(format!("there is no stack `{}`", layout.name)).with_hint("start it with `make run` (`reprise stack up`)")
        })
    }

    pub(crate) fn record(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| Error::new("cannot write the settings").because(error))?;
        std::fs::write(layout.settings_file(), text)
            .map_err(|error| Error::new("cannot write the settings").because(error).with_log(layout.settings_file()))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(crate) fn emulator_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.emulator_port)
    }

    pub(crate) fn model_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.model_port)
    }
}

/// A port variable; `default` when it is not set.
pub(crate) fn port(env: &Env, variable: &str, default: u16) -> Result<u16> {
    let Some(text) = env.get(variable) else { return Ok(default) };
    match text.trim().parse() {
        Ok(0) | Err(_) => Err(Error::unreachable(format!("{variable}={text} is not a port (1 to 65535)"))),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_port_names_its_variable() {
        let error = Settings::from_env(&Env::of(&[("EMULATOR_PORT", "70000")])).unwrap_err();
        assert!(error.render().contains("EMULATOR_PORT=70000"));
    }

    #[test]
    fn two_processes_cannot_share_a_port() {
        assert!(Settings::from_env(&Env::of(&[("PORT", "4566")])).is_err());
        assert_eq!(Settings::from_env(&Env::default()).unwrap().url(), "http://localhost:8000");
    }
}
