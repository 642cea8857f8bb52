//! What the agent API answers. Field names are the contract: see `openapi.json`.

mod agent;
mod conversation;
mod definitions;
mod event;
mod history;
mod run;
mod spend;
pub(crate) mod told;

use serde::Serialize;

pub(crate) use self::agent::AgentView;
pub(crate) use self::conversation::{ConversationView, DeletedView};
pub(crate) use self::definitions::AgentsView;
pub(crate) use self::event::{EventPageView, EventView};
pub(crate) use self::history::HistoryPage;
pub(crate) use self::run::{ResultView, RunPage, RunView, StepPage};
pub(crate) use self::spend::{SpendView, UsagePage};

/// Bytes of what one answer shows of a list. Lambda takes 6 MB, and our JSON is a text within Lambda's own, where it grows.
pub(crate) const LARGEST_PAGE: usize = 3_000_000;

/// As many of the first `items` as fit into `room`.
pub(crate) fn fitting<T: Serialize>(items: Vec<T>, room: usize) -> Vec<T> {
    let mut bytes = 0;
    let fits = |item: &T| {
        bytes += serde_json::to_vec(item).map_or(room, |json| json.len());
        bytes <= room
    };
    items.into_iter().take_while(fits).collect()
}
