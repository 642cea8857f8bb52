//! What the dead-letter API answers. Field names are the contract: see `openapi.json`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::domain::clock::{between, rfc3339_millis};
use shared::domain::dead::Fingerprint;
use shared::domain::failure::Failure;
use shared::domain::id::{ConversationId, EventId, RunId, TenantId};
use shared::domain::redact::Redactor;
use shared::domain::run::Run;
use shared::domain::step::Usage;
use shared::operate::dead::{Group, Stats, Stopped, StoppedAt};

#[derive(Debug, Serialize)]
pub(crate) struct ListView {
    pub(crate) count: u64,
    pub(crate) entries: Vec<EntryView>,
    pub(crate) queue: Option<QueueView>,
    pub(crate) next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct QueueView {
    pub(crate) approximate_messages: u64,
}

/// A dead run.
#[derive(Debug, Serialize)]
pub(crate) struct EntryView {
    run_id: RunId,
    tenant: TenantId,
    event_id: EventId,
    event_type: String,
    source: String,
    trigger: Option<String>,
    agent: String,
    conversation_id: ConversationId,
    error: Option<Failure>,
    failures: Vec<Failure>,
    fingerprint: Option<Fingerprint>,
    attempts: u32,
    steps: u32,
    pub(crate) failed_step: StoppedView,
    usage: Usage,
    cost_usd: Option<f64>,
    #[serde(with = "rfc3339_millis")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_millis::option")]
    first_failed_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis::option")]
    last_failed_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis")]
    died_at: Timestamp,
    age_seconds: u64,
    redrives: u32,
}

impl EntryView {
    pub(crate) fn of(run: &Run, now: Timestamp) -> Self {
        let died_at = run.ended_at.unwrap_or(run.updated_at);
        Self {
            run_id: run.id,
            tenant: run.tenant.clone(),
            event_id: run.event,
            event_type: run.kind().to_owned(),
            source: run.source().to_owned(),
            trigger: run.trigger.clone(),
            agent: run.agent.clone(),
            conversation_id: run.conversation,
            error: run.error().cloned(),
            failures: run.failures.clone(),
            fingerprint: run.failures.last().map(Fingerprint::of),
            // The number that filters and orders go by: of the failures that the record keeps.
            attempts: u32::try_from(run.failures.len()).unwrap_or(u32::MAX),
            steps: run.steps,
            failed_step: StoppedView::of(&Stopped::by_record(run)),
            usage: run.usage,
            cost_usd: run.cost_micros.map(in_dollars),
            created_at: run.created_at,
            first_failed_at: run.first_failed_at,
            last_failed_at: run.failures.last().map(|failure| failure.at),
            died_at,
            age_seconds: between(died_at, now).as_secs(),
            redrives: run.redriven.count,
        }
    }

    /// What others have said when it failed, which may have secrets in it, and where it stands.
    pub(crate) fn messages(&mut self) -> impl Iterator<Item = (String, &mut String)> {
        let error = self.error.iter_mut().map(|error| ("/error/message".to_owned(), &mut error.message));
        let failures = self.failures.iter_mut().enumerate();
        error.chain(failures.map(|(i, failure)| (format!("/failures/{i}/message"), &mut failure.message)))
    }

    /// For who looks at many of them.
    pub(crate) fn cleared(mut self, redactor: &Redactor) -> Self {
        for (_, message) in self.messages() {
            *message = redactor.redact_text(message);
        }
        self
    }
}

/// Where a run stopped.
#[derive(Debug, Serialize)]
pub(crate) struct StoppedView {
    index: u32,
    /// `model` or `tool`; null where the record alone does not tell.
    kind: Option<&'static str>,
    /// The tool, or the model.
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<Value>,
}

impl StoppedView {
    pub(crate) fn of(stopped: &Stopped) -> Self {
        let (kind, name, arguments) = match &stopped.at {
            StoppedAt::Model(name) => (Some("model"), name.clone(), None),
            StoppedAt::Tool(call) => (Some("tool"), Some(call.name.clone()), Some(call.arguments.clone())),
            StoppedAt::Unknown => (None, None, None),
        };
        Self { index: stopped.index, kind, name, arguments }
    }

    /// Of a run that is started over.
    pub(crate) const fn first(run: &Run) -> Self {
        Self { index: run.steps.saturating_add(1), kind: Some("model"), name: None, arguments: None }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct StatsView {
    count: u64,
    complete: bool,
    groups: Vec<GroupView>,
}

#[derive(Debug, Serialize)]
struct GroupView {
    fingerprint: Fingerprint,
    code: String,
    provider: Option<String>,
    message: String,
    agents: Vec<String>,
    count: u64,
    #[serde(with = "rfc3339_millis")]
    first_died_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    last_died_at: Timestamp,
    run_id: RunId,
}

impl StatsView {
    pub(crate) fn of(stats: Stats, redactor: &Redactor) -> Self {
        let groups = stats.groups.into_iter().map(|group| GroupView::of(group, redactor)).collect();
        Self { count: stats.count, complete: stats.complete, groups }
    }
}

impl GroupView {
    fn of(group: Group, redactor: &Redactor) -> Self {
        Self {
            fingerprint: group.fingerprint,
            code: group.code,
            provider: group.provider,
            message: redactor.redact_text(&group.message),
            agents: group.agents.into_iter().collect(),
            count: group.count,
            first_died_at: group.first_died_at,
            last_died_at: group.last_died_at,
            run_id: group.run,
        }
    }
}

/// Millionths of a dollar as dollars. Money is counted in whole numbers; this is for reading.
#[expect(clippy::cast_precision_loss, reason = "exact below nine thousand million dollars")]
fn in_dollars(micros: u64) -> f64 {
    micros as f64 / 1e6
}
