//! Which model the stack talks to: the offline demo model, or the real one that the environment configures.

use crate::config::Env;

/// What the demo model answers as; the functions speak the real protocol to it.
const DEMO_MODEL: &str = "openai::gpt-4o-mini";
/// The demo model takes any key, the functions want one.
const DEMO_KEY: &str = "offline-demo";
/// Providers whose key has a customary variable; every other one uses MODEL_API_KEY.
const KEY_VARIABLES: [(&str, &str); 7] = [
    ("openai", "OPENAI_API_KEY"),
    ("anthropic", "ANTHROPIC_API_KEY"),
    ("gemini", "GEMINI_API_KEY"),
    ("groq", "GROQ_API_KEY"),
    ("deepseek", "DEEPSEEK_API_KEY"),
    ("xai", "XAI_API_KEY"),
    ("open_router", "OPENROUTER_API_KEY"),
];

/// The three values that the template takes, and where they come from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) base_url: String,
    /// Never printed and never put on a command line.
    pub(crate) api_key: String,
    pub(crate) demo: bool,
    /// Something the user may not expect.
    pub(crate) note: Option<&'static str>,
}

impl Model {
    /// `demo_url` is the address of the demo model server.
    pub(crate) fn from_env(env: &Env, demo_url: &str) -> Self {
        let (name, base_url) = (env.get("MODEL"), env.get("MODEL_BASE_URL"));
        if name.is_none() && base_url.is_none() {
            let note = env
                .get("OPENAI_API_KEY")
                .map(|_| "OPENAI_API_KEY is set but MODEL is not: nothing is sent to OpenAI; set MODEL=gpt-4o-mini (or another) to use it");
            return Self {
                name: DEMO_MODEL.to_owned(),
                base_url: format!("{demo_url}/v1/"),
                api_key: DEMO_KEY.to_owned(),
                demo: true,
                note,
            };
        }
        // A name without a provider is one of OpenAI, or of the OpenAI-compatible server at the base URL.
        let name = name.unwrap_or(DEMO_MODEL);
        let name = if name.contains("::") { name.to_owned() } else { format!("openai::{name}") };
        let api_key = env.get("MODEL_API_KEY").or_else(|| env.get(key_variable(&name))).unwrap_or_default().to_owned();
        let hosted = base_url.is_none() && !["ollama::", "bedrock"].iter().any(|provider| name.starts_with(provider));
        let note = (hosted && api_key.is_empty())
            .then_some("no API key is set for this model (MODEL_API_KEY or the provider's own variable): its calls will fail");
        Self { name, base_url: base_url.map(with_slash).unwrap_or_default(), api_key, demo: false, note }
    }

    /// For the screen.
    pub(crate) fn describe(&self) -> String {
        match (self.demo, self.base_url.is_empty()) {
            (true, _) => "offline demo model (set OPENAI_API_KEY and MODEL for a real one)".to_owned(),
            (false, true) => self.name.clone(),
            (false, false) => format!("{} at {}", self.name, self.base_url),
        }
    }
}

/// The client joins relative paths to the base, so without the slash the last segment would be lost.
fn with_slash(url: &str) -> String {
    format!("{}/", url.trim().trim_end_matches('/'))
}

fn key_variable(model: &str) -> &'static str {
    let provider = model.split("::").next().unwrap_or_default();
    KEY_VARIABLES.iter().find(|(name, _)| *name == provider).map_or("MODEL_API_KEY", |(_, variable)| variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pairs: &[(&str, &str)]) -> Model {
        Model::from_env(&Env::of(pairs), "http://127.0.0.1:4010")
    }

    #[test]
    fn with_nothing_set_the_demo_model_answers() {
        let model = model(&[]);
        assert!(model.demo && model.note.is_none());
        assert_eq!(model.base_url, "http://127.0.0.1:4010/v1/");
    }

    #[test]
    fn a_key_alone_spends_no_money_and_says_so() {
        let model = model(&[("OPENAI_API_KEY", "sk-secret")]);
        assert!(model.demo && model.note.is_some());
        assert_eq!(model.api_key, DEMO_KEY);
    }

    #[test]
    fn a_key_and_a_model_switch_to_the_real_provider() {
        let model = model(&[("OPENAI_API_KEY", "sk-secret"), ("MODEL", "gpt-4o")]);
        assert_eq!(
            (model.name.as_str(), model.base_url.as_str(), model.api_key.as_str(), model.demo),
            ("openai::gpt-4o", "", "sk-secret", false)
        );
        assert!(!model.describe().contains("sk-secret"));
    }

    #[test]
    fn a_key_goes_only_to_its_own_provider() {
        let model = model(&[("OPENAI_API_KEY", "sk-secret"), ("MODEL", "anthropic::claude-x")]);
        assert_eq!(model.api_key, "");
        assert!(model.note.is_some());
    }

    #[test]
    fn a_base_url_alone_means_an_openai_compatible_server() {
        let model = model(&[("MODEL_BASE_URL", "http://127.0.0.1:11434/v1")]);
        assert!(!model.demo && model.note.is_none());
        assert_eq!(model.base_url, "http://127.0.0.1:11434/v1/");
    }
}
