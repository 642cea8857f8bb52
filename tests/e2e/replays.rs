//! Past events as new runs: once each, also when the worker dies; and beside the runs of then.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::processes::signal;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// Publishes a ticket; `triage-ticket` is about those that are urgent.
fn ticket(stack: &Stack, kind: &str, priority: &str) -> Value {
    ticket_from(stack, "crm/eu", kind, priority)
}

fn ticket_from(stack: &Stack, source: &str, kind: &str, priority: &str) -> Value {
    let payload = json!({"ticket": {"id": fresh("T"), "priority": priority, "subject": "Login fails"}});
    stack.api.post("/v1/events", &json!({"type": kind, "source": source, "payload": payload})).must(202)
}

/// The run that the only trigger of an event started.
fn run_of(event: &Value) -> String {
    let [found] = list(event, "matches") else { panic!("one match expected: {event}") };
    text(found, "run_id")
}

/// The replay, once it has started its runs. While a worker is killed the gateway may have no answer.
fn wait_for_replay(stack: &Stack, id: &str) -> Value {
    wait_for("the replay to be completed", LONG, || {
        let shown = stack.api.get(&format!("/v1/replays/{id}"));
        if shown.status == 200 && shown.must(200)["status"] == "completed" { Ok(shown.must(200)) } else { Err(shown.body) }
    })
}

fn results(stack: &Stack, id: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.api.get(&format!("/v1/replays/{id}/results?limit=3{cursor}")).must(200);
        all.extend_from_slice(list(&page, "results"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('#', "%23")),
            None => return all,
        }
    }
}

#[test]
fn a_replay_whose_worker_is_killed_starts_each_run_once() {
    let stack = Stack::alone();
    // Ten events of three types: six that start a run, two that nobody hears, two requests.
    let urgent: Vec<Value> = (0..6).map(|_| ticket(&stack, "ticket.opened", "urgent")).collect();
    let unheard: Vec<Value> = (0..2).map(|_| ticket(&stack, "ticket.closed", "urgent")).collect();
    let asked: Vec<String> = (0..2).map(|_| stack.start(&fresh("What can you do?"))).collect();
    let mut old: BTreeSet<String> = urgent.iter().map(run_of).collect();
    old.extend(asked.iter().cloned());
    let requests = asked.iter().map(|run| stack.wait_until(run, "completed"));
    let events: Vec<String> = urgent.iter().cloned().chain(unheard).chain(requests).map(|event| text(&event, "event_id")).collect();
    assert_eq!((events.len(), old.len()), (10, 8));
    old.iter().for_each(|run| drop(stack.wait_until(run, "completed")));

    let body = json!({"events": events, "rate": 1, "reason": "a test"});
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    let plan = stack.api.post("/v1/replays", &dry).must(200);
    assert_eq!((number(&plan, "would_start"), list(&plan, "would_skip").len()), (8, 2), "{plan}");
    let key = fresh("key");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let start = || stack.api.send("POST", "/v1/replays", &headers, body.to_string().into_bytes()).must(202);
    let id = text(&start(), "job_id");
    assert_eq!(text(&start(), "job_id"), id, "sent again it is the same replay");
    wait_for("the replay to have begun", LONG, || {
        let shown = stack.api.get(&format!("/v1/replays/{id}")).must(200);
        if number(&shown["counts"], "done") >= 2 { Ok(()) } else { Err(shown) }
    });
    let killed = stack.processes_of("dlq-redrive");
    assert!(!killed.is_empty(), "nobody works on it");
    killed.iter().for_each(|process| signal(*process, "KILL"));

    let done = wait_for_replay(&stack, &id);
    let counts = &done["counts"];
    assert_eq!((number(counts, "selected"), number(counts, "done"), number(counts, "skipped")), (10, 8, 2), "{done}");
    let found = results(&stack, &id);
    let new: BTreeSet<String> = found.iter().filter(|one| one["outcome"] == "done").map(|one| text(&one["new"], "run_id")).collect();
    let repeated: BTreeSet<String> = found.iter().filter(|one| one["outcome"] == "done").map(|one| text(&one["old"], "run_id")).collect();
    assert_eq!((found.len(), new.len(), &repeated), (10, 8, &old));
    for run in &new {
        let run = stack.wait_until(run, "completed");
        assert!(text(&run, "replay") == id && old.contains(&text(&run, "replay_of")), "{run}");
    }
    // Whatever else was started since: no other run is of this replay.
    let listed = stack.api.get("/v1/runs?limit=100").must(200);
    let of_it = list(&listed, "runs").iter().filter(|run| run["replay"] == json!(id)).count();
    assert_eq!(of_it, 8, "{listed}");
    for one in results(&stack, &id).iter().filter(|one| one["outcome"] == "done") {
        assert_eq!((&one["difference"]["same_answer"], &one["difference"]["steps"]), (&json!(true), &json!(0)), "{one}");
    }
}

#[test]
fn a_replay_by_filter_is_about_the_events_of_its_kind_source_and_time_and_no_others() {
    let stack = Stack::beside();
    let source = fresh("crm/branch");
    let publish = |source: &str, kind: &str, priority: &str| ticket_from(&stack, source, kind, priority);
    let before = publish(&source, "ticket.opened", "urgent");
    let wanted = [publish(&source, "ticket.opened", "urgent"), publish(&source, "ticket.opened", "urgent")];
    publish(&source, "ticket.opened", "low");
    let after = publish(&source, "ticket.opened", "urgent");
    let others = [publish(&source, "ticket.closed", "urgent"), publish(&fresh("crm/branch"), "ticket.opened", "urgent")];
    let shown = |event: &Value| stack.api.get(&format!("/v1/events/{}", text(event, "event_id"))).must(200);
    let at = |event: &Value| text(&shown(event), "created_at");
    assert!(at(&before) < at(&wanted[0]) && at(&wanted[1]) < at(&after), "each has a time of its own");
    for event in [&before, &wanted[0], &wanted[1], &after, &others[1]] {
        stack.wait_until(&run_of(event), "completed");
    }
    let filter = json!({"type": "ticket.opened", "source": source, "since": at(&wanted[0]), "until": at(&after)});
    let id = text(&stack.api.post("/v1/replays", &json!({"filter": filter})).must(202), "job_id");
    let done = wait_for_replay(&stack, &id);
    let counts = ["selected", "done", "skipped", "failed"].map(|name| number(&done["counts"], name));
    // What no trigger fits is passed over where nobody has named it.
    assert_eq!(counts, [2, 2, 0, 0], "{done}");
    let found = results(&stack, &id);
    let repeated: BTreeSet<String> = found.iter().map(|one| text(&one["old"], "run_id")).collect();
    assert_eq!(repeated, wanted.iter().map(run_of).collect::<BTreeSet<_>>(), "{found:?}");
    for one in &found {
        stack.wait_until(&text(&one["new"], "run_id"), "completed");
    }
}

#[test]
fn one_run_is_asked_again_of_another_model_in_one_request() {
    let stack = Stack::beside();
    let old = stack.start(&fresh("What can you do?"));
    stack.wait_until(&old, "completed");
    let started = stack.api.post("/v1/replays", &json!({"runs": [old], "model": "openai::another-model"}));
    let id = text(&started.must(202), "job_id");
    assert_eq!(started.header("location"), format!("/v1/replays/{id}"));
    wait_for_replay(&stack, &id);
    let [one] = &results(&stack, &id)[..] else { panic!("one result expected") };
    let new = text(&one["new"], "run_id");
    stack.wait_until(&new, "completed");
    let journal = stack.model.get("/__aimock/journal?limit=1000").must(200);
    let models = |run: &str| -> Vec<String> {
        let is_of = |entry: &&Value| entry["headers"]["idempotency-key"].as_str().is_some_and(|key| key.starts_with(run));
        journal.as_array().into_iter().flatten().filter(is_of).map(|entry| text(&entry["body"], "model")).collect()
    };
    assert_eq!(models(&new), ["another-model"]);
    assert_ne!(models(&old), models(&new));
    assert!(list(&stack.api.get("/v1/replays?limit=100").must(200), "jobs").iter().any(|job| job["job_id"] == json!(id)));
}

#[test]
fn a_replay_asks_nobody_what_was_answered_then() {
    let stack = Stack::beside();
    let old = stack.start(&fresh("ask me first"));
    let waiting = stack.wait_until(&old, "waiting");
    stack.reply(&old, &text(&waiting["waiting"], "question_id"), "yes, go on").must(202);
    stack.wait_until(&old, "completed");
    let started = stack.api.post("/v1/replays", &json!({"runs": [old]})).must(202);
    let id = text(&started, "job_id");
    wait_for_replay(&stack, &id);
    let [one] = &results(&stack, &id)[..] else { panic!("one result expected") };
    let new = text(&one["new"], "run_id");
    stack.wait_until(&new, "completed");
    let stood_in: Vec<_> = stack.steps(&new).iter().filter(|step| step["kind"] == "tool").map(|step| step["stand_in"].clone()).collect();
    assert_eq!(stood_in, ["recorded"]);
    let again = stack.api.post(&format!("/v1/replays/{id}/cancel"), &json!({})).refused(409, None);
    assert_eq!(again["code"], "already_ended");
}
