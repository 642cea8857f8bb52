//! The secrets of tools: read by name when a tool first needs them, kept in memory, and read again when a service refuses them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::config::Secret;
use crate::domain::clock::{Clock, between};

/// A secret that was changed is read again, but not more often than this: a wrong one must not become a flood of reads.
const OFTENEST: Duration = Duration::from_secs(30);
/// Shorter texts are not taken out of results: they would be found in harmless words.
const SHORTEST_TAKEN_OUT: usize = 8;

/// Where secrets are.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// The text of the secret with that name. The error is for people, and says nothing of what is in it.
    async fn read(&self, name: &str) -> Result<Secret, String>;
}

/// Those of the providers' keys.
#[cfg(feature = "model")]
#[async_trait]
impl SecretSource for Arc<dyn crate::model::SecretStore> {
    async fn read(&self, name: &str) -> Result<Secret, String> {
        crate::model::SecretStore::read(self.as_ref(), name).await.map_err(|error| error.to_string())
    }
}

/// For a deployment without secrets.
pub struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn read(&self, _name: &str) -> Result<Secret, String> {
        Err("this function has no store of secrets".into())
    }
}

/// The secrets that were read so far.
pub(super) struct Secrets {
    source: Arc<dyn SecretSource>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, (Secret, Timestamp)>>,
}

impl Secrets {
    pub(super) fn of(source: Arc<dyn SecretSource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, known: Mutex::default() }
    }

    /// The secret; read if it is not known.
    pub(super) async fn get(&self, name: &str) -> Result<Secret, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|(secret, _)| secret.clone());
        match known {
            Some(secret) => Ok(secret),
            None => self.read(name).await,
        }
    }

    /// Reads it again after a service refused it; whether there is another one now.
    pub(super) async fn is_renewed(&self, name: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let Some((old, read_at)) = known else { return false };
        if between(read_at, self.clock.now()) < OFTENEST {
            return false;
        }
        self.read(name).await.is_ok_and(|new| new != old)
    }

    /// The text without any known secret: a service may say back what it was sent.
    pub(super) fn taken_out_of(&self, text: String) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .map(|(secret, _)| secret.reveal())
            .filter(|secret| secret.len() >= SHORTEST_TAKEN_OUT)
            .fold(text, |text, secret| if text.contains(secret) { text.replace(secret, "[secret]") } else { text })
    }

    async fn read(&self, name: &str) -> Result<Secret, String> {
        let secret = self.source.read(name).await?;
        // What people paste often ends in a line break, which no header can hold.
        let secret = Secret::new(secret.reveal().trim().to_owned());
        if secret.reveal().is_empty() {
            return Err("it is empty".into());
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), (secret.clone(), self.clock.now()));
        Ok(secret)
    }
}
