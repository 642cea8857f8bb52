//! The states of a run and the one table of transitions. The DynamoDB conditions in `aws::journal` enforce the same table.

use serde::{Deserialize, Serialize};

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Accepted; its message is on the queue or about to be.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Nothing to do until something else happens: its turn, a human answer, a timer.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A worker takes the lease (from a dead run: its message was redriven).
    Claim,
    /// The worker gives the lease back: hand-over at a deadline, or a failed attempt that will be tried again.
    Release,
    /// The last step is written.
    Complete,
    /// The run cannot succeed.
    Fail,
    /// The attempts are used up.
    Die,
    /// Somebody asked for the end.
    Cancel,
    /// An operator puts a dead run back, or sends a queued one again.
    Retry,
}

impl RunState {
    /// Every state, for tables and tests.
    pub const ALL: [Self; 7] = [Self::Queued, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Dead, Self::Cancelled];

    /// The state after `command`, or `None` where the command does not apply.
    ///
    /// `Claim` on a running run is only a transition when its lease has ended; the caller knows the time, this table does not.
    #[must_use]
    pub const fn after(self, command: Command) -> Option<Self> {
        use {Command as C, RunState as S};
        match (self, command) {
            (S::Queued | S::Running | S::Dead, C::Claim) => Some(S::Running),
            // Queued, too: its message may have been lost between the record and the queue.
            (S::Running, C::Release) | (S::Queued | S::Dead, C::Retry) => Some(S::Queued),
            (S::Running, C::Complete) => Some(S::Completed),
            (S::Running, C::Fail) => Some(S::Failed),
            (S::Running, C::Die) => Some(S::Dead),
            (S::Queued | S::Running | S::Waiting, C::Cancel) => Some(S::Cancelled),
            (S::Waiting | S::Completed | S::Failed | S::Cancelled, C::Claim)
            | (S::Queued | S::Waiting | S::Completed | S::Failed | S::Dead | S::Cancelled, C::Release | C::Complete | C::Fail | C::Die)
            | (S::Completed | S::Failed | S::Dead | S::Cancelled, C::Cancel)
            | (S::Running | S::Waiting | S::Completed | S::Failed | S::Cancelled, C::Retry) => None,
        }
    }

    /// The states that `command` may start from: what a DynamoDB condition lists.
    pub fn sources_of(command: Command) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |state| state.after(command).is_some())
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

    const COMMANDS: [Command; 7] =
        [Command::Claim, Command::Release, Command::Complete, Command::Fail, Command::Die, Command::Cancel, Command::Retry];

    #[test]
    fn an_ended_run_leaves_its_state_only_from_dead() {
        for state in RunState::ALL.into_iter().filter(|s| s.has_ended()) {
            for command in COMMANDS {
                assert_eq!(state.after(command).is_some(), state == RunState::Dead && matches!(command, Command::Claim | Command::Retry));
            }
        }
    }

    #[test]
    fn only_a_running_run_can_end_by_work() {
        for command in [Command::Complete, Command::Fail, Command::Die, Command::Release] {
            assert_eq!(RunState::sources_of(command).collect::<Vec<_>>(), [RunState::Running]);
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
