//! Lambda functions, invoked by name: what the tool kind `lambda` needs of AWS.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;

use super::Doubt;
use super::build::Functions;
use crate::telemetry::chain;

/// The functions of the account.
pub struct LambdaFunctions(Client);

impl LambdaFunctions {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        // One try: whether a call may be made again is the tool's to say, and the model's to want.
        let config = aws_sdk_lambda::config::Builder::from(config).retry_config(RetryConfig::disabled()).build();
        Self(Client::from_conf(config))
    }
}

#[async_trait]
impl Functions for LambdaFunctions {
    async fn invoke(&self, function: &str, payload: &Value, doubt: &Doubt) -> Result<String, String> {
        let sent = self.0.invoke().function_name(function).payload(Blob::new(payload.to_string())).send().await;
        let answer = sent.map_err(|error| {
            tracing::warn!(function = %function, error = %chain(&error), "a tool's function could not be invoked");
            // Of the others, the service itself says that it did not take the request, or it was never sent.
            if matches!(error, SdkError::TimeoutError(_) | SdkError::ResponseError(_) | SdkError::DispatchFailure(_)) {
                doubt.note();
            }
            "the tool's function could not be invoked"
        })?;
        let text = answer.payload.map(|blob| String::from_utf8_lossy(blob.as_ref()).into_owned()).unwrap_or_default();
        // What the function says of its own failure: data for the model.
        if answer.function_error.is_some() { Err(text) } else { Ok(text) }
    }
}
