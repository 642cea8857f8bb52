//! What all functions know of the providers: the breakers that are not as new, and what operators have said.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::breaker::Breaker;
use super::clock::rfc3339_millis;
use super::definition::ModelRef;

/// All of it, as it was at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// Breakers that have changed at least once.
    pub breakers: BTreeMap<ModelRef, Breaker>,
    /// What is switched off.
    pub disabled: Vec<Disabled>,
    /// What everything is sent to.
    pub pin: Option<Pin>,
}

/// A provider, or one model of it, that an operator has switched off: nobody asks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// `<provider>` or `<provider>::<model>`.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: String,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
}

/// Models that every call is sent to, whatever its agent or its request says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The chain that stands in for all others.
    pub to: Vec<ModelRef>,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: String,
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
}

impl Board {
    /// The models to ask, in order, by a call whose own chain is `wanted`.
    #[must_use]
    pub fn chain<'a>(&'a self, wanted: &'a [ModelRef]) -> &'a [ModelRef] {
        self.pin.as_ref().map_or(wanted, |pin| pin.to.as_slice())
    }

    /// Why `model` must not be asked, if an operator has said so.
    #[must_use]
    pub fn disabled(&self, model: &ModelRef) -> Option<&Disabled> {
        let whole = model.to_string();
        self.disabled.iter().find(|disabled| disabled.name == model.provider || disabled.name == whole)
    }

    /// The breaker of `model`.
    #[must_use]
    pub fn breaker(&self, model: &ModelRef, now: Timestamp) -> Breaker {
        self.breakers.get(model).cloned().unwrap_or_else(|| Breaker::closed(model.clone(), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_switched_off_with_all_its_models_or_one_of_them() {
        let disabled = |name: &str| Disabled { name: name.into(), reason: "r".into(), by: "b".into(), at: Timestamp::UNIX_EPOCH };
        let board = Board { disabled: vec![disabled("a"), disabled("b::m")], ..Board::default() };
        for (model, is_off) in [("a::m", true), ("a::n", true), ("b::m", true), ("b::n", false), ("aa::m", false)] {
            assert_eq!(board.disabled(&model.parse().unwrap()).is_some(), is_off, "{model}");
        }
    }
}
