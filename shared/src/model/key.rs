//! The key of a provider: read at init by the name of its secret, kept in memory, and read again when the provider refuses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::config::{ProviderConfig, Secret};
use crate::domain::clock::{Clock, between};

/// A key that was changed is read again, but not more often than this: a wrong one must not become a flood of reads.
const OFTENEST: Duration = Duration::from_secs(30);

/// Where secrets are.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// The text of a Secrets Manager secret (its name or ARN) or, after `ssm:`, of a parameter. The adapter retries.
    async fn read(&self, name: &str) -> Result<Secret, SecretError>;
}

/// Why a secret could not be read; never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It does not exist.
    #[error("does not exist: make it, or correct its name")]
    Missing,
    /// This function may not read it.
    #[error("may not be read by this function: its role needs the right to")]
    Forbidden,
    /// It has no text, or none that can stand in a header.
    #[error("has no text that can be a key")]
    Unusable,
    /// It could not be reached.
    #[error("could not be read: {0}")]
    Unavailable(String),
}

/// The key of one provider.
pub(super) struct Key(Option<Kept>);

struct Kept {
    name: String,
    store: Arc<dyn SecretStore>,
    clock: Arc<dyn Clock>,
    now: Mutex<(Secret, Timestamp)>,
}

impl Key {
    /// No key: for providers that want none, or that sign as the function.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Reads it for the first time.
    pub(super) async fn read(config: &ProviderConfig, store: Arc<dyn SecretStore>, clock: Arc<dyn Clock>) -> Result<Self, SecretError> {
        let Some(name) = config.secret.clone() else { return Ok(Self::none()) };
        let secret = store.read(&name).await.and_then(usable)?;
        let now = Mutex::new((secret, clock.now()));
        Ok(Self(Some(Kept { name, store, clock, now })))
    }

    /// The key as it is now.
    pub(super) fn now(&self) -> Option<Secret> {
        self.0.as_ref().map(|kept| kept.now.lock().unwrap_or_else(PoisonError::into_inner).0.clone())
    }

    /// Reads it again after the provider has refused `refused`; whether there is another one now.
    pub(super) async fn is_renewed(&self, refused: Option<&Secret>) -> bool {
        let Some(kept) = &self.0 else { return false };
        {
            let mut now = kept.now.lock().unwrap_or_else(PoisonError::into_inner);
            if Some(&now.0) != refused {
                return true; // another call has read it meanwhile
            }
            if between(now.1, kept.clock.now()) < OFTENEST {
                return false;
            }
            now.1 = kept.clock.now();
        }
        match kept.store.read(&kept.name).await.and_then(usable) {
            Ok(secret) => {
                let mut now = kept.now.lock().unwrap_or_else(PoisonError::into_inner);
                let is_new = now.0 != secret;
                now.0 = secret;
                is_new
            }
            Err(error) => {
                tracing::warn!(error = %error, "the refused key of a provider could not be read again");
                false
            }
        }
    }
}

/// Without the line's end that an editor leaves; what else cannot stand in a header is no key.
fn usable(secret: Secret) -> Result<Secret, SecretError> {
    let text = secret.reveal().trim();
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(SecretError::Unusable);
    }
    Ok(if text.len() == secret.reveal().len() { secret } else { Secret::new(text.to_owned()) })
}
