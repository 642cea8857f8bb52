//! What operators write down while something is wrong, and copies of the table.

use std::time::Duration;

use serde_json::{Value, json};

use crate::requests::{ANA, Asked, BACKUP, Caller, OWNER, asked, get, post};
use crate::world::{Answer, World, world};

const NO_INCIDENT: &str = "inc_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H";

fn open(body: &Value) -> Asked {
    post("/v1/incidents").body(body.to_string()).from(OWNER)
}

fn update(id: &str, body: &Value) -> Asked {
    asked("PATCH", "/v1/incidents/{id}").id(id).body(body.to_string()).from(OWNER)
}

fn note(id: &str, body: &Value) -> Asked {
    post("/v1/incidents/{id}/notes").id(id).body(body.to_string()).from(OWNER)
}

fn show(id: &str) -> Asked {
    get("/v1/incidents/{id}").id(id).from(OWNER)
}

fn write(items: &Value) -> Asked {
    asked("PUT", "/v1/backup/items").body(json!({ "items": items }).to_string()).from(OWNER)
}

/// One answer of each kind.
pub(crate) async fn all() -> Vec<Answer> {
    let mut answers = incidents().await;
    answers.extend(items().await);
    answers.extend(backups().await);
    answers
}

async fn incidents() -> Vec<Answer> {
    let world = world();
    let opened = world.call(open(&json!({"title": "t", "severity": "P1"}))).await;
    let id = opened.text("/incident_id").to_owned();
    let mut answers = vec![opened];
    answers.push(world.call(open(&json!({"title": "", "severity": "P1"}))).await);
    answers.push(world.call(get("/v1/incidents").from(OWNER)).await);
    answers.push(world.call(update(&id, &json!({"status": "IDENTIFIED"}))).await);
    answers.push(world.call(update(&id, &json!({"status": "RESOLVED"}))).await);
    answers.push(world.call(update(&id, &json!({}))).await);
    answers.push(world.call(update(NO_INCIDENT, &json!({"text": "x"}))).await);
    answers.push(world.call(note(&id, &json!({"text": "x"}))).await);
    answers.push(world.call(note(NO_INCIDENT, &json!({"text": "x"}))).await);
    answers.push(world.call(show(&id)).await);
    answers.push(world.call(show(NO_INCIDENT)).await);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 400, 200, 200, 409, 400, 404, 200, 404, 200, 404]);
    answers
}

#[tokio::test]
async fn an_incident_that_is_open_but_could_not_be_taken_is_no_failure_that_makes_people_open_another() {
    let world = world();
    // Somebody else is always faster, once it is there.
    world.incidents.races.store(100, std::sync::atomic::Ordering::Relaxed);
    let opened = world.call(open(&json!({"title": "t", "severity": "P1"}))).await;
    assert_eq!((opened.status, &opened.body["acknowledge"]["at"]), (201, &json!(null)), "{}", opened.body);
    assert_eq!(world.call(get("/v1/incidents").from(OWNER)).await.body["incidents"].as_array().unwrap().len(), 1);
}

async fn items() -> Vec<Answer> {
    let world = world();
    let item = json!({"pk": {"S": "acme#run#1"}, "sk": {"S": "run"}, "state": {"S": "queued"}});
    let mut answers = vec![world.call(write(&json!([item]))).await];
    assert_eq!(answers[0].body, json!({"written": 1, "unchanged": 0, "kept": []}));
    let read = world.call(get("/v1/backup/items").from(OWNER)).await;
    assert_eq!((&read.body["items"], &read.body["next_cursor"]), (&json!([item]), &Value::Null));
    let other = json!({"pk": {"S": "acme#run#1"}, "sk": {"S": "run"}, "state": {"S": "dead"}});
    let again = world.call(write(&json!([item, other]))).await;
    assert_eq!(again.body, json!({"written": 0, "unchanged": 1, "kept": [{"pk": "acme#run#1", "sk": "run"}]}));
    answers.extend([read, again]);
    for (field, items) in [("items", json!([])), ("items[1]", json!([item, {"pk": {"S": "x"}}])), ("items[0]", json!([7]))] {
        let refused = world.call(write(&items)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{items}");
        answers.push(refused);
    }
    assert_eq!(world.table.len(), 1);
    answers
}

async fn backups() -> Vec<Answer> {
    let world = world();
    let note = |body: &str| post("/v1/backup").body(body.to_owned()).from(OWNER);
    let noted = world.call(note(BACKUP)).await;
    assert_eq!(
        (noted.status, noted.text("/at"), noted.text("/by")),
        (201, "2026-01-02T03:04:05.000Z", "arn:aws:iam::123456789012:user/ops")
    );
    world.clock.advance(Duration::from_secs(60));
    let second = world.call(note(&BACKUP.replace(": 7", ": 8"))).await;
    let listed = world.call(get("/v1/backup").query("limit", "1").from(OWNER)).await;
    assert_eq!(listed.body["backups"], json!([second.body]), "the newest first");
    let mut answers = vec![noted, second, listed];
    for (field, body) in [
        ("began_at", BACKUP.replace("2026-01-01", "2026-01-03")),
        ("sha256", BACKUP.replace("e3b0", "E3B0")),
        ("sha256", BACKUP.replace("e3b0", "e3b")),
        ("items", BACKUP.replace(": 7", ": -7")),
        ("by", BACKUP.replace("\"items\"", "\"by\": \"me\", \"items\"")),
    ] {
        let refused = world.call(note(&body)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{body}");
        answers.push(refused);
    }
    answers.push(world.call(get("/v1/backup").query("limit", "0").from(OWNER)).await);
    answers
}

#[tokio::test]
async fn an_incident_is_followed_from_its_first_minute_to_its_review() {
    let world = world();
    let body = json!({"title": "models time out", "severity": "P0", "impact": "no answers", "detected_at": "2026-01-02T03:00:00Z"});
    let opened = world.call(open(&body)).await;
    let id = opened.text("/incident_id").to_owned();
    assert_eq!((opened.text("/acknowledge/clock"), opened.text("/acknowledge/due")), ("running", "2026-01-02T03:15:00.000Z"));
    world.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(world.call(show(&id)).await.text("/acknowledge/clock"), "overdue");
    let taken = world.call(update(&id, &json!({"acknowledge": true}))).await;
    assert_eq!((taken.text("/acknowledge/clock"), taken.text("/timeline/0/kind")), ("missed", "acknowledged"));
    world.clock.advance(Duration::from_secs(11 * 60));
    let late = world.call(get("/v1/incidents").query("status", "INVESTIGATING").from(OWNER)).await;
    assert_eq!(late.body["incidents"][0]["next_update"], json!({"due": "2026-01-02T03:34:05.000Z", "is_overdue": true}));
    world.call(update(&id, &json!({"status": "MONITORING", "root_cause": "an old key", "mitigation": "a new key"}))).await;
    let early = world.call(update(&id, &json!({"status": "RESOLVED"}))).await;
    assert_eq!((early.status, early.text("/code"), early.text("/field")), (409, "not_monitored", "status"));
    assert!(early.text("/detail").contains("2026-01-02T04:05:05.000Z"), "{}", early.text("/detail"));
    world.clock.advance(Duration::from_secs(30 * 60));
    let over = world.call(update(&id, &json!({"status": "RESOLVED"}))).await;
    assert_eq!((over.text("/review_due"), &over.body["next_update"]), ("2026-01-04T04:05:05.000Z", &Value::Null));
    let shown = world.call(show(&id)).await;
    let kinds: Vec<_> = shown.body["timeline"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["opened", "acknowledged", "updated", "resolved"]);
    assert_eq!(shown.body["durations"], json!({"acknowledge_seconds": 1445, "mitigate_seconds": 2105, "resolve_seconds": 3905}));
    assert_eq!(shown.text("/timeline/3/by"), "arn:aws:iam::123456789012:user/ops");
    assert!(
        world.call(get("/v1/incidents").query("status", "MONITORING").from(OWNER)).await.body["incidents"].as_array().unwrap().is_empty()
    );
}

#[tokio::test]
async fn a_long_timeline_is_read_page_by_page() {
    let world = world();
    let opened = world.call(open(&json!({"title": "t", "severity": "P3", "acknowledge": true}))).await;
    assert_eq!((opened.text("/acknowledge/clock"), opened.body["timeline"].as_array().map(Vec::len)), ("met", Some(2)));
    let id = opened.text("/incident_id").to_owned();
    for n in 3..=205 {
        assert_eq!(world.call(note(&id, &json!({"text": format!("{n}")}))).await.body["entries"], n);
    }
    let first = world.call(show(&id)).await;
    assert_eq!((first.body["timeline"].as_array().map(Vec::len), first.text("/next_cursor")), (Some(200), "200"));
    let rest = world.call(show(&id).query("cursor", "200")).await;
    assert_eq!((rest.text("/timeline/4/text"), &rest.body["next_cursor"]), ("205", &Value::Null));
}

#[tokio::test]
async fn a_field_that_does_not_fit_is_named_and_nothing_is_written() {
    let world = world();
    let id = world.call(open(&json!({"title": "t", "severity": "P1"}))).await.text("/incident_id").to_owned();
    for (field, request) in [
        ("severity", open(&json!({"title": "t", "severity": "P4"}))),
        ("severity", open(&json!({"title": "t", "severity": {"P1": null}}))),
        ("severity", open(&json!({"title": "t"}))),
        ("title", open(&json!({"title": " ", "severity": "P1"}))),
        ("title", open(&json!({"title": "x".repeat(201), "severity": "P1"}))),
        ("detected_at", open(&json!({"title": "t", "severity": "P1", "detected_at": "2026-01-02T03:04:06Z"}))),
        ("detected_at", open(&json!({"title": "t", "severity": "P1", "detected_at": "now"}))),
        ("sev", open(&json!({"title": "t", "severity": "P1", "sev": 1}))),
        ("status", update(&id, &json!({"status": "DONE"}))),
        ("text", update(&id, &json!({"text": "x".repeat(4001)}))),
        ("next_update_minutes", update(&id, &json!({"text": "x", "next_update_minutes": 0}))),
        ("body", update(&id, &json!({"force": true, "next_update_minutes": 10}))),
        ("text", note(&id, &json!({"text": ""}))),
        ("status", get("/v1/incidents").query("status", "open").from(OWNER)),
        ("cursor", get("/v1/incidents").query("cursor", "1").from(OWNER)),
        ("cursor", show(&id).query("cursor", "x")),
        ("segments", get("/v1/backup/items").query("segments", "65").from(OWNER)),
        ("segment", get("/v1/backup/items").query("segments", "4").query("segment", "4").from(OWNER)),
        ("cursor", get("/v1/backup/items").query("cursor", "zz").from(OWNER)),
        ("limit", get("/v1/backup/items").query("limit", "7").from(OWNER)),
        ("body", asked("PUT", "/v1/backup/items").body("[]").from(OWNER)),
    ] {
        let refused = world.call(request).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "{}", refused.text("/detail"));
    }
    assert_eq!((world.call(show(&id)).await.body["entries"].clone(), world.table.len()), (json!(1), 0));
}

#[tokio::test]
async fn a_cursor_of_another_segment_is_refused() {
    let world = world();
    let items: Vec<Value> = (0..40).map(|n| json!({"pk": {"S": format!("acme#run#{n}")}, "sk": {"S": "run"}})).collect();
    world.call(write(&json!(items))).await;
    let page = |segment: &str| get("/v1/backup/items").query("segments", "2").query("segment", segment).from(OWNER);
    let first = world.call(page("0")).await;
    let cursor = first.text("/next_cursor");
    assert_eq!(world.call(page("0").query("cursor", cursor)).await.status, 200);
    let refused = world.call(page("1").query("cursor", cursor)).await;
    assert_eq!((refused.status, refused.text("/field")), (400, "cursor"));
}

#[tokio::test]
async fn only_the_account_that_owns_the_api_writes_incidents_and_copies_the_table() {
    let world: World = world();
    let item = json!([{"pk": {"S": "acme#run#1"}, "sk": {"S": "run"}}]);
    for caller in [ANA, Caller::Signed("999999999999", "arn:aws:iam::999999999999:user/else")] {
        for request in [
            open(&json!({"title": "t", "severity": "P1"})),
            get("/v1/incidents"),
            show(NO_INCIDENT),
            update(NO_INCIDENT, &json!({"text": "x"})),
            note(NO_INCIDENT, &json!({"text": "x"})),
            get("/v1/backup/items"),
            write(&item),
            get("/v1/backup"),
            post("/v1/backup").body(BACKUP.to_owned()),
        ] {
            assert_eq!(world.call(request.from(caller)).await.status, 403);
        }
    }
    assert_eq!(world.table.len(), 0);
    assert!(world.call(get("/v1/incidents").from(OWNER)).await.body["incidents"].as_array().unwrap().is_empty());
}
