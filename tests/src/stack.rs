//! The deployed stack, and how tests share it.
//!
//! Most tests run [`Stack::beside`] each other: fresh ids keep them apart. A test that kills workers, or lets runs die,
//! runs [`Stack::alone`]: it begins with empty queues and its guard fails it if it leaves one non-empty.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::client::Client;
use crate::queues::Queue;
use crate::wait_for;

static STACK: OnceLock<Stack> = OnceLock::new();
static TURNS: RwLock<()> = RwLock::new(());

/// Longer than a lease and a retry of any test beside: what they left on the queue is gone by then.
const QUIET: Duration = Duration::from_secs(90);

/// The stack under test.
#[derive(Debug)]
pub struct Stack {
    /// Its API.
    pub api: Client,
    /// The AWS APIs behind it, and the request log.
    pub emulator: Client,
    /// The model provider.
    pub model: Client,
    /// The name of the CloudFormation stack, which begins the names of its functions.
    pub name: String,
    /// The tasks queue.
    pub tasks: Queue,
    /// Its dead-letter queue.
    pub dead_letters: Queue,
}

impl Stack {
    /// The stack, beside the other tests that use it so.
    #[must_use]
    pub fn beside() -> Beside {
        let turn = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Beside { stack: STACK.get_or_init(Self::find), _turn: turn }
    }

    /// The stack for one test alone, with empty queues.
    #[track_caller]
    #[must_use]
    pub fn alone() -> Alone {
        let turn = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        let stack = STACK.get_or_init(Self::find);
        wait_for("empty queues before a test that needs them", QUIET, || stack.queues_are_empty());
        Alone { stack, _turn: turn }
    }

    fn find() -> Self {
        let emulator = Client::new(&address("REPRISE_TEST_EMULATOR"));
        let (name, tasks, dead_letters) = Queue::of_the_stack(&emulator);
        Self {
            api: Client::new(&address("REPRISE_TEST_URL")),
            model: Client::new(&address("REPRISE_TEST_MODEL")),
            emulator,
            name,
            tasks,
            dead_letters,
        }
    }

    fn queues_are_empty(&self) -> Result<(), String> {
        let (tasks, dead) = (self.tasks.depth(), self.dead_letters.depth());
        if tasks + dead == 0 { Ok(()) } else { Err(format!("{tasks} on the tasks queue, {dead} on the dead-letter queue")) }
    }
}

/// Where a part of the stack is.
///
/// # Panics
/// When the variable is not set.
#[expect(clippy::disallowed_methods, reason = "where the stack is comes from whoever started it")]
#[must_use]
pub fn address(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: `make test` starts a stack and sets it (infra/checks/e2e.sh)"))
}

/// The stack, shared.
#[derive(Debug)]
pub struct Beside {
    stack: &'static Stack,
    _turn: RwLockReadGuard<'static, ()>,
}

impl std::ops::Deref for Beside {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        self.stack
    }
}

/// The stack for one test. Dropping it fails the test if a queue was left non-empty.
#[derive(Debug)]
pub struct Alone {
    stack: &'static Stack,
    _turn: RwLockWriteGuard<'static, ()>,
}

impl std::ops::Deref for Alone {
    type Target = Stack;
    fn deref(&self) -> &Stack {
        self.stack
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let stack = self.stack;
        // The test that leaves something fails, not the one after it.
        let purge = || [&stack.tasks, &stack.dead_letters].map(Queue::purge);
        if std::thread::panicking() {
            purge();
            return;
        }
        // Messages that are done may need a moment to be deleted; one that was delivered too often has become a dead letter, which the
        // janitor removes with its next tick.
        let limit = Duration::from_secs(100);
        let is_clean =
            catch_unwind(AssertUnwindSafe(|| wait_for("queues as empty as the test found them", limit, || stack.queues_are_empty())));
        if let Err(failure) = is_clean {
            purge();
            resume_unwind(failure);
        }
    }
}
