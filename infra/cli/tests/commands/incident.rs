//! `reprise incident` and `reprise backup` as users call them, against a made-up API.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Stub, command};

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reprise-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// The files of an archive, as `tar` finds them.
fn files(archive: &std::path::Path) -> Vec<(String, String)> {
    let file = std::fs::File::open(archive).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let read = |mut entry: tar::Entry<'_, flate2::read::GzDecoder<std::fs::File>>| {
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), text)
    };
    tar.entries().unwrap().map(|entry| read(entry.unwrap())).collect()
}

/// By value: which order the fields have depends on what else is built with the command.
fn value(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

const OPENED: &str = r#"{"incident_id":"inc_1","title":"t","severity":"P1","status":"IDENTIFIED","impact":"late answers","root_cause":"an old key",
"mitigation":null,"detected_at":"2026-11-22T02:00:00.000Z","acknowledge":{"due":"2026-11-22T03:00:00.000Z","clock":"met","at":"2026-11-22T02:01:00.000Z","by":"ana"},
"next_update":{"due":"2026-11-22T02:40:00.000Z","is_overdue":false},"monitor_until":null,"resolved_at":null,"review_due":null,
"durations":{"acknowledge_seconds":60,"mitigate_seconds":null,"resolve_seconds":null},"entries":1,"timeline":[],"next_cursor":null}"#;

#[test]
fn an_update_sends_what_is_said_and_prints_what_to_send_to_others() {
    let stub = Stub::of(&[("PATCH /v1/incidents/inc_1", 200, OPENED)]);
    let said = stub.reprise(&[
        "incident",
        "update",
        "inc_1",
        "found it",
        "--status",
        "IDENTIFIED",
        "--root-cause",
        "an old key",
        "--next-update",
        "10",
    ]);
    assert!(said.status.success());
    let printed = String::from_utf8_lossy(&said.stdout).into_owned();
    for line in [
        "## Incident Update - 20",
        "**Status**: IDENTIFIED",
        "**Impact**: late answers",
        "**Mitigation**: none yet",
        "**Next Update**: 2026-11-22T02:40:00.000Z",
    ] {
        assert!(printed.contains(line), "{line} is missing in\n{printed}");
    }
    let body = stub.body("PATCH /v1/incidents/inc_1");
    assert_eq!(body, json!({"text": "found it", "status": "IDENTIFIED", "root_cause": "an old key", "next_update_minutes": 10}));
}

#[test]
fn a_debug_bundle_is_made_of_a_deployment_that_hardly_answers_and_holds_no_secret() {
    // In every place: fields by name, keys by their looks, addresses, log lines, values that the environment knows.
    let hidden = ["hunter2hunter2", "sk-proj-hunter3hunter3", "correct-horse-battery"];
    let stub = Stub::answering(move |request| {
        let leaks = json!({
            "status": "unhealthy", "api_key": hidden[0], "nested": [{"Authorization": format!("Bearer {}", hidden[0])}],
            "message": format!("the provider said: {} is no key; password={}", hidden[1], hidden[0]),
            "url": format!("https://ana:{}@db.example/x?token={}", hidden[0], hidden[0]), "plain": format!("it is {} here", hidden[2]),
            "body_preview": hidden[0], "log": json!({"level": "ERROR", "secret": hidden[0]}).to_string(), hidden[1]: "as a name",
        });
        match request.line.as_str() {
            "GET /v1/incidents/inc_1" => (200, OPENED.replace("late answers", hidden[2])),
            "GET /health" | "GET /v1/dlq?limit=20" | "GET /v1/providers" => (200, leaks.to_string()),
            "GET /api/production/ready" => (503, leaks.to_string()),
            _ => (500, format!("Bearer {}", hidden[0])),
        }
    });
    let folder = Folder::new("bundle");
    let archive = folder.0.join("b.tar.gz");
    let out = archive.to_string_lossy();
    let mut call = command(&["incident", "bundle", "inc_1", "--out", &out, "--stack", "none-such", "--url", &stub.url]);
    let said = call.env("OPENAI_API_KEY", hidden[2]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let files = files(&archive);
    for name in [
        "incident.json",
        "versions.json",
        "settings.json",
        "health/ready.json",
        "dead_letters/sample.json",
        "runs/dead.json",
        "manifest.json",
    ] {
        assert!(files.iter().any(|(file, _)| file == name), "{name} is missing");
    }
    for (file, text) in &files {
        for secret in hidden {
            assert!(!text.contains(secret), "{secret} is in {file}:\n{text}");
        }
    }
    let ready = files.iter().find(|(file, _)| file == "health/ready.json").unwrap();
    assert!(
        ready.1.contains("503") && ready.1.contains("unhealthy") && ready.1.contains("[redacted]"),
        "what is no secret is there:\n{}",
        ready.1
    );
}

#[test]
fn a_bundle_of_a_deployment_elsewhere_has_its_version_and_what_its_runs_failed_of_and_says_where_the_rest_is() {
    let failure = |code: &str| json!({"code": code, "message": "m", "at": "2026-11-22T02:00:00.000Z", "attempt": 1});
    let failed = |id: &str| json!({"run_id": id, "status": "failed", "error": failure("answer_refused")});
    let mut whole = failed("run_2");
    whole["failures"] = json!([failure("provider_timeout"), failure("answer_refused")]);
    whole["prompt"] = "between you and me".into();
    let dead = json!({"run_id": "run_1", "error": failure("provider_timeout"), "failures": [failure("provider_unavailable"), failure("provider_timeout")]});
    let stub = Stub::of(&[
        ("GET /api/production/health", 503, r#"{"status":"unhealthy","version":"7.8.9","environment":"reprise-live"}"#),
        ("GET /v1/agents", 200, r#"{"bundle":"5eal","agents":[]}"#),
        ("GET /v1/dlq?limit=20", 200, &json!({"count": 1, "entries": [dead]}).to_string()),
        ("GET /v1/runs?status=failed&limit=20", 200, &json!({"runs": [failed("run_2"), failed("run_3")], "next_cursor": null}).to_string()),
        ("GET /v1/runs/run_2", 200, &whole.to_string()),
    ]);
    let folder = Folder::new("bundle-elsewhere");
    let archive = folder.0.join("b.tar.gz");
    let said = stub.reprise(&["incident", "bundle", "--out", &archive.to_string_lossy(), "--stack", "none-such"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let files = files(&archive);
    let of = |name: &str| files.iter().find(|(file, _)| file == name).map_or_else(|| panic!("there is no {name}"), |(_, text)| value(text));

    let versions = of("versions.json");
    assert_eq!(versions["deployed"], json!({"version": "7.8.9", "stack": "reprise-live", "agents": "5eal"}));
    assert_eq!(versions["command"], json!({"version": env!("CARGO_PKG_VERSION")}), "it is another one");
    // Of a run that does not answer for itself there is what the list has.
    let errors = of("errors/runs.json");
    let codes = |run: &serde_json::Value| -> Vec<String> {
        let failures = run["failures"].as_array().cloned().unwrap_or_else(|| vec![run["error"].clone()]);
        failures.iter().map(|failure| failure["code"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(codes(&errors["dead"][0]), ["provider_unavailable", "provider_timeout"]);
    assert_eq!(
        errors["failed"].as_array().map(|runs| runs.iter().map(codes).collect::<Vec<_>>()).unwrap_or_default(),
        [vec!["provider_timeout", "answer_refused"], vec!["answer_refused"]]
    );
    assert!(files.iter().all(|(_, text)| !text.contains("between you and me")), "what was asked stays where it is");
    // What the API does not tell, and how to come by it.
    let notes = of("manifest.json")["notes"].to_string();
    let printed = String::from_utf8_lossy(&said.stdout).into_owned();
    for command in ["aws cloudformation describe-stacks", "aws logs filter-log-events"] {
        assert!(notes.contains(command) && printed.contains(command), "{command} is missing in {notes} or\n{printed}");
        assert!(of("settings.json")["notes"].to_string().contains(command));
    }
    assert!(of("settings.json")["functions"].is_null());
}

#[test]
fn where_nothing_answers_there_is_a_bundle_all_the_same_also_of_an_incident() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = Folder::new("bundle-down");
    let archive = folder.0.join("b.tar.gz");
    let (out, url) = (archive.to_string_lossy(), format!("http://{free}"));
    let said = command(&["incident", "bundle", "inc_1", "--out", &out, "--stack", "none-such", "--url", &url]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let files = files(&archive);
    for name in ["incident.json", "health/live.json", "agents.json"] {
        let (_, text) = files.iter().find(|(file, _)| file == name).unwrap();
        assert!(text.contains("no answer from"), "{name} says why it is empty: {text}");
    }
}

#[test]
fn a_review_is_written_once() {
    let stub = Stub::of(&[("GET /v1/incidents/inc_1", 200, OPENED)]);
    let folder = Folder::new("review");
    let file = folder.0.join("review.md");
    let call = ["incident", "review", "inc_1", "--out", &file.to_string_lossy()];
    assert!(stub.reprise(&call).status.success());
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# Review of inc_1") && written.contains("## Action items"));
    assert_eq!(stub.reprise(&call).status.code(), Some(2), "what somebody has filled in is not written over");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn a_backup_goes_through_the_api_and_a_damaged_one_asks_it_nothing() {
    let item = r#"{"pk":{"S":"acme#mark#m"},"sk":{"S":"mark"},"count":{"N":"1"}}"#;
    let page = format!(r#"{{"table":"t","segment":0,"segments":1,"items":[{item}],"next_cursor":null}}"#);
    let first_page = "GET /v1/backup/items?segment=0&segments=1";
    // A connection that breaks once and a deployment that is down for a moment do not end a backup of hours.
    let source = Stub::of(&[(first_page, 0, ""), (first_page, 503, "{}"), (first_page, 200, &page), ("POST /v1/backup", 201, "{}")]);
    let folder = Folder::new("backup");
    let archive = folder.0.join("b.tar.gz");
    let path = archive.to_string_lossy();
    let made = source.reprise(&["backup", "create", "--segments", "1", "--out", &path]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let kept = files(&archive).into_iter().find(|(name, _)| name == "items/000000.jsonl").map(|(_, text)| text).unwrap_or_default();
    assert_eq!(value(kept.trim()), value(item));
    let noted = source.body("POST /v1/backup");
    assert_eq!((&noted["items"], noted["sha256"].as_str().map(str::len)), (&1.into(), Some(64)), "{noted}");
    // Whoever may read and not note has a backup all the same, and hears of it.
    let deaf = Stub::of(&[(first_page, 200, &page), ("POST /v1/backup", 403, "{}")]);
    let unnoted = deaf.reprise(&["backup", "create", "--segments", "1", "--out", &folder.0.join("c.tar.gz").to_string_lossy()]);
    assert!(unnoted.status.success() && String::from_utf8_lossy(&unnoted.stderr).contains("was not told of it"), "{unnoted:?}");
    let empty = r#"{"table":"t","segment":0,"segments":1,"items":[],"next_cursor":null}"#;
    let answers = [
        ("GET /v1/backup/items?segment=0&segments=1", 200, empty),
        ("PUT /v1/backup/items", 200, r#"{"written":1,"unchanged":0,"kept":[]}"#),
    ];
    let target = Stub::of(&answers);
    let restored = target.reprise(&["backup", "restore", &path, "--yes", "--format", "json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&restored.stdout).unwrap()["written"], 1);
    let sent = target.body("PUT /v1/backup/items");
    assert_eq!(sent["items"][0], value(item));
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let untouched = Stub::of(&answers);
    assert_eq!(untouched.reprise(&["backup", "restore", &path, "--yes"]).status.code(), Some(1));
    assert_eq!(source.reprise(&["backup", "verify", &path]).status.code(), Some(1));
    assert!(untouched.lines().is_empty());
}

#[test]
fn a_list_of_backups_tells_the_whole_ones_from_the_damaged_and_leaves_out_what_is_none() {
    let item = r#"{"pk":{"S":"acme#mark#m"},"sk":{"S":"mark"},"count":{"N":"1"}}"#;
    let page = format!(r#"{{"table":"prod-table","segment":0,"segments":1,"items":[{item}],"next_cursor":null}}"#);
    let stub = Stub::of(&[("GET /v1/backup/items?segment=0&segments=1", 200, &page), ("POST /v1/backup", 201, "{}")]);
    let folder = Folder::new("backups");
    let path = |name: &str| folder.0.join(name).to_string_lossy().into_owned();
    for name in ["a-good.tar.gz", "b-damaged.tar.gz"] {
        assert!(stub.reprise(&["backup", "create", "--segments", "1", "--out", &path(name)]).status.success());
    }
    let mut bytes = std::fs::read(path("b-damaged.tar.gz")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path("b-damaged.tar.gz"), bytes).unwrap();
    // Somebody else's archive, one of ours that is no backup, and a file that is no archive.
    let foreign = flate2::write::GzEncoder::new(std::fs::File::create(path("c-foreign.tar.gz")).unwrap(), flate2::Compression::fast());
    tar::Builder::new(foreign).into_inner().unwrap().finish().unwrap();
    assert!(stub.reprise(&["incident", "bundle", "--stack", "none-such", "--out", &path("d-bundle.tar.gz")]).status.success());
    std::fs::write(path("e-notes.txt"), "nothing").unwrap();

    let asked = stub.lines().len();
    let listed = |format: &str| command(&["backup", "list", "--dir", &folder.0.to_string_lossy(), "--format", format]).output().unwrap();
    let said = listed("json");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let found = value(&String::from_utf8_lossy(&said.stdout));
    let backups = found["backups"].as_array().unwrap();
    let names: Vec<&str> = backups.iter().map(|backup| backup["file"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a-good.tar.gz", "b-damaged.tar.gz", "c-foreign.tar.gz"]);
    assert_eq!((&backups[0]["items"], &backups[0]["table"], backups[0].get("problem")), (&1.into(), &"prod-table".into(), None));
    for unusable in &backups[1..] {
        assert_eq!((unusable["problem"].as_str(), unusable.get("items")), (Some("damaged, or no archive of reprise"), None));
    }
    let nowhere = command(&["backup", "list", "--dir", "/no/such/folder"]).output().unwrap();
    let said = String::from_utf8_lossy(&nowhere.stderr);
    assert!(nowhere.status.code() == Some(2) && said.contains("--dir FOLDER"), "{said}");
    let table = String::from_utf8_lossy(&listed("table").stdout).into_owned();
    assert!(table.contains("prod-table") && table.matches("damaged, or no archive of reprise").count() == 2, "{table}");
    assert_eq!(stub.lines().len(), asked, "no deployment is asked");
}
