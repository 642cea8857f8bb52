//! The model behind a real protocol, through the crate `genai` (ADR 0001). One try per call: the engine retries and cuts.

mod convert;
mod errors;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use genai::adapter::AdapterKind;
use genai::chat::ChatOptions;
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{Client, ModelIden, ServiceTarget};

use crate::config::{ConfigError, ModelConfig, variables};
use crate::engine::CallError;
use crate::engine::ports::{Model, ModelReply, ModelRequest};

/// How long a connection may take: a provider that is there answers in a fraction of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One model of one provider.
pub struct ProviderModel {
    client: Client,
    kind: AdapterKind,
    name: String,
}

impl ProviderModel {
    /// Connects nothing yet: checks the configuration and builds the client.
    ///
    /// # Errors
    /// When `MODEL` names a provider that does not exist.
    pub fn new(config: &ModelConfig) -> Result<Self, ConfigError> {
        let wrong = |problem: String| ConfigError { name: variables::MODEL, problem };
        let kind = AdapterKind::from_lower_str(&config.provider)
            .ok_or_else(|| wrong("names no known provider; e.g. openai::…, anthropic::…, bedrock_sigv4::…, ollama::…".into()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A model endpoint that redirects is misconfigured, and would be sent the key.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map_err(|_| wrong("the HTTP client cannot be built".into()))?;
        // Joined with a relative path, so that the last part is lost unless it ends in a slash.
        let base_url: Option<Arc<str>> = config.base_url.as_ref().map(|url| format!("{}/", url.trim_end_matches('/')).into());
        let key = config.api_key.clone();
        let resolver = ServiceTargetResolver::from_resolver_fn(move |mut target: ServiceTarget| -> Result<_, genai::resolver::Error> {
            if let Some(url) = &base_url {
                target.endpoint = Endpoint::from_owned(url.clone());
            }
            // Never the process's environment: with SigV4 a key would be taken for a profile's name.
            target.auth = match (&key, kind) {
                (_, AdapterKind::BedrockSigv4) | (None, _) => AuthData::None,
                (Some(key), _) => AuthData::from_single(key.reveal()),
            };
            Ok(target)
        });
        let client = Client::builder()
            .with_reqwest(http)
            .with_adapter_kind(kind)
            .with_service_target_resolver(resolver)
            .build()
            .map_err(|_| wrong("the provider's client cannot be built".into()))?;
        Ok(Self { client, kind, name: config.model.clone() })
    }
}

#[async_trait]
impl Model for ProviderModel {
    async fn ask(&self, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let model = ModelIden::new(self.kind, self.name.clone());
        let options = ChatOptions::default().with_extra_headers([("idempotency-key", request.key.as_str())]);
        let response = self.client.exec_chat(model, convert::request(request), Some(&options)).await;
        convert::reply(response.map_err(|error| errors::classify(&error))?, self.kind.as_lower_str())
    }
}
