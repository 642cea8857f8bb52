//! Runs that wait for a human or for a time, without a worker.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::{Stack, fresh};

/// The tool step of a run that waited: its output, and whether that is an error.
fn heard(stack: &Stack, run: &str) -> (String, bool) {
    let steps = stack.steps(run);
    assert_eq!(steps.iter().map(|step| text(step, "kind")).collect::<Vec<_>>(), ["model", "tool", "model"]);
    (text(&steps[1], "output"), steps[1]["is_error"] == true)
}

fn states(run: &Value) -> Vec<String> {
    list(run, "transitions").iter().map(|transition| text(transition, "to")).collect()
}

#[test]
fn a_run_asks_a_human_holds_nothing_meanwhile_and_goes_on_with_the_answer() {
    let stack = Stack::alone();
    let run = stack.start(&fresh("ask me first"));
    let asking = stack.wait_until(&run, "waiting");
    assert_eq!((&asking["waiting"]["for"], &asking["waiting"]["question"]), (&json!("answer"), &json!("May I go on?")));
    assert_eq!(asking["lease"], Value::Null);
    assert_eq!(stack.tasks.depth(), 0, "no message is in flight");

    let question = text(&asking["waiting"], "question_id");
    let other = stack.reply(&run, "q77", "no").refused(409, Some("question_id"));
    assert_eq!((&other["code"], &other["question_id"]), (&json!("not_asked"), &json!(question)));
    let yes = fresh("yes, with \"quotes\" and ü");
    let taken = stack.reply(&run, &question, &yes);
    assert_eq!((text(&taken.must(202), "run_id"), taken.header("location")), (run.clone(), &*format!("/v1/runs/{run}")));

    let done = stack.wait_until(&run, "completed");
    assert_eq!(heard(&stack, &run), (yes.clone(), false));
    assert_eq!(states(&done), ["queued", "running", "waiting", "queued", "running", "completed"]);
    assert_eq!(number(&done, "attempts"), 1, "a wait is no attempt");
    let calls = stack.model_calls(&run);
    assert_eq!(calls[1].messages.last(), Some(&("tool".to_owned(), yes.clone())), "the model was told");
    // The first answer counts.
    stack.reply(&run, &question, &yes).must(202);
    assert_eq!(stack.reply(&run, &question, "no").refused(409, None)["code"], "not_asked");
}

#[test]
fn a_caller_who_waits_is_told_the_question() {
    let stack = Stack::beside();
    let asked = stack.ask(&json!({"prompt": fresh("ask me first")})).must(202);
    assert_eq!((&asked["status"], &asked["waiting"]["question"]), (&json!("waiting"), &json!("May I go on?")));
    let run = text(&asked, "run_id");
    stack.reply(&run, &text(&asked["waiting"], "question_id"), "go on").must(202);
    stack.wait_until(&run, "completed");
    assert_eq!(heard(&stack, &run), ("go on".into(), false));
}

#[test]
fn ten_answers_at_once_are_one() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("ask me first"));
    let question = text(&stack.wait_until(&run, "waiting")["waiting"], "question_id");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let answer = |n: usize| {
            let (stack, run, question) = (&stack, &run, &question);
            scope.spawn(move || stack.reply(run, question, &format!("answer {n}")).status)
        };
        let answers: Vec<_> = (0..10).map(answer).collect();
        answers.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 202 | 409)), "{statuses:?}");
    stack.wait_until(&run, "completed");
    let winner = statuses.iter().position(|status| *status == 202).unwrap();
    assert_eq!(heard(&stack, &run), (format!("answer {winner}"), false));
    assert_eq!(stack.model_calls(&run).len(), 2);
}

#[test]
fn a_question_that_nobody_answers_expires_and_the_agent_is_told() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("ask me quickly"));
    let question = text(&stack.wait_until(&run, "waiting")["waiting"], "question_id");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(stack.reply(&run, &question, "too late").refused(409, None)["code"], "not_asked");
    let done = stack.wait_until(&run, "completed");
    let (output, is_error) = heard(&stack, &run);
    assert!(is_error && output.contains("nobody answered"), "{output}");
    assert_eq!(done["transitions"][3]["by"], "sweeper", "{done}");
}

#[test]
fn a_run_waits_for_a_time() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("wait a moment"));
    let waiting = stack.wait_until(&run, "waiting");
    assert_eq!(waiting["waiting"]["for"], "time");
    let done = stack.wait_until(&run, "completed");
    assert!(text(&waiting["waiting"], "until") <= text(&done["transitions"][3], "at"), "not before: {done}");
    assert!(!heard(&stack, &run).1);
}

#[test]
fn a_run_that_waits_can_be_cancelled_and_no_answer_wakes_it() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("ask me first"));
    let question = text(&stack.wait_until(&run, "waiting")["waiting"], "question_id");
    stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
    assert_eq!(stack.reply(&run, &question, "yes").refused(409, None)["code"], "not_asked");
    assert_eq!(stack.run(&run)["status"], "cancelled");
}
