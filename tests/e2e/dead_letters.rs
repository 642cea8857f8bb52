//! Runs that die, where they are seen, and how they come back. Each test runs alone: they share one dead-letter queue.

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

/// A run that will die, and the word that heals its provider.
fn dead_run(stack: &Stack) -> (String, String) {
    let word = fresh("patient");
    let run = stack.start(&format!("fails until healed {word}"));
    (run, word)
}

/// Dead runs, those of other tests included: their messages are gone, their records stay.
fn dead_count(stack: &Stack) -> u64 {
    number(&stack.api.get("/v1/dlq").must(200), "count")
}

fn wait_for_death(stack: &Stack, run: &str) {
    stack.wait_until(run, "dead");
    wait_for("its message on the dead-letter queue", LONG, || stack.dead_letters.find(run).map(|_| ()).ok_or("not there"));
}

#[test]
fn a_dead_run_is_shown_with_its_failures_and_completes_when_it_is_retried() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let (run, word) = dead_run(&stack);
    wait_for_death(&stack, &run);

    let shown = stack.api.get("/v1/dlq").must(200);
    assert_eq!((number(&shown, "count"), number(&shown["queue"], "approximate_messages")), (others + 1, 1), "{shown}");
    let Some(entry) = list(&shown, "entries").first() else { panic!("no entry: {shown}") };
    assert_eq!((&entry["run_id"], &entry["agent"]), (&json!(run), &json!("assistant")), "newest first");
    assert_eq!((&entry["error"]["code"], number(entry, "attempts")), (&json!("provider_unavailable"), 2), "{entry}");
    assert!(!text(&entry["error"], "message").is_empty());
    assert!(text(entry, "created_at") <= text(entry, "first_failed_at"), "{entry}");
    assert!(text(entry, "first_failed_at") < text(entry, "last_failed_at"), "{entry}");
    assert_eq!(list(entry, "failures").len(), 2, "{entry}");

    stack.heal(&word);
    let retry = stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null);
    assert_eq!((&retry.must(202)["run_id"], &retry.must(202)["status"]), (&json!(run), &json!("queued")));
    assert_eq!(retry.header("location"), format!("/v1/runs/{run}"));
    let revived = stack.wait_until(&run, "completed");
    assert!(text(&revived, "response").contains("well again"), "{revived}");
    assert_eq!(revived["error"], Value::Null);
    assert!(stack.dead_letters.find(&run).is_none(), "the message of a retried run is gone");
    assert_eq!(dead_count(&stack), others);

    let refused = stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null).refused(409, None);
    assert_eq!(refused["code"], "not_dead");
}

#[test]
fn looking_at_the_dead_touches_no_message() {
    let stack = Stack::alone();
    let (run, word) = dead_run(&stack);
    wait_for_death(&stack, &run);
    let before = stack.dead_letters.find(&run).unwrap();
    // The sweeper looks at letters too; here it is about the API.
    let since = stack.log_position();
    for _ in 0..3 {
        stack.api.get("/v1/dlq").must(200);
        stack.api.get("/v1/dlq?limit=1").must(200);
    }
    let mut calls = stack.calls("", since);
    calls.retain(|call| call.function == "dlq-redrive");
    let touching = |operation: &str| !(operation.starts_with("Get") || operation == "Query" || operation == "BatchGetItem");
    let touched: Vec<_> = calls.iter().filter(|call| touching(&call.operation)).collect();
    assert!(touched.is_empty() && !calls.is_empty(), "{touched:?}");
    let after = stack.dead_letters.find(&run).unwrap();
    assert_eq!(after.body, before.body);

    stack.heal(&word);
    stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null).must(202);
    stack.wait_until(&run, "completed");
}

#[test]
fn retry_all_brings_every_dead_run_back() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let dead: Vec<_> = (0..3).map(|_| dead_run(&stack)).collect();
    for (run, word) in &dead {
        wait_for_death(&stack, run);
        stack.heal(word);
    }
    assert_eq!(dead_count(&stack), others + 3);
    let moved = stack.api.post("/v1/dlq/retry-all", &json!({"native": true})).must(202);
    assert_eq!(moved["status"], "started", "{moved}");
    for (run, _) in &dead {
        stack.wait_until(run, "completed");
    }
    assert_eq!(dead_count(&stack), others);
    for (run, _) in &dead {
        assert!(stack.dead_letters.find(run).is_none());
    }
}

#[test]
fn a_message_that_cannot_be_read_reaches_the_dead_letter_queue_as_it_was() {
    let stack = Stack::alone();
    let others = dead_count(&stack);
    let word = fresh("poison");
    let poison = [
        format!("{word} is not JSON: \"quotes\" \n and ünïcödé ✓"),
        format!(r#"{{"v":99,"tenant":"local","run":"{word}","epoch":1}}"#),
        format!(r#"{{"v":1,"tenant":"local","run":"../{word}","epoch":1}}"#),
    ];
    for body in &poison {
        stack.tasks.send(body);
    }
    // A good run beside them is not held up.
    stack.wait_until(&stack.start(&fresh("healthy")), "completed");
    for body in &poison {
        wait_for("the message on the dead-letter queue", LONG, || {
            let messages = stack.dead_letters.look();
            messages.iter().any(|message| message.body == *body).then_some(()).ok_or(format!("{messages:?}"))
        });
    }
    assert_eq!(dead_count(&stack), others, "poison is no run");
    for body in &poison {
        let letter = letter_of(&stack, &body[..8], body);
        stack.api.post(&format!("/v1/dlq/letters/{letter}/discard"), &json!({"reason": "a test"})).must(200);
    }
    wait_for("the discarded letters to leave the queue", LONG, || {
        stack.invoke("sweeper");
        if stack.dead_letters.depth() == 0 { Ok(()) } else { Err(format!("{:?}", stack.dead_letters.look())) }
    });
}

/// The letter with that text, once it is listed.
fn letter_of(stack: &Stack, preview: &str, body: &str) -> String {
    wait_for("the letter to be listed", LONG, || {
        let listed = stack.api.get("/v1/dlq/letters?limit=100").must(200);
        for letter in list(&listed, "letters").iter().filter(|letter| text(letter, "body_preview").starts_with(preview)) {
            let shown = stack.api.get(&format!("/v1/dlq/letters/{}", text(letter, "letter_id"))).must(200);
            if shown["body"] == body {
                return Ok(text(letter, "letter_id"));
            }
        }
        Err(listed)
    })
}

#[test]
fn a_letter_that_is_mended_and_moved_is_the_message_that_it_should_have_been() {
    let stack = Stack::alone();
    let (run, word) = dead_run(&stack);
    wait_for_death(&stack, &run);
    let Some(message) = stack.dead_letters.find(&run) else { panic!("the message of {run} is gone") };
    // What a sender makes of it who does not know of versions.
    let broken = message.body.replace(r#""v":1,"#, "");
    stack.tasks.send(&broken);
    let letter = letter_of(&stack, "{", &broken);
    wait_for("it to be on the dead-letter queue", LONG, || {
        stack.dead_letters.look().iter().any(|m| m.body == broken).then_some(()).ok_or("not there")
    });
    stack.heal(&word);
    let move_to = |body: &str| stack.api.post(&format!("/v1/dlq/letters/{letter}/move"), &json!({"body": body, "reason": "a test"}));
    assert_eq!(move_to(&broken).refused(400, Some("body"))["code"], "invalid_request");
    assert_eq!(move_to(&message.body).must(200)["status"], "moved");
    stack.wait_until(&run, "completed");
    let served = stack.model_calls(&run).into_iter().filter(|call| call.status == 200).count();
    assert_eq!(served, 1);
    wait_for("both messages to leave the dead-letter queue", LONG, || {
        stack.invoke("sweeper");
        if stack.dead_letters.depth() == 0 { Ok(()) } else { Err(format!("{:?}", stack.dead_letters.look())) }
    });
}

/// The steps for which the provider was asked and answered, in order.
fn answered(stack: &Stack, run: &str) -> Vec<u32> {
    stack.model_calls(run).into_iter().filter(|call| call.status == 200).map(|call| call.step).collect()
}

#[test]
fn a_retry_from_the_failed_step_asks_for_nothing_that_the_journal_holds_and_one_from_the_start_does() {
    let stack = Stack::alone();
    for (body, action, first, steps) in [
        (json!({}), "resume", "model", vec![1, 3]),
        (json!({"from": "start", "reason": "the answer was made of old news"}), "start_over", "model", vec![1, 3, 5]),
    ] {
        let word = fresh("patient");
        let run = stack.start(&format!("echo after 1 clock, then fails until healed {word}"));
        wait_for_death(&stack, &run);
        let shown = stack.api.get(&format!("/v1/dlq/{run}")).must(200);
        assert_eq!((&shown["failed_step"]["index"], &shown["failed_step"]["kind"]), (&json!(3), &json!("model")), "{shown}");
        assert_eq!((list(&shown, "journal").len(), &shown["journal_complete"]), (2, &json!(true)), "{shown}");
        assert!(text(&shown["payload"], "prompt").contains(&word), "{shown}");
        let stats = stack.api.get(&format!("/v1/dlq/stats?fingerprint={}", text(&shown, "fingerprint"))).must(200);
        assert_eq!(stats["groups"][0]["run_id"], run.as_str(), "{stats}");
        assert_eq!(answered(&stack, &run), [1]);

        stack.heal(&word);
        let mut dry = body.clone();
        dry["dry_run"] = json!(true);
        let would = stack.api.post(&format!("/v1/dlq/{run}/retry"), &dry).must(200);
        assert_eq!((&would["would"]["action"], &would["would"]["step"]["kind"]), (&json!(action), &json!(first)), "{would}");
        assert_eq!(stack.run(&run)["status"], "dead", "a dry run does nothing");
        stack.api.post(&format!("/v1/dlq/{run}/retry"), &body).must(202);
        stack.wait_until(&run, "completed");
        assert_eq!(answered(&stack, &run), steps, "{action}");
    }
}

/// The agent's own instructions in each call that was made for this run, oldest first.
fn instructions(stack: &Stack, run: &str) -> Vec<String> {
    let journal = stack.model.get("/__aimock/journal?limit=1000").must(200);
    let is_of = |entry: &&Value| entry["headers"]["idempotency-key"].as_str().is_some_and(|key| key.starts_with(run));
    let mut calls: Vec<&Value> = journal.as_array().into_iter().flatten().filter(is_of).collect();
    calls.sort_by_key(|call| number(call, "timestamp"));
    let system =
        |call: &Value| list(&call["body"], "messages").iter().find(|message| message["role"] == "system").map(|it| text(it, "content"));
    calls.into_iter().map(|call| system(call).unwrap_or_default()).collect()
}

#[test]
fn runs_of_one_failure_are_put_back_together_another_stays_dead_until_it_is_asked_something_else() {
    let stack = Stack::alone();
    // Three fail of the same, one of something else that no healing mends.
    let patients = [dead_run(&stack), dead_run(&stack), dead_run(&stack)];
    let other = stack.start(&fresh("empty answer"));
    let since = text(&stack.run(&patients[0].0), "created_at");
    for run in patients.iter().map(|(run, _)| run).chain([&other]) {
        wait_for_death(&stack, run);
    }
    let fingerprint = |run: &str| text(&stack.api.get(&format!("/v1/dlq/{run}")).must(200), "fingerprint");
    assert_eq!(fingerprint(&patients[0].0), fingerprint(&patients[1].0));
    assert_ne!(fingerprint(&patients[0].0), fingerprint(&other));
    patients.iter().for_each(|(_, word)| stack.heal(word));

    // One alone, by another agent: that one's instructions go to the model, from the start.
    let (taken_over, _) = &patients[2];
    stack.api.post(&format!("/v1/dlq/{taken_over}/retry"), &json!({"agent": "triage"})).must(202);
    assert_eq!(stack.wait_until(taken_over, "completed")["agent"], "triage");
    let told = instructions(&stack, taken_over);
    let [first, .., last] = &told[..] else { panic!("more than one call expected: {told:?}") };
    assert!(!first.contains("support desk") && last.contains("support desk"), "{told:?}");

    // The two others by what they failed of.
    let filter = json!({"fingerprint": fingerprint(&patients[0].0), "since": since});
    let job = text(&stack.api.post("/v1/dlq/retry", &json!({"filter": filter, "reason": "a test"})).must(202), "job_id");
    let done = wait_for("the retry to be completed", LONG, || {
        let shown = stack.api.get(&format!("/v1/dlq/jobs/{job}")).must(200);
        if shown["status"] == "completed" { Ok(shown) } else { Err(shown) }
    });
    let counts = ["selected", "done", "skipped", "failed"].map(|name| number(&done["counts"], name));
    assert_eq!(counts, [2, 2, 0, 0], "{done}");
    for (run, _) in &patients[..2] {
        stack.wait_until(run, "completed");
    }
    let left = stack.api.get(&format!("/v1/dlq/{other}")).must(200);
    assert_eq!((number(&left, "redrives"), stack.run(&other)["status"].as_str()), (0, Some("dead")), "{left}");
    assert!(stack.dead_letters.find(&other).is_some(), "its message lies where it lay");

    // It is asked something that can be answered.
    let question = fresh("What can you do?");
    stack.api.post(&format!("/v1/dlq/{other}/retry"), &json!({"input": {"prompt": question}})).must(202);
    let mended = stack.wait_until(&other, "completed");
    assert_eq!((text(&mended, "prompt"), &mended["agent"]), (question.clone(), &json!("assistant")), "{mended}");
    let Some(last) = stack.model_calls(&other).pop() else { panic!("the model was not asked") };
    assert_eq!(last.messages, [("user".to_owned(), question)], "nothing of what was asked before");
    wait_for("the messages of those that came back to leave the queue", LONG, || {
        stack.invoke("sweeper");
        if stack.dead_letters.depth() == 0 { Ok(()) } else { Err(format!("{:?}", stack.dead_letters.look())) }
    });
}

#[test]
fn a_dead_run_that_is_given_up_stays_on_record_and_leaves_the_queue() {
    let stack = Stack::alone();
    let (run, _) = dead_run(&stack);
    wait_for_death(&stack, &run);
    let count = |query: &str| {
        list(&stack.api.get(&format!("/v1/dlq?limit=100&{query}")).must(200), "entries")
            .iter()
            .filter(|entry| entry["run_id"] == run.as_str())
            .count()
    };
    assert_eq!(
        (count("code=provider_unavailable&sort=-attempts"), count("code=provider_timeout"), count("text=nothing+like+it")),
        (1, 0, 0)
    );
    assert_eq!(stack.api.post(&format!("/v1/dlq/{run}/discard"), &json!({})).refused(400, Some("reason"))["code"], "invalid_request");
    stack.api.post(&format!("/v1/dlq/{run}/discard"), &json!({"reason": "nobody waits for it"})).must(200);
    let given_up = stack.run(&run);
    let Some(last) = list(&given_up, "transitions").last() else { panic!("no transitions: {given_up}") };
    assert_eq!((&given_up["status"], &last["note"]), (&json!("cancelled"), &json!("nobody waits for it")), "{last}");
    wait_for("it to leave the list and the queue", LONG, || {
        stack.invoke("sweeper");
        if (stack.dead_letters.depth(), count("")) == (0, 0) { Ok(()) } else { Err(format!("{:?}", stack.dead_letters.look())) }
    });
}

#[test]
fn a_move_by_the_queue_itself_in_the_middle_of_our_retries_and_of_traffic_loses_and_doubles_nothing() {
    let stack = Stack::alone();
    let dead: Vec<_> = (0..8).map(|_| dead_run(&stack)).collect();
    for (run, word) in &dead {
        wait_for_death(&stack, run);
        stack.heal(word);
    }
    let mut fresh_runs = Vec::new();
    stack.dead_letters.start_move(&stack.tasks, 4);
    for (run, _) in &dead {
        fresh_runs.push(stack.start(&fresh("healthy")));
        let retry = stack.api.post(&format!("/v1/dlq/{run}/retry"), &Value::Null);
        // The move may have been faster.
        assert!([202, 409].contains(&retry.status), "{}: {}", retry.status, retry.body);
    }
    for run in dead.iter().map(|(run, _)| run).chain(&fresh_runs) {
        stack.wait_until(run, "completed");
        assert_eq!(answered(&stack, run).len(), 1, "{run} is answered once");
    }
    wait_for("both queues to be empty", LONG, || {
        stack.invoke("sweeper");
        let depths = (stack.dead_letters.depth(), stack.tasks.depth());
        if depths == (0, 0) { Ok(()) } else { Err(format!("{depths:?}")) }
    });
}
