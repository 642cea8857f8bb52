//! `/v1/incidents`: open, update, note, list, show.

use jiff::Timestamp;
use lambda_http::http::{StatusCode, header};
use serde::Deserialize;
use shared::domain::clock::rfc3339_millis;
use shared::domain::id::IncidentId;
use shared::domain::incident::{Incident, IncidentStatus, Severity, Unresolved, Update};
use shared::http::{Call, Problem, Reply, Word, json_body};
use shared::operate::incidents::{self, IncidentError};
use shared::telemetry::chain;

use crate::views::{IncidentPageView, IncidentView};
use crate::{OperatorApi, unavailable};

/// Characters of a title, and of every other text.
const LONGEST_TITLE: usize = 200;
const LONGEST_TEXT: usize = 4_000;
/// Minutes until the next update, at most: a day.
const MOST_MINUTES: u32 = 1_440;
/// Entries of a timeline in one answer.
const ENTRIES: usize = 200;

impl OperatorApi {
    pub(crate) async fn list(&self, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let right = "must be INVESTIGATING, IDENTIFIED, MONITORING or RESOLVED";
        let status = query.take_with("status", right, IncidentStatus::from_word)?;
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let page = incidents::list(self.incidents.as_ref(), status, cursor, limit).await.map_err(unavailable)?;
        Reply::json(StatusCode::OK, &IncidentPageView::of(page, self.clock.now()))
    }

    pub(crate) async fn open(&self, by: &str, call: &Call) -> Result<Reply, Problem> {
        let body: OpenBody = json_body(&call.body)?;
        let title = text("title", body.title, LONGEST_TITLE)?;
        let impact = body.impact.map(|impact| text("impact", impact, LONGEST_TEXT)).transpose()?.unwrap_or_default();
        let now = self.clock.now();
        let detected_at = body.detected_at.unwrap_or(now);
        if detected_at > now {
            return Err(Problem::invalid("detected_at", "must not be in the future"));
        }
        let (mut incident, entry) = Incident::open(IncidentId::new(now), title, body.severity.0, impact, detected_at, by, now);
        self.incidents.record(&incident, &entry).await.map_err(unavailable)?;
        tracing::warn!(incident.id = %incident.id, severity = ?incident.severity, by, "incident opened");
        let mut timeline = vec![entry];
        if body.acknowledge {
            let update = Update { acknowledge: true, ..Update::default() };
            match incidents::update(self.incidents.as_ref(), incident.id, &update, by, now).await {
                Ok((taken, entry)) => {
                    incident = taken;
                    timeline.push(entry);
                }
                // It is open, and the answer says that nobody has taken it: an error would make people open it once more.
                Err(error) => tracing::warn!(incident.id = %incident.id, error = %chain(&error), "an incident is open, and not taken yet"),
            }
        }
        let address = call.address(&format!("/v1/incidents/{}", incident.id));
        let view = IncidentView::full(&incident, timeline, None, now);
        Ok(Reply::json(StatusCode::CREATED, &view)?.with(header::LOCATION, address))
    }

    pub(crate) async fn show(&self, call: &Call) -> Result<Reply, Problem> {
        let id: IncidentId = call.id("id")?;
        let mut query = call.query();
        let after: u32 = query.take("cursor", "must be a next_cursor of this list")?.unwrap_or(0);
        query.finish()?;
        self.shown(id, after).await
    }

    pub(crate) async fn update(&self, by: &str, call: &Call) -> Result<Reply, Problem> {
        let id: IncidentId = call.id("id")?;
        let update = json_body::<UpdateBody>(&call.body)?.into_update()?;
        let done = incidents::update(self.incidents.as_ref(), id, &update, by, self.clock.now()).await;
        let (incident, entry) = done.map_err(refused)?;
        tracing::warn!(incident.id = %id, severity = ?incident.severity, status = ?incident.status, by, "incident updated");
        Reply::json(StatusCode::OK, &IncidentView::full(&incident, vec![entry], None, self.clock.now()))
    }

    pub(crate) async fn note(&self, by: &str, call: &Call) -> Result<Reply, Problem> {
        let id: IncidentId = call.id("id")?;
        let note = text("text", json_body::<NoteBody>(&call.body)?.text, LONGEST_TEXT)?;
        let done = incidents::note(self.incidents.as_ref(), id, &note, by, self.clock.now()).await;
        let (incident, entry) = done.map_err(refused)?;
        Reply::json(StatusCode::OK, &IncidentView::full(&incident, vec![entry], None, self.clock.now()))
    }

    async fn shown(&self, id: IncidentId, after: u32) -> Result<Reply, Problem> {
        let incident = self.incidents.incident(id).await.map_err(unavailable)?.ok_or_else(no_incident)?;
        let timeline = self.incidents.entries(id, after, ENTRIES).await.map_err(unavailable)?;
        let next = timeline.last().map(|entry| entry.no).filter(|no| *no < incident.entries);
        Reply::json(StatusCode::OK, &IncidentView::full(&incident, timeline, next, self.clock.now()))
    }
}

fn no_incident() -> Problem {
    Problem::not_found("id", "there is no such incident; GET /v1/incidents lists them")
}

fn refused(error: IncidentError) -> Problem {
    match error {
        IncidentError::NotFound => no_incident(),
        IncidentError::Unresolved(Unresolved::NotMonitored) => {
            let detail = "set MONITORING when the fix is in place and watch it for 30 minutes, or send `force`";
            Problem::conflict("not_monitored", detail).about("status")
        }
        IncidentError::Unresolved(Unresolved::Until(until)) => {
            let detail = format!("the fix is to be watched until {}; resolve it then, or send `force`", rfc3339_millis::format(until));
            Problem::conflict("not_monitored", detail).about("status")
        }
        IncidentError::Journal(error) => unavailable(error),
    }
}

/// A text that says something and is not too long.
fn text(field: &str, text: String, longest: usize) -> Result<String, Problem> {
    if (1..=longest).contains(&text.chars().count()) && !text.trim().is_empty() {
        return Ok(text);
    }
    Err(Problem::invalid(field, format!("must be a text of 1 to {longest} characters")))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    title: String,
    severity: Word<Severity>,
    #[serde(default)]
    impact: Option<String>,
    #[serde(default, with = "rfc3339_millis::option")]
    detected_at: Option<Timestamp>,
    #[serde(default)]
    acknowledge: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    #[serde(default)]
    acknowledge: bool,
    #[serde(default)]
    severity: Option<Word<Severity>>,
    #[serde(default)]
    status: Option<Word<IncidentStatus>>,
    #[serde(default)]
    impact: Option<String>,
    #[serde(default)]
    root_cause: Option<String>,
    #[serde(default)]
    mitigation: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    next_update_minutes: Option<u32>,
    #[serde(default)]
    force: bool,
}

impl UpdateBody {
    fn into_update(self) -> Result<Update, Problem> {
        let checked = |field, value: Option<String>| value.map(|value| text(field, value, LONGEST_TEXT)).transpose();
        let update = Update {
            acknowledge: self.acknowledge,
            severity: self.severity.map(|word| word.0),
            status: self.status.map(|word| word.0),
            impact: checked("impact", self.impact)?,
            root_cause: checked("root_cause", self.root_cause)?,
            mitigation: checked("mitigation", self.mitigation)?,
            text: checked("text", self.text)?,
            next_update_minutes: self.next_update_minutes,
            force: self.force,
        };
        if update.next_update_minutes.is_some_and(|minutes| !(1..=MOST_MINUTES).contains(&minutes)) {
            return Err(Problem::invalid("next_update_minutes", format!("must be 1 to {MOST_MINUTES}")));
        }
        let nothing = Update { force: update.force, next_update_minutes: update.next_update_minutes, ..Update::default() };
        if update == nothing {
            let fields = "acknowledge, severity, status, impact, root_cause, mitigation or text";
            return Err(Problem::malformed(format!("the body says nothing of the incident; send {fields}")));
        }
        Ok(update)
    }
}
