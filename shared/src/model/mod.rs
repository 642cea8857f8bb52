//! The models behind real protocols, through the crate `genai` (ADR 0001). One try per call: the engine walks the chain, tries
//! again and cuts. `provider` makes a call, `options` and `convert` say it in the protocol's words, `aside` reads what the crate
//! does not tell, `errors` and `hints` say what a failure means.

mod aside;
mod convert;
mod errors;
mod hints;
mod key;
mod options;
mod provider;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use genai::adapter::AdapterKind;

use crate::config::{ConfigError, ModelsConfig, ProviderConfig, variables};
use crate::domain::clock::Clock;
use crate::domain::definition::ModelRef;
use crate::engine::CallError;
use crate::engine::ports::{Model, ModelReply, ModelRequest};
pub use key::{SecretError, SecretStore};
use provider::Provider;

/// All models of all providers of a deployment.
pub struct Providers {
    first: ModelRef,
    configured: BTreeMap<String, Arc<Provider>>,
    /// Providers that are nothing but their protocol's name, built when they are first asked.
    by_protocol: Mutex<BTreeMap<String, Arc<Provider>>>,
    clock: Arc<dyn Clock>,
}

impl Providers {
    /// Reads the keys, and builds the clients of the providers that the configuration names. Connects to none of them.
    ///
    /// # Errors
    /// When a protocol does not exist or a secret cannot be read: the variable and the field.
    pub async fn new(config: &ModelsConfig, secrets: &Arc<dyn SecretStore>, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let mut configs = config.providers.clone();
        for model in &config.chain {
            if !configs.iter().any(|known| known.name == model.provider) {
                configs.push(ProviderConfig::of_protocol(&model.provider));
            }
        }
        let read = configs.iter().map(|config| async { key::Key::read(config, secrets.clone(), clock.clone()).await });
        let keys = futures_util::future::join_all(read).await;
        let mut configured = BTreeMap::new();
        for (config, key) in configs.into_iter().zip(keys) {
            let wrong = |problem: String| ConfigError { name: variable_of(&config), problem };
            let key = key.map_err(|error| wrong(format!("the secret of the provider `{}` {error}", config.name)))?;
            let provider = Provider::new(&config, key, clock.clone()).map_err(wrong)?;
            configured.insert(config.name, Arc::new(provider));
        }
        let none = || ConfigError { name: variables::MODEL, problem: "names no model".into() };
        let first = config.chain.first().cloned().ok_or_else(none)?;
        Ok(Self { first, configured, by_protocol: Mutex::default(), clock })
    }

    /// Whether there is a provider with that name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.configured.contains_key(name) || AdapterKind::from_lower_str(name).is_some()
    }

    fn provider(&self, name: &str) -> Result<Arc<Provider>, CallError> {
        if let Some(provider) = self.configured.get(name) {
            return Ok(provider.clone());
        }
        let mut built = self.by_protocol.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = built.get(name) {
            return Ok(provider.clone());
        }
        let provider = Provider::new(&ProviderConfig::of_protocol(name), key::Key::none(), self.clock.clone());
        let provider = Arc::new(provider.map_err(|problem| CallError::rejected(format!("the provider {problem}")))?);
        built.insert(name.to_owned(), provider.clone());
        Ok(provider)
    }
}

/// Where a provider's configuration is to be mended.
fn variable_of(config: &ProviderConfig) -> &'static str {
    if *config
        == (ProviderConfig {
            secret: config.secret.clone(),
            base_url: config.base_url.clone(),
            ..ProviderConfig::of_protocol(&config.name)
        })
    {
        variables::MODEL
    } else {
        variables::PROVIDERS
    }
}

#[async_trait]
impl Model for Providers {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let target = request.target.as_ref().unwrap_or(&self.first);
        self.provider(&target.provider)?.ask(&target.model, request).await
    }
}
