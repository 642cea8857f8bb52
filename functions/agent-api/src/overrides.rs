//! What the body of a request to an agent changes of the agent's definition, for this run alone.

use serde::Deserialize;
use shared::domain::definition::{Effort, ModelRef};
use shared::domain::overrides::{LowerCaps, Overrides};
use shared::http::{Object, Problem, Word};

use crate::AgentApi;

/// Millionths in a US dollar, and dollars of the highest limit.
const MICROS: f64 = 1e6;
const MOST_DOLLARS: f64 = 1e6;
/// Characters of a model's name; the longest ones are ARNs.
const LONGEST_MODEL: usize = 300;

/// Lower caps than the agent has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapsBody {
    #[serde(default)]
    steps: Option<u32>,
    #[serde(default)]
    tokens: Option<u64>,
    #[serde(default)]
    wall_seconds: Option<u64>,
    #[serde(default)]
    cost_usd: Option<f64>,
}

/// Takes over what a body says besides its metadata.
///
/// # Errors
/// 400 naming the field that does not fit.
pub(crate) fn overrides(model: Option<&str>, effort: Option<Word<Effort>>, caps: Option<Object<CapsBody>>) -> Result<Overrides, Problem> {
    let model: Option<ModelRef> = model.map(|text| text.parse().map_err(|problem| Problem::invalid("model", problem))).transpose()?;
    let caps = caps.map(|Object(caps)| lower(&caps)).transpose()?.unwrap_or_default();
    Ok(Overrides { model, effort: effort.map(|Word(effort)| effort), caps, ..Overrides::default() })
}

impl AgentApi {
    /// Refuses a model that this deployment cannot ask: its run would only fail, after many calls.
    pub(crate) fn check_model(&self, overrides: &Overrides) -> Result<(), Problem> {
        let Some(model) = &overrides.model else { return Ok(()) };
        if model.model.chars().count() > LONGEST_MODEL {
            return Err(Problem::invalid("model", format!("must have at most {LONGEST_MODEL} characters")));
        }
        if self.knows(&model.provider) {
            return Ok(());
        }
        Err(Problem::invalid("model", "its provider is none of this deployment's; an operator finds them with GET /v1/providers"))
    }
}

fn lower(caps: &CapsBody) -> Result<LowerCaps, Problem> {
    for (field, is_zero) in [
        ("caps.steps", caps.steps == Some(0)),
        ("caps.tokens", caps.tokens == Some(0)),
        ("caps.wall_seconds", caps.wall_seconds == Some(0)),
    ] {
        if is_zero {
            return Err(Problem::invalid(field, "must be at least 1: no run could ask its model"));
        }
    }
    let cost_micros = match caps.cost_usd {
        None => None,
        Some(dollars) if dollars > 0.0 && dollars <= MOST_DOLLARS => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^12, as the guard says")]
            let micros = (dollars * MICROS).floor() as u64;
            Some(micros)
        }
        Some(_) => return Err(Problem::invalid("caps.cost_usd", format!("must be above 0, and at most {MOST_DOLLARS} US dollars"))),
    };
    Ok(LowerCaps { steps: caps.steps, tokens: caps.tokens, wall_seconds: caps.wall_seconds, cost_micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_cost_is_never_higher_than_what_was_asked_for() {
        let caps = |cost_usd| lower(&CapsBody { cost_usd: Some(cost_usd), ..CapsBody::default() });
        assert_eq!(caps(0.25).unwrap().cost_micros, Some(250_000));
        assert_eq!(caps(0.000_000_9).unwrap().cost_micros, Some(0));
        for wrong in [0.0, -1.0, 2e6, f64::NAN, f64::INFINITY] {
            assert_eq!(caps(wrong).unwrap_err().field(), Some("caps.cost_usd"), "{wrong}");
        }
    }
}
