//! One endpoint: its client, its key, its time-outs, and one call of one of its models. Every call streams, also when nobody
//! listens: it is how a provider that hangs is told from one that thinks, and one path is one set of failures.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::ChatStreamEvent;
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{Client, ModelIden, ServiceTarget};
use tokio::time::{Instant, timeout_at};

use super::aside::Aside;
use super::key::Key;
use super::options::{Abilities, Said};
use super::{convert, errors, options};
use crate::config::{ProviderConfig, Timeouts};
use crate::domain::clock::Clock;
use crate::domain::failure::FailureCode;
use crate::engine::CallError;
use crate::engine::ports::{ModelReply, ModelRequest};

pub(super) struct Provider {
    name: String,
    kind: AdapterKind,
    client: Client,
    key: Arc<Key>,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

impl Provider {
    /// Connects to nothing yet.
    pub(super) fn new(config: &ProviderConfig, key: Key, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let (name, protocol) = (&config.name, &config.protocol);
        let unknown = || format!("`{name}`: there is no protocol `{protocol}`; e.g. openai, openai_resp, anthropic, bedrock_sigv4, ollama");
        let kind = AdapterKind::from_lower_str(protocol).ok_or_else(unknown)?;
        let http = reqwest::Client::builder()
            .connect_timeout(config.timeouts.connect)
            // A model endpoint that redirects is misconfigured, and would be sent the key.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map_err(|_| format!("`{name}`: the HTTP client cannot be built"))?;
        // Joined with a relative path, so that the last part is lost unless it ends in a slash.
        let base_url: Option<Arc<str>> = config.base_url.as_ref().map(|url| format!("{}/", url.trim_end_matches('/')).into());
        let key = Arc::new(key);
        let known = key.clone();
        let resolver = ServiceTargetResolver::from_resolver_fn(move |mut target: ServiceTarget| -> Result<_, genai::resolver::Error> {
            if let Some(url) = &base_url {
                target.endpoint = Endpoint::from_owned(url.clone());
            }
            // Never the process's environment: with SigV4 a key would be taken for a profile's name.
            target.auth = match (known.now(), kind) {
                (_, AdapterKind::BedrockSigv4) => AuthData::None,
                (Some(key), _) => AuthData::from_single(key.reveal()),
                // The crate wants a key where a server of one's own may want none; what such a server is sent it does not look at.
                (None, _) if base_url.is_some() => AuthData::from_single("none"),
                (None, _) => AuthData::None,
            };
            Ok(target)
        });
        let client = Client::builder()
            .with_reqwest(http)
            .with_adapter_kind(kind)
            .with_service_target_resolver(resolver)
            .build()
            .map_err(|_| format!("`{name}`: its client cannot be built"))?;
        Ok(Self { name: name.clone(), kind, client, key, timeouts: config.timeouts, clock })
    }

    /// Asks once; and once more if the key was refused and there is a new one, for a refused call was none.
    pub(super) async fn ask(&self, model: &str, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let key = self.key.now();
        let refused = match self.ask_with(model, request).await {
            Err(error @ CallError::Retryable { code: FailureCode::ProviderAuth, .. }) => error,
            other => return other,
        };
        if self.key.is_renewed(key.as_ref()).await { self.ask_with(model, request).await } else { Err(refused) }
    }

    async fn ask_with(&self, model: &str, request: &ModelRequest<'_>) -> Result<ModelReply, CallError> {
        let aside = Aside::default();
        let said = options::say(self.kind, request, aside.clone())?;
        let reply = self.listen(model, request, &said, &aside).await?;
        let model = if reply.model.is_empty() { model.to_owned() } else { reply.model };
        Ok(ModelReply { provider: self.name.clone(), model, ..reply })
    }

    async fn listen(&self, model: &str, request: &ModelRequest<'_>, said: &Said, aside: &Aside) -> Result<ModelReply, CallError> {
        let failed = |error: &genai::Error| errors::classify(error, self.clock.now());
        let can = Abilities::of(self.kind);
        let model = ModelIden::new(self.kind, model);
        let mut until = Instant::now() + self.timeouts.first_token;
        let mut is_heard = false;
        let too_long = |is_heard: bool| {
            let (what, limit) = match is_heard {
                false => ("first", self.timeouts.first_token),
                true => ("further", self.timeouts.between_tokens),
            };
            CallError::retryable(FailureCode::ProviderTimeout, format!("no {what} token came within {} s", limit.as_secs()), None)
        };
        let call = self.client.exec_chat_stream(model, convert::request(request, said, can), Some(&said.options));
        let mut stream = match timeout_at(until, call).await {
            Ok(opened) => opened.map_err(|error| failed(&error))?.stream,
            Err(_) => return Err(too_long(is_heard)),
        };
        let mut arguments: HashMap<String, String> = HashMap::new();
        loop {
            let event = match timeout_at(until, stream.next()).await {
                Ok(Some(event)) => event.map_err(|error| failed(&error))?,
                Ok(None) => return Err(CallError::retryable(FailureCode::ProviderUnavailable, errors::BROKE_OFF, None)),
                Err(_) => return Err(too_long(is_heard)),
            };
            match event {
                // A sign of life is no token: a provider that sends nothing else hangs all the same.
                ChatStreamEvent::Start | ChatStreamEvent::Heartbeat => continue,
                ChatStreamEvent::Chunk(chunk) => request.sink.text(&chunk.content),
                ChatStreamEvent::ToolCallChunk(chunk) => {
                    if let serde_json::Value::String(text) = chunk.tool_call.fn_arguments {
                        arguments.insert(chunk.tool_call.call_id, text);
                    }
                }
                ChatStreamEvent::ReasoningChunk(_) | ChatStreamEvent::ThoughtSignatureChunk(_) => {}
                ChatStreamEvent::End(end) => return convert::reply(end, aside.found(), &arguments, &said.names, can),
            }
            is_heard = true;
            until = Instant::now() + self.timeouts.between_tokens;
        }
    }
}
