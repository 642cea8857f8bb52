//! Runs of one conversation know what was said before, and take turns.

use serde_json::{Value, json};
use tests::client::{list, text};
use tests::{Stack, fresh};

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
fn a_conversation_takes_one_run_at_a_time() {
    let stack = Stack::beside();
    let accepted = stack.ask(&json!({"prompt": fresh("slow answer"), "background": true})).must(202);
    let (run, conversation) = (text(&accepted, "run_id"), text(&accepted, "conversation_id"));
    let second = json!({"prompt": fresh("me too"), "conversation_id": conversation});
    let refused = stack.ask(&second);
    assert_eq!(refused.refused(409, Some("conversation_id"))["code"], "conversation_busy");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{:?}", refused.headers);
    let shown = stack.api.get(&format!("/v1/conversations/{conversation}")).must(200);
    assert_eq!(text(&shown, "active_run"), run);

    stack.wait_until(&run, "completed");
    stack.ask(&second).must(200);
}
