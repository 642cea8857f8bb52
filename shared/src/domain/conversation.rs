//! A conversation: whose turn it is, and who waits. Runs take turns in order of arrival.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clock::rfc3339_millis;
use super::id::{ConversationId, RunId};
use super::spend::Spend;

/// How many runs may wait for their turn. An interruption ends them all in one transaction, which takes 100 items: two for each.
pub const LONGEST_LINE: usize = 40;

/// A conversation without its turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The run whose turn it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_run: Option<RunId>,
    /// The runs that wait, the next one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<RunId>,
    /// The latest run that was accepted: the next one's id must be above it, because turns sort by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunId>,
    /// Raised by every write (not by the methods here), so that a write that was computed from an older one is refused.
    #[serde(default)]
    pub version: u64,
    /// Its user has asked for its deletion, which takes many writes: it takes no run any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_being_deleted: bool,
    /// What its runs have used that have ended.
    #[serde(flatten)]
    pub spend: Spend,
    /// When it began.
    #[serde(with = "rfc3339_millis")]
    pub created_at: Timestamp,
    /// When a run of it last began or ended.
    #[serde(with = "rfc3339_millis")]
    pub updated_at: Timestamp,
}

/// What a request wants if its conversation is busy. The words are those of LangGraph's `multitask_strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// Wait for its turn.
    #[default]
    Enqueue,
    /// Be refused.
    Reject,
    /// End what runs and waits, and go on from what was said.
    Interrupt,
    /// End what runs and waits, as if it had never been said.
    Rollback,
}

/// What came of a run that wanted to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It is its turn.
    Active,
    /// It waits.
    InLine,
    /// As many wait as may.
    Full,
}

/// What came of a run that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was not in it.
    WasNotIn,
    /// Nobody's turn changes.
    Gone,
    /// It is this one's turn now.
    Next(RunId),
}

impl Conversation {
    /// A conversation that begins with `run`.
    #[must_use]
    pub const fn new(id: ConversationId, run: RunId, now: Timestamp) -> Self {
        Self {
            id,
            active_run: Some(run),
            line: Vec::new(),
            last_run: Some(run),
            version: 1,
            is_being_deleted: false,
            spend: Spend::NONE,
            created_at: now,
            updated_at: now,
        }
    }

    /// Gives `run` its turn, or a place at the end of the line. One that is in it already stays where it is.
    pub fn enter(&mut self, run: RunId, now: Timestamp) -> Entered {
        if self.active_run.is_none_or(|active| active == run) {
            self.active_run = Some(run);
            self.touch(now);
            return Entered::Active;
        }
        if self.line.contains(&run) {
            return Entered::InLine;
        }
        if self.line.len() >= LONGEST_LINE {
            return Entered::Full;
        }
        self.line.push(run);
        self.touch(now);
        Entered::InLine
    }

    /// Takes `run` out; if it was its turn, it is the next one's.
    pub fn leave(&mut self, run: RunId, now: Timestamp) -> Left {
        if self.active_run == Some(run) {
            self.active_run = if self.line.is_empty() { None } else { Some(self.line.remove(0)) };
            self.touch(now);
            return self.active_run.map_or(Left::Gone, Left::Next);
        }
        let before = self.line.len();
        self.line.retain(|waiting| *waiting != run);
        if self.line.len() == before {
            return Left::WasNotIn;
        }
        self.touch(now);
        Left::Gone
    }

    /// Takes everybody out, the active one first.
    pub fn clear(&mut self, now: Timestamp) -> Vec<RunId> {
        self.touch(now);
        self.active_run.take().into_iter().chain(std::mem::take(&mut self.line)).collect()
    }

    /// Marks it for deletion.
    pub fn close(&mut self, now: Timestamp) -> Vec<RunId> {
        self.is_being_deleted = true;
        self.clear(now)
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(n: u8) -> RunId {
        RunId::lower_bound(Timestamp::from_millisecond(i64::from(n)).unwrap())
    }

    fn conversation() -> Conversation {
        Conversation::new(ConversationId::lower_bound(Timestamp::UNIX_EPOCH), run(0), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_line_is_bounded() {
        let mut c = conversation();
        for n in 1..=LONGEST_LINE {
            assert_eq!(c.enter(run(u8::try_from(n).unwrap()), Timestamp::UNIX_EPOCH), Entered::InLine);
        }
        assert_eq!(c.enter(run(200), Timestamp::UNIX_EPOCH), Entered::Full);
        assert_eq!(c.enter(run(3), Timestamp::UNIX_EPOCH), Entered::InLine, "who is in it has a place");
    }

    proptest! {
        /// Against a plain queue: whoever comes first goes first, nobody is lost, nobody is in it twice.
        #[test]
        fn turns_are_taken_in_order_of_arrival(script in prop::collection::vec((0_u8..12, any::<bool>()), 0..60)) {
            let (mut c, mut model) = (conversation(), vec![run(0)]);
            for (n, comes) in script {
                let (id, now) = (run(n), Timestamp::UNIX_EPOCH);
                if comes {
                    let entered = c.enter(id, now);
                    if !model.contains(&id) {
                        model.push(id);
                    }
                    prop_assert_eq!(entered == Entered::Active, model[0] == id);
                } else {
                    let was_first = model.first() == Some(&id);
                    let was_in = model.contains(&id);
                    model.retain(|other| *other != id);
                    let expected = match (was_in, was_first, model.first()) {
                        (false, ..) => Left::WasNotIn,
                        (true, true, Some(next)) => Left::Next(*next),
                        _ => Left::Gone,
                    };
                    prop_assert_eq!(c.leave(id, now), expected);
                }
                let all: Vec<RunId> = c.active_run.into_iter().chain(c.line.iter().copied()).collect();
                prop_assert_eq!(&all, &model);
            }
        }
    }
}
