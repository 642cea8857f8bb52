//! The emulator's request log: which AWS calls a run has cost.

use serde_json::Value;

use crate::Stack;
use crate::client::{list, number, text};

/// Operations that change the table.
const WRITES: [&str; 5] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];

/// One AWS call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service's signing name.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The function that made it; empty for everybody else.
    pub function: String,
    /// When it came, in milliseconds since 1970.
    pub at: u64,
    /// The HTTP status: a failed condition is 400.
    pub status: u64,
    /// The first 32 KB of the request.
    pub body: String,
}

impl Call {
    /// Whether it would change the table.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.service == "dynamodb" && WRITES.contains(&self.operation.as_str())
    }

    /// Whether it adds to the fleet's sums, and does nothing else.
    fn is_bookkeeping(&self) -> bool {
        self.operation == "UpdateItem" && self.body.contains(r##""#metrics""##)
    }

    fn of(entry: &Value) -> Self {
        let agent = text(entry, "user_agent");
        let function = agent.split("app/").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        Self {
            service: text(entry, "service"),
            operation: text(entry, "operation"),
            function: function.to_owned(),
            at: number(entry, "at"),
            status: number(entry, "status"),
            body: text(entry, "body"),
        }
    }
}

impl Stack {
    /// Where the log stands: the `since` for what comes next.
    #[track_caller]
    #[must_use]
    pub fn log_position(&self) -> u64 {
        // Nothing contains this, so that only the position is sent.
        number(&self.emulator.get("/__reprise/requests?contains=no-such-request").must(200), "next")
    }

    /// The calls since a position whose body or path contains `part`. What sandboxes add to the fleet's sums belongs to no operation: it comes
    /// once in ten seconds, whatever was asked in them; see [`Stack::bookkeeping`].
    ///
    /// # Panics
    /// When the log has forgotten some of them.
    #[track_caller]
    #[must_use]
    pub fn calls(&self, part: &str, since: u64) -> Vec<Call> {
        let page = self.emulator.get(&format!("/__reprise/requests?contains={part}&since={since}")).must(200);
        assert_eq!(number(&page, "dropped"), 0, "the request log is too short for this test");
        list(&page, "requests").iter().map(Call::of).filter(|call| !call.is_bookkeeping()).collect()
    }

    /// The calls since a position that sandboxes made to add to the fleet's sums.
    #[track_caller]
    #[must_use]
    pub fn bookkeeping(&self, since: u64) -> Vec<Call> {
        let page = self.emulator.get(&format!("/__reprise/requests?contains=%23metrics&since={since}")).must(200);
        list(&page, "requests").iter().map(Call::of).filter(Call::is_bookkeeping).collect()
    }
}
