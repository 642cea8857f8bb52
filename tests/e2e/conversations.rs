//! Runs of one conversation know what was said before, and take turns.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{list, text};
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

fn said(role: &str, content: &str) -> (String, String) {
    (role.into(), content.into())
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let stack = Stack::beside();
    let (first, second) = (fresh("What can you do?"), fresh("And what else?"));
    let one = stack.ask(&json!({"prompt": first})).must(200);
    let conversation = text(&one, "conversation_id");
    let two = stack.ask(&json!({"prompt": second, "conversation_id": conversation})).must(200);
    assert_eq!(two["conversation_id"], one["conversation_id"]);

    let [call] = &stack.model_calls(&text(&two, "run_id"))[..] else { panic!("one model call expected") };
    assert_eq!(call.messages, [said("user", &first), said("assistant", &text(&one, "response")), said("user", &second)]);

    let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
    assert_eq!((&shown["conversation_id"], &shown["active_run"]), (&one["conversation_id"], &Value::Null));
    let turns: Vec<_> = list(&shown, "turns").iter().map(|turn| (turn["run_id"].clone(), turn["response"].clone())).collect();
    assert_eq!(turns, [&one, &two].map(|run| (run["run_id"].clone(), run["response"].clone())));
    let page = stack.api.get(&format!("/v1/conversations/{conversation}?limit=1")).must(200);
    let rest = stack.api.get(&format!("/v1/conversations/{conversation}?cursor={}", text(&page, "next_cursor"))).must(200);
    assert_eq!(list(&rest, "turns").first().map(|turn| &turn["run_id"]), Some(&two["run_id"]));
}

#[test]
fn a_background_run_knows_its_conversation_as_well() {
    let stack = Stack::beside();
    let (first, second) = (fresh("What can you do?"), fresh("And in the background?"));
    let one = stack.ask(&json!({"prompt": first})).must(200);
    let body = json!({"prompt": second, "conversation_id": one["conversation_id"], "background": true});
    let run = text(&stack.ask(&body).must(202), "run_id");
    stack.wait_until(&run, "completed");
    let calls = stack.model_calls(&run);
    assert_eq!(calls[0].messages, [said("user", &first), said("assistant", &text(&one, "response")), said("user", &second)]);
}

#[test]
fn messages_take_the_place_of_history() {
    let stack = Stack::beside();
    let one = stack.ask(&json!({"prompt": fresh("never to be seen again")})).must(200);
    let (told, prompt) = (fresh("told"), fresh("asked"));
    let messages = json!([{"role": "user", "content": told}, {"role": "assistant", "content": "noted"}]);
    let body = json!({"prompt": prompt, "messages": messages, "conversation_id": one["conversation_id"]});
    let two = stack.ask(&body).must(200);
    let calls = stack.model_calls(&text(&two, "run_id"));
    assert_eq!(calls[0].messages, [said("user", &told), said("assistant", "noted"), said("user", &prompt)]);
    assert_eq!(list(&two, "messages").len(), 4, "{two}");
}

#[test]
fn a_message_that_will_not_wait_is_refused_while_a_run_is_active() {
    let stack = Stack::beside();
    let accepted = stack.ask(&json!({"prompt": fresh("slow answer"), "background": true})).must(202);
    let (run, conversation) = (text(&accepted, "run_id"), text(&accepted, "conversation_id"));
    let second = json!({"prompt": fresh("me too"), "conversation_id": conversation, "multitask_strategy": "reject"});
    let refused = stack.ask(&second);
    assert_eq!(refused.refused(409, Some("conversation_id"))["code"], "conversation_busy");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{:?}", refused.headers);
    let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
    assert_eq!(text(&shown, "active_run"), run);

    stack.wait_until(&run, "completed");
    stack.ask(&second).must(200);
}

#[test]
fn eight_messages_at_once_are_answered_one_at_a_time_in_order_of_arrival() {
    let stack = Stack::beside();
    let first = stack.ask(&json!({"prompt": fresh("slow answer"), "background": true})).must(202);
    let conversation = text(&first, "conversation_id");
    let say = |prompt: &str| stack.ask(&json!({"prompt": prompt, "conversation_id": conversation, "background": true})).must(202);
    // Some one after another, whose order is known; the others all at once.
    let mut known = vec![text(&first, "run_id")];
    known.extend(["two", "three"].map(|word| text(&say(&fresh(word)), "run_id")));
    std::thread::scope(|scope| {
        let burst: Vec<_> = (0..5).map(|_| scope.spawn(|| say(&fresh("more")))).collect();
        for message in burst {
            assert_eq!(message.join().unwrap()["status"], "waiting");
        }
    });
    let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
    let order: Vec<String> = list(&shown, "turns").iter().map(|turn| text(turn, "run_id")).collect();
    assert_eq!((order.len(), &order[..3]), (8, &known[..]));
    let line: Vec<&str> = list(&shown, "line").iter().filter_map(Value::as_str).collect();
    assert_eq!(line, order[1..], "the line is the order of arrival");

    let runs: Vec<Value> = order.iter().map(|run| stack.wait_until(run, "completed")).collect();
    let at = |run: &Value, state: &str| {
        let transitions = list(run, "transitions").iter().find(|transition| transition["to"] == state);
        transitions.map(|transition| text(transition, "at")).unwrap_or_else(|| panic!("never {state}: {run}"))
    };
    for pair in runs.windows(2) {
        assert!(at(&pair[0], "completed") <= at(&pair[1], "running"), "two at a time: {pair:?}");
    }
    // The last one was told all that was said before it, in that order, and nothing was asked twice.
    let expected: Vec<_> =
        runs.iter().flat_map(|run| [said("user", &text(run, "prompt")), said("assistant", &text(run, "response"))]).collect();
    let [call] = &stack.model_calls(&order[7])[..] else { panic!("one model call expected") };
    assert_eq!(call.messages, expected[..15]);
    assert!(order.iter().all(|run| stack.model_calls(run).len() == 1));
    let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
    assert_eq!((&shown["active_run"], list(&shown, "line").len()), (&Value::Null, 0));
}

#[test]
fn a_message_may_interrupt_what_is_going_on_or_take_its_place() {
    let stack = Stack::beside();
    for (strategy, status, is_remembered) in [("interrupt", "interrupted", true), ("rollback", "rolled_back", false)] {
        let slow = fresh("slow answer");
        let accepted = stack.ask(&json!({"prompt": slow, "background": true})).must(202);
        let (run, conversation) = (text(&accepted, "run_id"), text(&accepted, "conversation_id"));
        stack.wait_until(&run, "running");
        let waiting = text(
            &stack.ask(&json!({"prompt": fresh("never answered"), "conversation_id": conversation, "background": true})).must(202),
            "run_id",
        );
        let stop = fresh("stop that");
        let body = json!({"prompt": stop, "conversation_id": conversation, "multitask_strategy": strategy});
        let done = stack.ask(&body).must(200);
        for ended in [&run, &waiting] {
            assert_eq!(stack.run(ended)["status"], "cancelled", "{strategy}");
        }
        let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
        let statuses: Vec<_> = list(&shown, "turns").iter().map(|turn| turn["status"].clone()).collect();
        assert_eq!(statuses, [json!(status), json!(status), json!("completed")]);
        let calls = stack.model_calls(&text(&done, "run_id"));
        assert_eq!(calls[0].messages.contains(&said("user", &slow)), is_remembered, "{strategy}: {calls:?}");
        assert_eq!(calls[0].messages.last(), Some(&said("user", &stop)));
    }
}

#[test]
fn a_dead_run_lets_the_next_one_go_and_lines_up_again() {
    let stack = Stack::alone();
    let word = fresh("patient");
    let first = stack.ask(&json!({"prompt": format!("fails until healed {word}"), "background": true})).must(202);
    let (dead, conversation) = (text(&first, "run_id"), text(&first, "conversation_id"));
    let second = stack.ask(&json!({"prompt": fresh("next"), "conversation_id": conversation, "background": true})).must(202);
    assert_eq!(second["status"], "waiting");
    stack.wait_until(&dead, "dead");
    stack.wait_until(&text(&second, "run_id"), "completed");
    // While another run is active, the dead one waits for its turn.
    stack.heal(&word);
    let slow = json!({"prompt": fresh("slow answer"), "conversation_id": conversation, "background": true});
    let slow = text(&stack.ask(&slow).must(202), "run_id");
    let retried = stack.api.post(&format!("/v1/dlq/{dead}/retry"), &Value::Null).must(202);
    assert_eq!(retried["status"], "waiting");
    let slow = stack.wait_until(&slow, "completed");
    let revived = stack.wait_until(&dead, "completed");
    assert!(text(&slow, "ended_at") <= text(&revived, "ended_at"));
    wait_for("its dead letter to be gone", LONG, || match stack.dead_letters.find(&dead) {
        None => Ok(()),
        Some(letter) => Err(letter.body),
    });
}

#[test]
fn a_deleted_conversation_is_really_gone_with_all_that_was_said_and_done() {
    let stack = Stack::beside();
    let marker = fresh("private");
    let ask = |prompt: &str, more: Value| {
        let mut body = json!({"prompt": format!("{prompt} {marker}"), "metadata": {"customer": marker}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stack.ask(&body)
    };
    let one = ask("What time is it in Berlin?", json!({})).must(200);
    let conversation = text(&one, "conversation_id");
    let in_it = |more: Value| {
        let mut more = more;
        more["conversation_id"] = json!(conversation);
        more
    };
    let slow = ask("slow answer", in_it(json!({"background": true}))).must(202);
    let waiting = ask("next", in_it(json!({"background": true}))).must(202);
    let runs = [&one, &slow, &waiting].map(|run| text(run, "run_id"));
    stack.wait_until(&runs[1], "running");
    assert!(stack.items_with(&marker).len() > 3, "it is in the table");

    let path = format!("/v1/conversations/{conversation}");
    let deleted = stack.api.send("DELETE", &path, &[], Vec::new()).must(200);
    assert_eq!(deleted, json!({"conversation_id": conversation, "deleted": true}));
    let nothing_left = || {
        for part in [&marker, &conversation, &runs[0], &runs[1], &runs[2]] {
            assert_eq!(stack.items_with(part), Vec::<String>::new(), "{part}");
        }
    };
    nothing_left();
    assert_eq!(stack.api.get(&path).status, 404);
    assert_eq!(stack.api.send("DELETE", &path, &[], Vec::new()).status, 404);
    assert_eq!(ask("still there?", in_it(json!({}))).status, 404);
    for run in &runs {
        assert_eq!(stack.api.get(&format!("/v1/runs/{run}")).status, 404);
    }
    // The worker that was in the middle of an answer lets go of it, and leaves nothing behind either.
    let since = stack.log_position();
    std::thread::sleep(Duration::from_secs(7));
    assert!(!stack.calls(&runs[1], since).iter().any(|call| call.is_write() && call.status == 200));
    assert!(stack.model_calls(&runs[1]).is_empty(), "its call was dropped");
    nothing_left();
}
