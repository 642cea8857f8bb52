//! Lists of runs: filters, and a walk by cursor.

use std::collections::HashSet;

use serde_json::{Value, json};
use tests::client::{list, text};
use tests::{Stack, fresh};

/// All runs that `filter` (a query) shows, page by page.
fn walk(stack: &Stack, filter: &str, limit: usize) -> Vec<Value> {
    let (mut runs, mut cursor) = (Vec::new(), String::new());
    for _ in 0..500 {
        let page = stack.api.get(&format!("/v1/runs?limit={limit}{filter}{cursor}")).must(200);
        assert!(list(&page, "runs").len() <= limit);
        runs.extend_from_slice(list(&page, "runs"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return runs,
        }
    }
    panic!("a walk without an end: {} runs", runs.len());
}

fn ids(runs: &[Value]) -> Vec<String> {
    runs.iter().map(|run| text(run, "run_id")).collect()
}

#[test]
fn a_walk_by_cursor_has_neither_gap_nor_repetition() {
    let stack = Stack::beside();
    let mine: Vec<Value> = (0..7).map(|_| stack.ask(&json!({"prompt": fresh("What can you do?")})).must(200)).collect();
    let since = text(&mine[0], "created_at");
    for limit in [1, 3, 100] {
        let seen = ids(&walk(&stack, &format!("&since={since}"), limit));
        assert!(seen.is_sorted_by(|a, b| a > b), "newest first, each once");
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
        for run in ids(&mine) {
            assert!(seen.contains(&run), "{run} is missing with limit {limit}");
        }
    }
}

#[test]
fn a_list_shows_what_its_filters_say() {
    let stack = Stack::beside();
    let [early, middle, late] = [(); 3].map(|()| stack.ask(&json!({"prompt": fresh("What can you do?")})).must(200));
    let (since, until) = (text(&middle, "created_at"), text(&late, "created_at"));

    let seen = ids(&walk(&stack, &format!("&since={since}&until={until}"), 100));
    assert!(seen.contains(&text(&middle, "run_id")), "since is inclusive");
    assert!(!seen.contains(&text(&late, "run_id")), "until is exclusive");
    assert!(!seen.contains(&text(&early, "run_id")));

    let completed = walk(&stack, &format!("&status=completed&agent=assistant&since={since}"), 100);
    assert!(completed.iter().all(|run| run["status"] == "completed" && run["agent"] == "assistant"));
    assert!(ids(&completed).contains(&text(&late, "run_id")));
    assert!(walk(&stack, &format!("&agent={}", fresh("nobody")), 100).is_empty());
    assert!(!ids(&walk(&stack, &format!("&status=queued&since={since}"), 100)).contains(&text(&late, "run_id")));
}

#[test]
fn a_cancelled_and_a_running_run_are_found_by_their_state() {
    let stack = Stack::beside();
    let run = stack.start(&fresh("slow answer"));
    stack.wait_until(&run, "running");
    assert!(ids(&walk(&stack, "&status=running", 100)).contains(&run));
    stack.api.post(&format!("/v1/runs/{run}/cancel"), &Value::Null).must(200);
    assert!(ids(&walk(&stack, "&status=cancelled", 100)).contains(&run));
    assert!(!ids(&walk(&stack, "&status=running", 100)).contains(&run));
}

#[test]
fn a_list_leaves_out_what_people_said() {
    let stack = Stack::beside();
    let prompt = fresh("private");
    let run = text(&stack.ask(&json!({"prompt": prompt})).must(200), "run_id");
    let answer = stack.api.get("/v1/runs?limit=100");
    assert!(answer.body.contains(&run) && !answer.body.contains(&prompt));
}
