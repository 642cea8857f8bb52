//! Which models answer, in which order, and where they are: `MODEL`, `PROVIDERS` and what belongs to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, Environment, variables};
use crate::domain::breaker::BreakerConfig;
use crate::domain::definition::ModelRef;

/// The models of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The models that are asked, the next where the one before it fails, by agents that name none. At least one.
    pub chain: Vec<ModelRef>,
    /// The endpoints that need more than the name of their protocol.
    pub providers: Vec<ProviderConfig>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its name in `provider::model`.
    pub name: String,
    /// What it speaks, e.g. `openai`.
    pub protocol: String,
    /// Where it is, if not at the protocol's own address.
    pub base_url: Option<String>,
    /// The name or ARN of the Secrets Manager secret that holds its key, or `ssm:` and the name of a parameter.
    pub secret: Option<String>,
    /// How long the parts of a call may take.
    pub timeouts: Timeouts,
    /// When its breakers open.
    pub breaker: BreakerConfig,
}

/// How long the parts of a call may take. The whole of it has the engine's time-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection: a provider that is there answers in a fraction of it.
    pub connect: Duration,
    /// From the request to the first token.
    pub first_token: Duration,
    /// From one token to the next.
    pub between_tokens: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), first_token: Duration::from_secs(60), between_tokens: Duration::from_secs(30) }
    }
}

impl ProviderConfig {
    /// The provider that a protocol's own name stands for.
    #[must_use]
    pub fn of_protocol(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            protocol: name.to_owned(),
            base_url: None,
            secret: None,
            timeouts: Timeouts::default(),
            breaker: BreakerConfig::default(),
        }
    }
}

/// One entry of `PROVIDERS`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    protocol: String,
    base_url: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    timeouts: TimeoutsEntry,
    #[serde(default)]
    breaker: BreakerConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimeoutsEntry {
    connect_seconds: Option<u32>,
    first_token_seconds: Option<u32>,
    between_tokens_seconds: Option<u32>,
}

impl ModelsConfig {
    /// Reads all of it. `MODEL_BASE_URL` and `MODEL_API_KEY_SECRET` are those of the first model's provider.
    ///
    /// # Errors
    /// Names the variable, and the field in it, that is missing or wrong.
    pub fn read(env: &Environment) -> Result<Self, ConfigError> {
        let secret = env.optional(variables::MODEL_API_KEY_SECRET)?;
        let mut config = Self::without_key(env)?;
        if let Some(secret) = secret {
            config.first_provider(variables::MODEL_API_KEY_SECRET)?.secret = Some(secret);
        }
        Ok(config)
    }

    /// Reads all but `MODEL_API_KEY_SECRET`: what a probe needs.
    ///
    /// # Errors
    /// Names the variable, and the field in it, that is missing or wrong.
    pub fn without_key(env: &Environment) -> Result<Self, ConfigError> {
        let chain = read_chain(&env.required(variables::MODEL)?)?;
        let mut config = Self { chain, providers: read_providers(&env.required(variables::PROVIDERS)?)? };
        if let Some(url) = env.optional(variables::MODEL_BASE_URL)? {
            check_url(variables::MODEL_BASE_URL, "", &url)?;
            config.first_provider(variables::MODEL_BASE_URL)?.base_url = Some(url);
        }
        Ok(config)
    }

    /// The names of all providers that it would name.
    ///
    /// # Errors
    /// Names the variable, and the field in it, that is missing or wrong.
    pub fn read_names(env: &Environment) -> Result<Vec<String>, ConfigError> {
        let chain = read_chain(&env.required(variables::MODEL)?)?;
        Ok(Self { chain, providers: read_providers(&env.required(variables::PROVIDERS)?)? }.names())
    }

    /// The first model's provider, which the variables beside `MODEL` are about unless `PROVIDERS` says all of it.
    fn first_provider(&mut self, variable: &'static str) -> Result<&mut ProviderConfig, ConfigError> {
        let name = self.chain.first().map(|model| model.provider.clone()).unwrap_or_default();
        let place = self.providers.iter().position(|provider| provider.name == name).unwrap_or_else(|| {
            self.providers.push(ProviderConfig::of_protocol(&name));
            self.providers.len() - 1
        });
        let provider = &mut self.providers[place];
        let is_said = match variable {
            variables::MODEL_BASE_URL => provider.base_url.is_some(),
            _ => provider.secret.is_some(),
        };
        if is_said {
            let problem = format!("PROVIDERS says this of `{name}` already; say it in one place");
            return Err(ConfigError { name: variable, problem });
        }
        Ok(provider)
    }

    /// The provider with that name: as `PROVIDERS` has it, or as its protocol is by itself.
    #[must_use]
    pub fn provider(&self, name: &str) -> ProviderConfig {
        let found = self.providers.iter().find(|provider| provider.name == name);
        found.cloned().unwrap_or_else(|| ProviderConfig::of_protocol(name))
    }

    /// The names of all providers that it names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let names: BTreeSet<&String> =
            self.chain.iter().map(|model| &model.provider).chain(self.providers.iter().map(|provider| &provider.name)).collect();
        names.into_iter().cloned().collect()
    }

    /// When the breakers of each provider open that has numbers of its own.
    #[must_use]
    pub fn breakers(&self) -> BTreeMap<String, BreakerConfig> {
        self.providers.iter().map(|provider| (provider.name.clone(), provider.breaker)).collect()
    }
}

fn read_chain(text: &str) -> Result<Vec<ModelRef>, ConfigError> {
    let wrong = |problem: String| ConfigError { name: variables::MODEL, problem };
    let mut chain: Vec<ModelRef> = Vec::new();
    for part in text.split(',') {
        let model: ModelRef = part.trim().parse().map_err(|problem: &str| wrong(format!("{problem}; several are parted by commas")))?;
        if chain.contains(&model) {
            return Err(wrong(format!("names `{model}` twice")));
        }
        chain.push(model);
    }
    Ok(chain)
}

fn read_providers(text: &str) -> Result<Vec<ProviderConfig>, ConfigError> {
    let wrong =
        |field: String, problem: &dyn std::fmt::Display| ConfigError { name: variables::PROVIDERS, problem: format!("{field}: {problem}") };
    let json = &mut serde_json::Deserializer::from_str(text);
    let entries: Vec<Entry> =
        serde_path_to_error::deserialize(json).map_err(|error| wrong(error.path().to_string(), &plain(error.inner())))?;
    let mut providers: Vec<ProviderConfig> = Vec::new();
    for (place, entry) in entries.into_iter().enumerate() {
        let at = |field: &str| format!("[{place}].{field}");
        let is_name =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
        if !is_name(&entry.name) {
            return Err(wrong(at("name"), &"must be of a-z, 0-9, - and _"));
        }
        if providers.iter().any(|provider| provider.name == entry.name) {
            return Err(wrong(at("name"), &format!("`{}` is there twice", entry.name)));
        }
        if let Some(url) = &entry.base_url {
            check_url(variables::PROVIDERS, &format!("{}: ", at("base_url")), url)?;
        }
        if let Some((field, problem)) = entry.breaker.problem() {
            return Err(wrong(at(&format!("breaker.{field}")), &problem));
        }
        let seconds = |field: &str, given: Option<u32>, usual: Duration| match given {
            None => Ok(usual),
            Some(n @ 1..=890) => Ok(Duration::from_secs(n.into())),
            Some(_) => Err(wrong(at(&format!("timeouts.{field}")), &"must be from 1 to 890")),
        };
        let (given, usual) = (&entry.timeouts, Timeouts::default());
        let timeouts = Timeouts {
            connect: seconds("connect_seconds", given.connect_seconds, usual.connect)?,
            first_token: seconds("first_token_seconds", given.first_token_seconds, usual.first_token)?,
            between_tokens: seconds("between_tokens_seconds", given.between_tokens_seconds, usual.between_tokens)?,
        };
        let Entry { name, protocol, base_url, secret, breaker, .. } = entry;
        providers.push(ProviderConfig { name, protocol, base_url, secret: secret.filter(|text| !text.is_empty()), timeouts, breaker });
    }
    Ok(providers)
}

/// What is wrong, without the value: a key may stand where a name should.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let kind = text.split([':', ',']).next().unwrap_or_default();
    match kind {
        _ if kind.starts_with("unknown field") || kind.starts_with("missing field") => text,
        "invalid type" => format!("has the wrong type ({})", text.rsplit_once("expected ").map_or("", |(_, rest)| rest)),
        _ => format!("is no JSON array of providers (line {}, column {})", error.line(), error.column()),
    }
}

fn check_url(name: &'static str, field: &str, url: &str) -> Result<(), ConfigError> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(());
    }
    Err(ConfigError { name, problem: format!("{field}must be an http:// or https:// address") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Option<String> {
        let text = match name {
            "MODEL" => "openai::gpt-4o-mini, backup::big",
            "PROVIDERS" => {
                r#"[{"name":"backup","protocol":"anthropic","base_url":"https://example.com","secret":"ssm:/backup","timeouts":{"first_token_seconds":5},"breaker":{"failures":9}}]"#
            }
            "MODEL_BASE_URL" => "http://localhost/v1/",
            _ => "a-secret",
        };
        Some(text.into())
    }

    #[test]
    fn a_chain_and_its_providers_are_read() {
        let config = ModelsConfig::read(&Environment::of(table)).unwrap();
        assert_eq!(config.chain.iter().map(ToString::to_string).collect::<Vec<_>>(), ["openai::gpt-4o-mini", "backup::big"]);
        let first = config.provider("openai");
        assert_eq!((first.base_url.as_deref(), first.secret.as_deref()), (Some("http://localhost/v1/"), Some("a-secret")));
        let backup = config.provider("backup");
        assert_eq!((backup.protocol.as_str(), backup.secret.as_deref()), ("anthropic", Some("ssm:/backup")));
        assert_eq!(backup.timeouts, Timeouts { first_token: Duration::from_secs(5), ..Timeouts::default() });
        assert_eq!(backup.breaker, BreakerConfig { failures: 9, ..BreakerConfig::default() });
        assert_eq!(config.provider("ollama"), ProviderConfig::of_protocol("ollama"), "a protocol is a provider without further ado");
    }

    #[test]
    fn what_is_wrong_is_named_by_variable_and_field() {
        for (text, problem) in [
            ("[{", "[0]"),
            (r#"[{"protocol":"openai"}]"#, "[0]: missing field `name`"),
            (r#"[{"name":"b","protocol":"openai","key":"sk-123"}]"#, "[0].key: unknown field `key`"),
            (r#"[{"name":"B","protocol":"openai"}]"#, "[0].name: must be"),
            (r#"[{"name":"b","protocol":"openai"},{"name":"b","protocol":"openai"}]"#, "[1].name: `b` is there twice"),
            (r#"[{"name":"b","protocol":"openai","base_url":"example.com"}]"#, "[0].base_url: must be"),
            (r#"[{"name":"b","protocol":"openai","timeouts":{"connect_seconds":0}}]"#, "[0].timeouts.connect_seconds: must be"),
            (r#"[{"name":"b","protocol":"openai","breaker":{"percent":101}}]"#, "[0].breaker.percent: must be"),
            (r#"[{"name":"b","protocol":"openai","secret":["sk-123"]}]"#, "[0].secret: has the wrong type"),
        ] {
            let error = read_providers(text).unwrap_err();
            assert_eq!(error.name, "PROVIDERS");
            assert!(error.problem.starts_with(problem), "{text}: {}", error.problem);
            assert!(!error.problem.contains("sk-123"), "{}", error.problem);
        }
    }

    #[test]
    fn a_chain_names_each_model_once_and_with_its_provider() {
        for bad in ["gpt-4o", "::x", "openai::", "openai::a,", "openai::a,openai::a"] {
            assert_eq!(read_chain(bad).unwrap_err().name, "MODEL", "{bad}");
        }
    }
}
