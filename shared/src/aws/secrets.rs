//! Keys from Secrets Manager and the parameters of Systems Manager. One operation of each is needed, so the requests are signed
//! here: the SDK's client for Systems Manager alone is larger than all that this project links besides (ADR 0019).

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Secret;
use crate::domain::clock::Clock;
use crate::model::{SecretError, SecretStore};
use crate::telemetry::{SystemClock, chain};

/// What a name begins with that is a parameter's.
const PARAMETER: &str = "ssm:";
/// Tries of one read at init: enough to outlive a hiccup.
const TRIES: u32 = 3;
/// The first back-off, doubled per try, with full jitter.
const BACKOFF: Duration = Duration::from_millis(200);

/// Secrets of the account that the function runs in.
pub struct AwsSecrets {
    http: reqwest::Client,
    config: SdkConfig,
}

impl AwsSecrets {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(config: &SdkConfig) -> Result<Self, SecretError> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SecretError::Unavailable(chain(&error)))?;
        Ok(Self { http, config: config.clone() })
    }

    async fn try_once(&self, operation: &Operation) -> Result<Secret, SecretError> {
        let unavailable = |error: &dyn std::error::Error| SecretError::Unavailable(chain(error));
        let region = operation.region.clone().or_else(|| self.config.region().map(|region| region.as_ref().to_owned()));
        let region = region.ok_or_else(|| SecretError::Unavailable("no region is configured".into()))?;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let usual = || format!("https://{}.{region}.{suffix}", operation.service);
        let url = self.config.endpoint_url().map_or_else(usual, str::to_owned);
        let provider = self.config.credentials_provider().ok_or_else(|| SecretError::Unavailable("there are no credentials".into()))?;
        let identity = provider.provide_credentials().await.map_err(|error| unavailable(&error))?.into();
        let body = operation.input.to_string();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(operation.service)
            .time(SystemTime::from(SystemClock.now()))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unavailable(&error))?
            .into();
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", operation.target)];
        let request = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
            .map_err(|error| unavailable(&error))?;
        let (signed, _) = sign(request, &parameters).map_err(|error| unavailable(&error))?.into_parts();
        let request =
            headers.into_iter().chain(signed.headers()).fold(self.http.post(&url), |request, (name, value)| request.header(name, value));
        let answer = request.body(body).send().await.map_err(|error| unavailable(&error.without_url()))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| unavailable(&error.without_url()))?;
        read(status, &text)
    }
}

/// One read of one secret.
struct Operation {
    service: &'static str,
    target: &'static str,
    input: Value,
    /// Where an ARN says that it is.
    region: Option<String>,
}

impl Operation {
    fn of(name: &str) -> Self {
        let (service, target, input, name) = match name.strip_prefix(PARAMETER) {
            Some(name) => ("ssm", "AmazonSSM.GetParameter", json!({"Name": name, "WithDecryption": true}), name),
            None => ("secretsmanager", "secretsmanager.GetSecretValue", json!({"SecretId": name}), name),
        };
        let region = name.strip_prefix("arn:").and_then(|arn| arn.split(':').nth(2)).filter(|region| !region.is_empty());
        Self { service, target, input, region: region.map(str::to_owned) }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "SecretString")]
    secret: Option<String>,
    #[serde(rename = "Parameter")]
    parameter: Option<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "Value")]
    value: String,
}

/// Nothing of the answer's text gets into an error: it may hold the secret.
fn read(status: u16, text: &str) -> Result<Secret, SecretError> {
    if status == 200 {
        let answer: Answer = serde_json::from_str(text).map_err(|_| SecretError::Unusable)?;
        let value = answer.secret.or(answer.parameter.map(|parameter| parameter.value));
        return value.map(Secret::new).ok_or(SecretError::Unusable);
    }
    let kind = serde_json::from_str::<Value>(text).ok().and_then(|body| Some(body.get("__type")?.as_str()?.to_owned())).unwrap_or_default();
    match kind.rsplit('#').next().unwrap_or_default() {
        "ResourceNotFoundException" | "ParameterNotFound" => Err(SecretError::Missing),
        "AccessDeniedException" | "UnrecognizedClientException" | "DecryptionFailure" => Err(SecretError::Forbidden),
        _ => Err(SecretError::Unavailable(format!("HTTP {status}"))),
    }
}

#[async_trait]
impl SecretStore for AwsSecrets {
    async fn read(&self, name: &str) -> Result<Secret, SecretError> {
        let operation = Operation::of(name);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_once(&operation).await {
                Err(SecretError::Unavailable(why)) if tries < TRIES => {
                    tracing::warn!(error = %why, "a secret could not be read, trying again");
                    SystemClock.sleep((BACKOFF * (1 << tries)).mul_f64(fastrand::f64())).await;
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_the_secret_is() {
        for (name, service, region) in [
            ("reprise/openai", "secretsmanager", None),
            ("arn:aws:secretsmanager:eu-west-1:1:secret:k-AbC", "secretsmanager", Some("eu-west-1")),
            ("ssm:/reprise/key", "ssm", None),
            ("ssm:arn:aws:ssm:us-east-2:1:parameter/key", "ssm", Some("us-east-2")),
        ] {
            let operation = Operation::of(name);
            assert_eq!((operation.service, operation.region.as_deref()), (service, region), "{name}");
        }
    }

    #[test]
    fn an_answer_is_a_secret_or_says_why_there_is_none() {
        assert_eq!(read(200, r#"{"SecretString":"sk-1"}"#).unwrap().reveal(), "sk-1");
        assert_eq!(read(200, r#"{"Parameter":{"Value":"sk-2"}}"#).unwrap().reveal(), "sk-2");
        for (status, text, error) in [
            (200, r#"{"SecretBinary":"c2s="}"#, SecretError::Unusable),
            (200, "sk-123", SecretError::Unusable),
            (400, r#"{"__type":"ResourceNotFoundException"}"#, SecretError::Missing),
            (400, r#"{"__type":"com.amazonaws#ParameterNotFound"}"#, SecretError::Missing),
            (400, r#"{"__type":"AccessDeniedException"}"#, SecretError::Forbidden),
            (503, "sk-123", SecretError::Unavailable("HTTP 503".into())),
        ] {
            assert_eq!(read(status, text), Err(error), "{status} {text}");
        }
    }
}
