//! The states of a run and the one table of transitions. `run.rs` applies it to a record; every write of a record is
//! conditional on the record that the transition was computed from, so the store enforces the same table.

use serde::{Deserialize, Serialize};

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Accepted; its message is on the queue or about to be.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Nothing to do until something else happens: its turn, a human answer, a time.
    Waiting,
    /// Ended with an answer.
    Completed,
    /// Ended by nature: bad input, a limit reached. Trying again would give the same.
    Failed,
    /// Its attempts are used up; an operator may retry it.
    Dead,
    /// Ended by request.
    Cancelled,
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// A worker takes the lease; from `running`, because the one before let it lapse.
    Claim,
    /// The worker gives the lease back; the same message will come again.
    Release,
    /// The worker, or the sweeper for one that vanished, gives the lease back; a new message follows.
    HandOver,
    /// There is nothing to do until somebody answers or a time comes.
    Wait,
    /// What it waited for is there.
    Wake,
    /// The last step is written.
    Complete,
    /// The run cannot succeed.
    Fail,
    /// The attempts are used up.
    Die,
    /// Somebody asked for the end.
    Cancel,
    /// An operator puts a dead run back.
    Retry,
    /// An operator puts a dead run back whose conversation is busy: it waits for its turn.
    LineUp,
    /// The message of a queued run may be lost: a new one follows.
    Resend,
    /// An operator gives a dead run up.
    Discard,
}

impl Command {
    /// Every command, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::Claim,
        Self::Release,
        Self::HandOver,
        Self::Wait,
        Self::Wake,
        Self::Complete,
        Self::Fail,
        Self::Die,
        Self::Cancel,
        Self::Retry,
        Self::LineUp,
        Self::Resend,
        Self::Discard,
    ];

    /// Whether a new message follows: it raises the epoch, so that all older ones mean nothing any more.
    #[must_use]
    pub const fn is_enqueue(self) -> bool {
        match self {
            Self::HandOver | Self::Wake | Self::Retry | Self::Resend => true,
            Self::Claim
            | Self::Release
            | Self::Wait
            | Self::Complete
            | Self::Fail
            | Self::Die
            | Self::Cancel
            | Self::LineUp
            | Self::Discard => false,
        }
    }
}

impl RunState {
    /// Every state, for tables and tests.
    pub const ALL: [Self; 7] = [Self::Queued, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Dead, Self::Cancelled];

    /// The state after `command`, or `None` where the command does not apply.
    #[must_use]
    pub const fn after(self, command: Command) -> Option<Self> {
        use {Command as C, RunState as S};
        match (self, command) {
            (S::Queued | S::Running, C::Claim) => Some(S::Running),
            (S::Running, C::Release | C::HandOver) | (S::Waiting, C::Wake) | (S::Dead, C::Retry) | (S::Queued, C::Resend) => {
                Some(S::Queued)
            }
            (S::Running, C::Wait) | (S::Dead, C::LineUp) => Some(S::Waiting),
            (S::Running, C::Complete) => Some(S::Completed),
            (S::Running, C::Fail) => Some(S::Failed),
            (S::Running, C::Die) => Some(S::Dead),
            (S::Queued | S::Running | S::Waiting, C::Cancel) | (S::Dead, C::Discard) => Some(S::Cancelled),
            (S::Waiting | S::Completed | S::Failed | S::Dead | S::Cancelled, C::Claim)
            | (
                S::Queued | S::Waiting | S::Completed | S::Failed | S::Dead | S::Cancelled,
                C::Release | C::HandOver | C::Wait | C::Complete | C::Fail | C::Die,
            )
            | (S::Queued | S::Running | S::Completed | S::Failed | S::Dead | S::Cancelled, C::Wake)
            | (S::Completed | S::Failed | S::Dead | S::Cancelled, C::Cancel)
            | (S::Queued | S::Running | S::Waiting | S::Completed | S::Failed | S::Cancelled, C::Retry | C::LineUp | C::Discard)
            | (S::Running | S::Waiting | S::Completed | S::Failed | S::Dead | S::Cancelled, C::Resend) => None,
        }
    }

    /// Whether a worker has nothing more to do. A dead run has ended too, until an operator says otherwise.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Dead | Self::Cancelled => true,
            Self::Queued | Self::Running | Self::Waiting => false,
        }
    }

    /// Whether an operator looks for runs in this state: these, and only these, are in the sparse index by state.
    #[must_use]
    pub const fn is_listed_by_state(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting | Self::Failed | Self::Dead => true,
            Self::Completed | Self::Cancelled => false,
        }
    }

    /// The word in records and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table once more, as a picture: a row per state, a column per command of [`Command::ALL`].
    #[test]
    fn the_table_is_this_one() {
        let short = |state: Option<RunState>| state.map_or('.', |state| state.as_str().chars().next().unwrap());
        let row = |state: RunState| Command::ALL.iter().map(|command| short(state.after(*command))).collect::<String>();
        // q queued, r running, w waiting, c completed/cancelled, f failed, d dead
        //            claim release hand-over wait wake complete fail die cancel retry line-up resend discard
        let picture =
            ["r.......c..q.", "rqqw.cfdc....", "....q...c....", ".............", ".............", ".........qw.c", "............."];
        assert_eq!(RunState::ALL.map(row), picture);
    }

    #[test]
    fn a_run_that_has_ended_leaves_its_state_only_from_dead_and_only_for_an_operator() {
        for state in RunState::ALL.into_iter().filter(|s| s.has_ended()) {
            for command in Command::ALL {
                let may = state == RunState::Dead && matches!(command, Command::Retry | Command::LineUp | Command::Discard);
                assert_eq!(state.after(command).is_some(), may, "{state:?} {command:?}");
            }
        }
    }

    #[test]
    fn whatever_a_new_message_follows_is_queued() {
        for state in RunState::ALL {
            for command in Command::ALL {
                if let Some(next) = state.after(command) {
                    assert!(!command.is_enqueue() || next == RunState::Queued, "{state:?} {command:?}");
                }
            }
        }
    }

    #[test]
    fn every_state_has_one_word() {
        for state in RunState::ALL {
            assert_eq!(RunState::from_word(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert_eq!(RunState::from_word("done"), None);
    }
}
