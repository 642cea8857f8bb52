//! What no message tells: the sweeper finds it. Each test runs alone, because it takes from the queues what others would miss.

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::processes::signal;
use tests::requests::Call;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// The transitions of a run that the sweeper made: to which state and why.
fn by_sweeper(run: &Value) -> Vec<(String, String)> {
    let transitions = list(run, "transitions").iter().filter(|transition| transition["by"] == "sweeper");
    transitions.map(|transition| (text(transition, "to"), text(transition, "reason"))).collect()
}

fn was(to: &str, reason: &str) -> (String, String) {
    (to.to_owned(), reason.to_owned())
}

/// Kills the process that works on a run.
fn kill_worker_of(stack: &Stack, run: &str) {
    let worker = wait_for("the worker's process", LONG, || stack.worker_of(run).ok_or_else(|| stack.run(run)));
    signal(worker, "KILL");
}

#[test]
fn a_synchronous_run_whose_function_was_killed_goes_on_without_its_caller() {
    let stack = Stack::alone();
    let prompt = fresh("slow after a tool");
    let run = std::thread::scope(|scope| {
        let caller = scope.spawn(|| stack.ask(&json!({"prompt": prompt})).status);
        let run = wait_for("the run to be in its second model call", LONG, || {
            let runs = stack.api.get("/v1/runs?limit=1&status=running").must(200);
            list(&runs, "runs").iter().find(|run| number(run, "steps") == 2).map(|run| text(run, "run_id")).ok_or(runs)
        });
        kill_worker_of(&stack, &run);
        assert!(caller.join().unwrap() >= 500, "the caller gets no answer");
        run
    });
    let before = stack.steps(&run);
    // A tick that begins now sees what falls due before the next one; the schedule's own may be a minute away.
    stack.invoke("sweeper");
    let done = stack.wait_until(&run, "completed");
    assert_eq!(by_sweeper(&done), [was("queued", "worker_lost")], "{done}");
    assert_eq!(stack.steps(&run)[..2], before, "what was finished was not done again");
    let steps: Vec<_> = stack.model_calls(&run).iter().map(|call| call.step).collect();
    assert_eq!(steps, [1, 3], "calls that the provider answered");
}

#[test]
fn a_run_whose_message_was_lost_is_sent_again_once_by_however_many_sweepers() {
    let stack = Stack::alone();
    let run = {
        let _paused = stack.pause_consumer();
        let run = stack.start(&fresh("lost"));
        let message = wait_for("its message", LONG, || stack.tasks.find(&run).ok_or("not there"));
        stack.tasks.delete(&message);
        run
    };
    for _ in 0..4 {
        stack.invoke("sweeper");
    }
    let done = stack.wait_until(&run, "completed");
    assert_eq!(by_sweeper(&done), [was("queued", "not_taken_up")], "{done}");
    assert_eq!(stack.model_calls(&run).len(), 1);
}

#[test]
fn a_worker_killed_on_its_last_delivery_leaves_one_dead_letter_and_a_record_that_explains_it() {
    let stack = Stack::alone();
    let run = stack.start(&fresh("slow answer"));
    for attempt in 1..=2 {
        wait_for("the next attempt", LONG, || {
            let shown = stack.run(&run);
            if number(&shown, "attempts") == attempt && shown["status"] == "running" { Ok(()) } else { Err(shown) }
        });
        kill_worker_of(&stack, &run);
    }
    let dead = stack.wait_until(&run, "dead");
    assert_eq!(by_sweeper(&dead), [was("dead", "worker_lost")], "{dead}");
    assert_eq!(dead["error"]["code"], "worker_lost", "{dead}");
    let is_one = |state: &str| {
        wait_for(state, LONG, || {
            let letters = stack.dead_letters.look();
            let of_the_run = letters.iter().filter(|letter| letter.body.contains(&run)).count();
            if (of_the_run, letters.len(), stack.tasks.depth()) == (1, 1, 0) { Ok(()) } else { Err(format!("{letters:?}")) }
        });
    };
    is_one("its message on the dead-letter queue, and nothing else anywhere");
    let since = stack.log_position();
    stack.invoke("sweeper");
    wait_for("a look of the janitor", LONG, || {
        let calls = stack.calls("", since);
        let is_given_back = |call: &Call| call.function == "sweeper" && call.operation == "ChangeMessageVisibilityBatch";
        if calls.iter().any(is_given_back) { Ok(()) } else { Err("it has given nothing back") }
    });
    is_one("its message to be given back");
    stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null).must(202);
    stack.wait_until(&run, "completed");
}

#[test]
fn the_janitor_deletes_letters_that_mean_nothing_and_leaves_poison() {
    let stack = Stack::alone();
    let ended = stack.start(&fresh("healthy"));
    stack.wait_until(&ended, "completed");
    let poison = fresh("poison");
    let useless = [
        format!(r#"{{"v":1,"tenant":"local","run":"{ended}","epoch":1}}"#),
        r#"{"v":1,"tenant":"local","run":"run_01HZZZZZZZZZZZZZZZZZZZZZZZ","epoch":1}"#.to_owned(),
        r#"{"v":1,"canary":"2026-01-02T03:04:05.000Z"}"#.to_owned(),
    ];
    stack.dead_letters.send(&poison);
    useless.iter().for_each(|body| stack.dead_letters.send(body));
    stack.invoke("sweeper");
    let left = wait_for("one letter to be left", LONG, || match &stack.dead_letters.look()[..] {
        [left] if stack.dead_letters.depth() == 1 => Ok(left.clone()),
        letters => Err(format!("{letters:?}")),
    });
    assert_eq!(left.body, poison);
    stack.dead_letters.delete(&left);
}

#[test]
fn the_janitor_keeps_its_hands_off_a_move() {
    const LETTERS: u64 = 6;
    let stack = Stack::alone();
    let ended = stack.start(&fresh("healthy"));
    stack.wait_until(&ended, "completed");
    for _ in 0..LETTERS {
        stack.dead_letters.send(&format!(r#"{{"v":1,"tenant":"local","run":"{ended}","epoch":1}}"#));
    }
    let since = stack.log_position();
    stack.dead_letters.start_move(&stack.tasks, 2);
    stack.invoke("sweeper");
    wait_for("the sweeper to ask about the move", LONG, || {
        let calls = stack.calls("", since);
        if calls.iter().any(|call| call.operation == "ListMessageMoveTasks" && call.function == "sweeper") { Ok(()) } else { Err("no") }
    });
    let moved = wait_for("the move to end", LONG, || match stack.dead_letters.latest_move() {
        (state, moved) if state != "RUNNING" => Ok((state, moved)),
        state => Err(format!("{state:?}")),
    });
    assert_eq!(moved, ("COMPLETED".to_owned(), LETTERS), "it missed none");
}

#[test]
fn a_tick_leaves_a_mark_and_so_does_its_canary_on_the_other_side_of_the_queue() {
    let stack = Stack::alone();
    let mark = |of: &str| stack.item("#heartbeat", of)["at"]["S"].as_str().unwrap_or_default().to_owned();
    let before = (mark("sweeper"), mark("worker"));
    stack.invoke("sweeper");
    wait_for("new marks", LONG, || {
        let now = (mark("sweeper"), mark("worker"));
        if now.0 > before.0 && now.1 > before.1 { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    });
    let worker = stack.item("#heartbeat", "worker");
    let latency: u64 = worker["latency_ms"]["N"].as_str().and_then(|ms| ms.parse().ok()).unwrap();
    assert!(latency < 30_000 && worker["sent_at"]["S"].as_str() <= worker["at"]["S"].as_str(), "{worker}");
}
