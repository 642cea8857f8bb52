//! What operators say of providers: which must not be asked, and which everything is sent to. It reaches every function within the
//! two seconds that they keep what they know, with no deploy.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::board::{Board, Disabled, Pin};
use crate::domain::definition::ModelRef;
use crate::engine::ports::JournalError;

/// Characters of the longest reason.
pub const LONGEST_REASON: usize = 500;

/// Where what operators say is kept. Every write may be repeated without a second effect; the last one counts.
#[async_trait]
pub trait Switches: Send + Sync {
    /// All that is known, strongly consistent.
    async fn board_now(&self) -> Result<Board, JournalError>;
    /// Nobody asks this any more.
    async fn disable(&self, disabled: &Disabled) -> Result<(), JournalError>;
    /// It may be asked again; no error if it might be before.
    async fn enable(&self, name: &str) -> Result<(), JournalError>;
    /// Everything is sent there; or, with nothing, where it wants to go.
    async fn pin(&self, pin: Option<&Pin>) -> Result<(), JournalError>;
}

/// Who says something of a provider, when and why.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// What an operator names: a provider with all its models, or one model of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A provider.
    Provider(String),
    /// A model of one.
    Model(ModelRef),
}

impl Named {
    /// The name, if it is one of these providers: `knows` says which there are.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(name: &str, knows: impl Fn(&str) -> bool) -> Result<Self, String> {
        let named = match name.parse::<ModelRef>() {
            Ok(model) => Self::Model(model),
            Err(_) if name.is_empty() || name.contains(':') => return Err("must be `<provider>` or `<provider>::<model>`".into()),
            Err(_) => Self::Provider(name.to_owned()),
        };
        let provider = match &named {
            Self::Provider(provider) => provider,
            Self::Model(model) => &model.provider,
        };
        if knows(provider) { Ok(named) } else { Err(format!("there is no provider `{provider}`; GET /v1/providers lists them")) }
    }

    /// The models that a pin to this names: a model, or those of the provider in `chain`.
    ///
    /// # Errors
    /// If the chain has none of the provider's: then a pin has to name the model.
    pub fn models(&self, chain: &[ModelRef]) -> Result<Vec<ModelRef>, String> {
        let found: Vec<ModelRef> = match self {
            Self::Model(model) => vec![model.clone()],
            Self::Provider(provider) => chain.iter().filter(|model| model.provider == *provider).cloned().collect(),
        };
        if found.is_empty() {
            return Err("no model of this provider is in the deployment's chain: name one, as `<provider>::<model>`".into());
        }
        Ok(found)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Provider(provider) => f.write_str(provider),
            Self::Model(model) => model.fmt(f),
        }
    }
}

/// Switches a provider or a model off. Runs that can go nowhere else wait, and burn no attempt.
///
/// # Errors
/// When the store cannot be reached.
pub async fn disable(switches: &dyn Switches, named: &Named, word: Word<'_>) -> Result<(), JournalError> {
    let disabled = Disabled { name: named.to_string(), reason: word.reason.to_owned(), by: word.by.to_owned(), at: word.at };
    switches.disable(&disabled).await?;
    tracing::warn!(provider = %named, by = word.by, reason = word.reason, "provider disabled");
    Ok(())
}

/// Switches it on again. What was switched off by another name stays off.
///
/// # Errors
/// When the store cannot be reached.
pub async fn enable(switches: &dyn Switches, named: &Named, word: Word<'_>) -> Result<(), JournalError> {
    switches.enable(&named.to_string()).await?;
    tracing::warn!(provider = %named, by = word.by, reason = word.reason, "provider enabled");
    Ok(())
}

/// Sends everything to these models; to where it wants to go if there are none.
///
/// # Errors
/// When the store cannot be reached.
pub async fn pin(switches: &dyn Switches, to: Vec<ModelRef>, word: Word<'_>) -> Result<(), JournalError> {
    let names = to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let pin = Pin { to, reason: word.reason.to_owned(), by: word.by.to_owned(), at: word.at };
    switches.pin(Some(&pin).filter(|pin| !pin.to.is_empty())).await?;
    tracing::warn!(to = names, by = word.by, reason = word.reason, "providers pinned");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_provider_or_a_model_of_one() {
        let read = |name: &str| Named::read(name, |provider| ["a", "b"].contains(&provider));
        assert_eq!(read("a"), Ok(Named::Provider("a".into())));
        assert_eq!(read("b::m:0"), Ok(Named::Model("b::m:0".parse().unwrap())));
        for wrong in ["", "c", "c::m", "a:", "::m", "a::"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pin_to_a_provider_is_one_to_its_models_in_the_chain() {
        let chain: Vec<ModelRef> = ["a::m", "b::m", "a::n"].iter().map(|name| name.parse().unwrap()).collect();
        let models = |name: &str| Named::read(name, |_| true).unwrap().models(&chain).map(|models| models.len());
        assert_eq!((models("a"), models("b"), models("c::z")), (Ok(2), Ok(1), Ok(1)));
        assert!(models("c").is_err());
    }
}
