//! `POST /v1/agent` with `stream`, and `GET /v1/runs/{id}/stream`: what happens in a run, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::header;
use shared::domain::clock::{Clock, after};
use shared::domain::delta::Position;
use shared::domain::id::RunId;
use shared::domain::principal::Principal;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, Reply, sse};
use shared::intake::{AgentRequest, Streamed};
use shared::stream::{RunEvent, Told};

use crate::views::told;
use crate::{AgentApi, start};

/// The header of a reader that comes back.
const LAST_EVENT_ID: &str = "last-event-id";
/// How long before the function's end the readers are sent away, so that they are told.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a function may take, where the runtime does not know it.
const LONGEST: Duration = Duration::from_secs(840);

impl AgentApi {
    /// A run that its caller reads along with.
    pub(crate) async fn ask_and_stream(&self, principal: &Principal, call: &Call, request: AgentRequest) -> Result<Reply, Problem> {
        let streamed = self.intake.streaming(principal, request.clone(), self.end_of(call)).await;
        let Streamed { accepted, events, work } =
            streamed.map_err(|error| start::refused(error, &request, &self.intake.engine.bundle.agents))?;
        let mut reply = self.events(events).with(header::LOCATION, call.address(&format!("/v1/runs/{}", accepted.run)));
        if accepted.is_replay {
            reply = reply.with(IDEMPOTENCY_REPLAYED, "true");
        }
        Ok(if let Some(work) = work { reply.beside(work) } else { reply })
    }

    /// What happens in a run, or has happened, from where its reader was.
    pub(crate) async fn stream(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let id: RunId = call.id("id")?;
        let mut query = call.query();
        let asked: Option<Position> = query.take("last_event_id", "must be the id of an event of this stream")?;
        query.finish()?;
        // Browsers send the header when they come back by themselves: it is newer than the address.
        let from = match call.header(LAST_EVENT_ID) {
            Some(text) if !text.is_empty() => Some(text.parse().map_err(|error| Problem::invalid("Last-Event-ID", error))?),
            _ => asked,
        };
        let run = self.run(principal, id).await?;
        Ok(self.events(self.intake.follow(&principal.tenant, run.id, from.unwrap_or(Position::START), self.end_of(call))))
    }

    fn events(&self, events: BoxStream<'static, Told>) -> Reply {
        let pieces = stream::once(async { sse::RETRY.to_owned() }).chain(written(events));
        Reply::events(sse::with_heartbeats(pieces, Arc::clone(&self.clock)))
    }

    /// When an answer has to be over that takes as long as this function can.
    pub(crate) fn end_of(&self, call: &Call) -> Timestamp {
        end_of(call.deadline, self.clock.as_ref())
    }
}

fn end_of(deadline: Option<Timestamp>, clock: &dyn Clock) -> Timestamp {
    let now = clock.now();
    let end = deadline.filter(|deadline| *deadline > now).unwrap_or_else(|| after(now, LONGEST));
    let words = SignedDuration::try_from(LAST_WORDS).unwrap_or_default();
    end.checked_sub(words).unwrap_or(end)
}

/// The events as text; at the end a word for a reader whose run has not ended.
fn written(events: BoxStream<'static, Told>) -> BoxStream<'static, String> {
    let write = |(mut events, is_over): (BoxStream<'static, Told>, bool)| async move {
        if is_over {
            return None;
        }
        let Some(event) = events.next().await else {
            let text = "this function's time is over, or the run is gone; come back with the last id";
            return Some((sse::comment(text), (events, true)));
        };
        let is_over = matches!(event.event, RunEvent::Done { .. } | RunEvent::Failed(_) | RunEvent::Cancelled(_));
        Some((told::written(&event), (events, is_over)))
    };
    stream::unfold((events, false), write).boxed()
}
