//! What the engine alone can measure: calls of models as they went, and how near a run has come to its agent's limits.

use jiff::Timestamp;

use super::Engine;
use super::ports::ModelReply;
use super::routes::Permit;
use crate::domain::agent::Agent;
use crate::domain::clock::between;
use crate::domain::definition::ModelRef;
use crate::domain::failure::FailureCode;
use crate::domain::run::Run;
use crate::metrics::{ModelCall, ModelEnd};

impl Engine {
    /// What a model is called in metrics: its own name only if an operator has named it, because a request may name anything.
    pub(super) fn name_in_metrics<'a>(&self, model: &'a ModelRef, permit: &Permit) -> (&'a str, Option<&'a str>) {
        let is_known = !matches!(permit, Permit::Unwatched);
        let provider = if is_known || self.routes.has_provider(&model.provider) { model.provider.as_str() } else { "other" };
        (provider, is_known.then_some(model.model.as_str()))
    }

    /// A call that began then has ended.
    pub(super) fn measure_call(&self, name: (&str, Option<&str>), began: Timestamp, end: Result<&ModelReply, FailureCode>) {
        let end = match end {
            Ok(reply) => {
                ModelEnd::Answered { usage: reply.usage, cost_micros: self.bundle.cost_micros(&reply.provider, &reply.model, &reply.usage) }
            }
            Err(code) => ModelEnd::Failed(code),
        };
        let took = between(began, self.clock.now());
        self.meter.model_call(&ModelCall { provider: name.0, model: name.1, took, end });
    }

    /// How much of its limits of tokens and of cost a run has used: of the one that it is nearer to.
    pub(super) fn measure_budget(&self, run: &Run, agent: &Agent, tokens: u64) {
        let cost = run.cost_micros.map(|cost| cost.saturating_sub(run.redriven.start.cost_micros));
        let parts = [(Some(tokens), agent.caps.tokens), (cost, agent.caps.cost_micros)];
        #[expect(clippy::cast_precision_loss, reason = "a percentage need not be exact")]
        let used = parts.into_iter().filter_map(|(used, most)| Some(used? as f64 * 100.0 / most.filter(|most| *most > 0)? as f64));
        if let Some(percent) = used.reduce(f64::max) {
            self.meter.budget(percent);
        }
    }
}
