//! `/v1/events`: publish, list, show.

use lambda_http::http::{StatusCode, header};
use shared::domain::id::EventId;
use shared::domain::principal::Principal;
use shared::engine::ports::JournalError;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, Reply, json_body};
use shared::intake::IntakeError;
use shared::operate::{EventFilter, Order, list_events};

use crate::requests::EventBody;
use crate::views::{EventPageView, EventView};
use crate::{AgentApi, unavailable};

impl AgentApi {
    pub(crate) async fn publish(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let body: EventBody = json_body(&call.body)?;
        let new = body.into_event(call)?;
        let is_named = !new.keys.is_empty();
        let published = self.intake.publish(principal, new).await.map_err(|error| refused(error, is_named))?;
        let address = call.address(&format!("/v1/events/{}", published.event.id));
        let reply = Reply::json(StatusCode::ACCEPTED, &EventView::of(published.event))?.with(header::LOCATION, address);
        Ok(if published.is_replay { reply.with(IDEMPOTENCY_REPLAYED, "true") } else { reply })
    }

    pub(crate) async fn list_events(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        let mut query = call.query();
        let time = "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z";
        let filter = EventFilter {
            kind: query.take("type", "must be an event's type")?,
            source: query.take("source", "must be an event's source")?,
            since: query.take("since", time)?,
            until: query.take("until", time)?,
        };
        let cursor = query.take("cursor", "must be a next_cursor of this list")?;
        let limit = query.limit()?;
        query.finish()?;
        let page = list_events(self.events.as_ref(), &principal.tenant, &filter, Order::NewestFirst, cursor, limit).await;
        Reply::json(StatusCode::OK, &EventPageView::of(page.map_err(unavailable)?))
    }

    pub(crate) async fn event(&self, principal: &Principal, id: EventId) -> Result<Reply, Problem> {
        let event = self.records.event(&principal.tenant, id).await.map_err(unavailable)?;
        let event = event.ok_or_else(|| Problem::not_found("id", "there is no such event"))?;
        Reply::json(StatusCode::OK, &EventView::of(event))
    }
}

/// An event that was not recorded.
fn refused(error: IntakeError, is_named: bool) -> Problem {
    match error {
        IntakeError::KeyReused => {
            let detail = "another event was sent with this id, or another request with this Idempotency-Key, in the last 24 hours";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail).about("id")
        }
        IntakeError::Journal(error @ (JournalError::Lost | JournalError::NotFound | JournalError::Unavailable(_))) => {
            let again = if is_named {
                "send the event again: it is recorded once"
            } else {
                "the event may be recorded; an `id` makes it safe to send again"
            };
            Problem::unavailable(&error).saying(format!("a dependency does not answer; {again}"))
        }
        // Of a request to an agent only: the runs of an event begin conversations of their own.
        IntakeError::UnknownAgent | IntakeError::NoConversation | IntakeError::ConversationBusy | IntakeError::ConversationFull => {
            Problem::unavailable(&JournalError::Lost)
        }
    }
}
