//! What is logged.

use std::fmt::Display;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing::Dispatch;
use tracing::dispatcher::{DefaultGuard, set_default};
use tracing_subscriber::layer::SubscriberExt as _;

use super::locked;
use crate::telemetry::{Format, Lines};

/// The log lines of a thread since [`listen`].
pub struct Heard {
    lines: Arc<Mutex<Vec<Value>>>,
    _listening: DefaultGuard,
}

/// Makes `subscriber` that of this thread, until the guard is dropped. While there is only one in a process, whichever thread first comes to
/// a place in the code decides for all of them whether anybody listens there; so another one is there from the first call on.
#[must_use]
pub fn subscribe(subscriber: impl Into<Dispatch>) -> DefaultGuard {
    static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ANOTHER);
    set_default(&subscriber.into())
}

/// Hears the log lines of this thread, until it is dropped.
#[must_use]
pub fn listen() -> Heard {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = lines.clone();
    let layer = Lines::to(Format::Json, move |line| locked(&to).extend(serde_json::from_str::<Value>(line)));
    Heard { lines, _listening: subscribe(tracing_subscriber::registry().with(layer)) }
}

impl Heard {
    /// The lines whose field has this value.
    #[must_use]
    pub fn lines(&self, field: &str, value: impl Display) -> Vec<Value> {
        let value = value.to_string();
        locked(&self.lines).iter().filter(|line| line[field] == value).cloned().collect()
    }
}
