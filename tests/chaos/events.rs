//! Senders of events: the same event sent twice at once, and another event about the same thing. One run must come of all that.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tests::{Stack, fresh};

use crate::time::pause;

const TRIES: u32 = 12;
const BETWEEN_TRIES: Duration = Duration::from_millis(700);

/// An event that was sent until it was accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    /// The sender's own id of it.
    pub(crate) id: String,
    /// What it is about: its trigger starts one run for each.
    pub(crate) ticket: String,
    /// Whether it was accepted, and under which id.
    pub(crate) event: Option<String>,
    /// The runs that its acceptance named.
    pub(crate) runs: BTreeSet<String>,
    /// What the last refusal was.
    pub(crate) refusal: String,
}

/// Sends them; what came of each.
pub(crate) fn publish(stack: &Stack, rng: &mut Rng) -> Vec<Published> {
    let (ticket, id, other) = (fresh("T"), fresh("event"), fresh("event"));
    let again = if rng.bool() { &id } else { &other };
    let wait = Duration::from_millis(rng.u64(0..80));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| insist(stack, &id, &ticket));
        pause(wait);
        let second = insist(stack, again, &ticket);
        [first.join().ok(), Some(second)].into_iter().flatten().collect()
    })
}

fn insist(stack: &Stack, id: &str, ticket: &str) -> Published {
    let mut published = Published { id: id.to_owned(), ticket: ticket.to_owned(), ..Published::default() };
    let body = json!({
        "type": "ticket.opened", "source": "crm/chaos", "id": id,
        "payload": {"ticket": {"id": ticket, "priority": "urgent", "subject": "Nothing works"}, "customer": {"name": "Ada", "is_new": false}},
    });
    for _ in 0..TRIES {
        let sent = stack.api.try_send("POST", "/v1/events", &[("content-type", "application/json")], body.to_string().into_bytes());
        let (status, said) = match sent {
            Ok(answer) => (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body))),
            Err(error) => (0, Value::String(error)),
        };
        if status == 202 {
            published.event = said["event_id"].as_str().map(str::to_owned);
            let matches = said["matches"].as_array().into_iter().flatten();
            published.runs = matches.filter_map(|found| Some(found["run_id"].as_str()?.to_owned())).collect();
            break;
        }
        published.refusal = said["code"].as_str().map_or_else(|| said.to_string(), str::to_owned);
        if (400..500).contains(&status) && ![408, 409, 429].contains(&status) {
            break;
        }
        pause(BETWEEN_TRIES);
    }
    published
}
