//! A worker dies without a word in the middle of a run.

use tests::client::{list, number, text};
use tests::processes::signal;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

#[test]
fn a_killed_worker_costs_time_and_nothing_else() {
    let stack = Stack::alone();
    let run = stack.start(&fresh("slow after a tool"));
    wait_for("the worker to be in its second model call", LONG, || {
        let shown = stack.run(&run);
        if number(&shown, "steps") == 2 { Ok(()) } else { Err(shown) }
    });
    let before = stack.steps(&run);
    let worker = wait_for("the worker's process", LONG, || stack.worker_of(&run).ok_or_else(|| stack.run(&run)));
    signal(worker, "KILL");

    let done = stack.wait_until(&run, "completed");
    // The last step was progress: it is the first attempt of what would come next. That a worker was lost stays on record.
    assert_eq!((number(&done, "steps"), number(&done, "attempts")), (3, 1), "{done}");
    let lost: Vec<_> = list(&done, "failures").iter().map(|failure| text(failure, "code")).collect();
    assert_eq!(lost, ["worker_lost"], "{done}");
    assert!(text(&done, "response").contains("six seconds"), "{done}");
    // What was finished was not done again: the same steps, and one call of the provider for the first.
    assert_eq!(stack.steps(&run)[..2], before);
    let steps: Vec<_> = stack.model_calls(&run).iter().map(|call| call.step).collect();
    assert_eq!(steps, [1, 3], "calls that the provider answered");
}
