use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::super::create;
use super::super::table::Page;
use super::*;
use crate::config::Env;

/// A table in memory that remembers the order of what was written.
#[derive(Default)]
struct Memory {
    items: Mutex<BTreeMap<(String, String), Item>>,
    order: Mutex<Vec<String>>,
    /// Writes that are left before it fails.
    breaks_after: Mutex<Option<u32>>,
}

impl Memory {
    fn of(items: &[Value]) -> Self {
        let table = Self::default();
        for item in items {
            table.put(item.clone());
        }
        table
    }

    fn put(&self, item: Value) {
        let Value::Object(item) = item else { panic!("an item is an object") };
        let (pk, sk) = key(&item).map(|(pk, sk)| (pk.to_owned(), sk.to_owned())).unwrap();
        self.items.lock().unwrap().insert((pk, sk), item);
    }

    fn get(&self, pk: &str, sk: &str) -> Option<Item> {
        self.items.lock().unwrap().get(&(pk.to_owned(), sk.to_owned())).cloned()
    }

    fn all(&self) -> BTreeMap<(String, String), Item> {
        self.items.lock().unwrap().clone()
    }
}

impl Table for Memory {
    fn page(&self, segment: u32, of: u32, cursor: Option<&str>) -> Result<Page> {
        let start: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let items = self.items.lock().unwrap();
        let of_segment = items.iter().filter(|((pk, _), _)| pk.bytes().map(u32::from).sum::<u32>() % of == segment);
        let all: Vec<Item> = of_segment.map(|(_, item)| item.clone()).collect();
        let end = (start + 3).min(all.len());
        Ok(Page { table: "memory".into(), items: all[start..end].to_vec(), next: (end < all.len()).then(|| end.to_string()) })
    }

    fn write(&self, items: &[Item]) -> Result<Written> {
        let mut written = Written::default();
        for item in items {
            if let Some(left) = self.breaks_after.lock().unwrap().as_mut() {
                *left = left.checked_sub(1).ok_or_else(|| Error::new("the connection broke"))?;
            }
            let (pk, sk) = key(item).map(|(pk, sk)| (pk.to_owned(), sk.to_owned())).unwrap();
            let there = self.items.lock().unwrap().get(&(pk.clone(), sk.clone())).cloned();
            match there {
                Some(there) if there == *item => written.unchanged += 1,
                Some(_) => written.kept.push(json!({"pk": pk, "sk": sk})),
                None => {
                    self.order.lock().unwrap().push(kind(&pk, &sk).to_owned());
                    self.put(Value::Object(item.clone()));
                    written.written += 1;
                }
            }
        }
        Ok(written)
    }
}

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reprise-restore-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn archive(&self, table: &Memory) -> PathBuf {
        let path = self.0.join("backup.tar.gz");
        create::execute(table, &path, 2, screen()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn screen() -> Screen {
    Screen::of(&Env::of(&[]))
}

fn item(pk: &str, sk: &str, more: Value) -> Value {
    let mut item = json!({"pk": {"S": pk}, "sk": {"S": sk}});
    item.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    item
}

fn a_run(id: &str, state: &str, steps: u32) -> Value {
    let mut due = json!({"state": {"S": state}, "steps": {"N": steps.to_string()}, "gsi3pk": {"S": "due#1"}, "gsi3sk": {"S": id}});
    due["gsi2pk"] = json!({"S": format!("acme#{state}#3")});
    due["transitions"] = json!({"L": []});
    item(&format!("acme#run#{id}"), "run", due)
}

fn a_step(run: &str, index: u32) -> Value {
    item(&format!("acme#run#{run}"), &format!("step#{index:06}"), json!({"body": {"S": "{}"}}))
}

/// A conversation with a run that has ended, and what says only how things are now.
fn quiet() -> Vec<Value> {
    vec![
        a_run("1", "completed", 1),
        a_step("1", 1),
        item("acme#event#e", "event", json!({"body": {"S": "{\"payload\":\"ü\"}"}})),
        item("acme#conv#c", "conv", json!({"version": {"N": "2"}})),
        item("acme#conv#c", "turn#1", json!({"messages": {"S": "[]"}})),
        item("#incidents", "inc_1", json!({"body": {"S": "{}"}})),
        item("#heartbeat", "sweeper", json!({"at": {"N": "1"}})),
        item("#metrics", "sweeper#2", json!({"sweeper_ticks_total": {"N": "7"}})),
        item("acme#run#1", "delta#000001#1#000001", json!({"text": {"S": "so f"}})),
        item("acme#key#k", "key", json!({"expires_at": {"N": "1"}})),
        item("acme#novel#n", "x", json!({"body": {"S": "{}"}})),
    ]
}

fn wanted(file: &Path, unfinished: Option<Unfinished>) -> RestoreBackup {
    RestoreBackup { file: file.to_path_buf(), yes: true, into_non_empty: false, unfinished }
}

#[test]
fn what_comes_back_is_what_was_and_a_reader_sees_nothing_by_halves() {
    let (source, target, folder) = (Memory::of(&quiet()), Memory::default(), Folder::new("round"));
    let done = execute(&target, &wanted(&folder.archive(&source), None), screen()).unwrap();
    assert_eq!((&done["written"], &done["expired"], &done["kept"]), (&json!(7), &json!(1), &json!(0)), "{done}");
    let mut expected = source.all();
    expected.retain(|(pk, sk), _| pk != "#heartbeat" && pk != "#metrics" && !sk.starts_with("delta#") && sk != "key");
    assert_eq!(target.all(), expected);
    let order = target.order.lock().unwrap().clone();
    assert_eq!(order[4..], ["conversation", "run", "other"], "{order:?}");
}

#[test]
fn a_table_that_holds_something_is_left_alone_unless_it_is_said_and_then_it_wins() {
    let (source, folder) = (Memory::of(&quiet()), Folder::new("full"));
    let file = folder.archive(&source);
    let newer = item("acme#conv#c", "conv", json!({"version": {"N": "9"}}));
    let target = Memory::of(std::slice::from_ref(&newer));
    let error = execute(&target, &wanted(&file, None), screen()).unwrap_err().render();
    assert!(error.contains("not empty") && target.all().len() == 1, "{error}");
    let done = execute(&target, &RestoreBackup { into_non_empty: true, ..wanted(&file, None) }, screen()).unwrap();
    assert_eq!((&done["written"], &done["kept_keys"]), (&json!(6), &json!([{"pk": "acme#conv#c", "sk": "conv"}])));
    assert_eq!(Some(target.get("acme#conv#c", "conv").unwrap()), newer.as_object().cloned());
    // What every table has is nothing.
    let system = Memory::of(&[item("#heartbeat", "worker", json!({})), item("#providers", "pin", json!({}))]);
    assert!(execute(&system, &wanted(&file, None), screen()).is_ok());
}

#[test]
fn an_interrupted_restore_is_gone_on_with_and_ends_the_same() {
    let (source, target, folder) = (Memory::of(&quiet()), Memory::default(), Folder::new("cut"));
    let file = folder.archive(&source);
    for cut in 0..7 {
        *target.breaks_after.lock().unwrap() = Some(cut);
        let again = RestoreBackup { into_non_empty: true, ..wanted(&file, None) };
        let error = execute(&target, &again, screen()).unwrap_err().render();
        assert!(error.contains("--into-non-empty goes on"), "{error}");
    }
    *target.breaks_after.lock().unwrap() = None;
    let done = execute(&target, &RestoreBackup { into_non_empty: true, ..wanted(&file, None) }, screen()).unwrap();
    assert_eq!((&done["kept"], target.all().len()), (&json!(0), 7));
}

#[test]
fn a_damaged_archive_writes_nothing() {
    let (source, target, folder) = (Memory::of(&quiet()), Memory::default(), Folder::new("flip"));
    let file = folder.archive(&source);
    let whole = std::fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, bytes).unwrap();
        let error = execute(&target, &wanted(&file, None), screen()).unwrap_err().render();
        assert!(error.contains("damaged"), "byte {at}: {error}");
    }
    assert!(target.all().is_empty());
}

#[test]
fn an_archive_with_good_sums_and_a_bad_item_is_refused_too() {
    let folder = Folder::new("bad");
    let good = item("acme#mark#1", "mark", json!({"count": {"N": "1"}}));
    for bad in [
        good.clone(),
        json!({"pk": {"S": "acme#run#1"}}),
        item("acme#run#1", "run", json!({})),
        item("acme#event#1", "event", json!({"body": {"S": "{"}})),
        item("acme#mark#1", "mark", json!({"count": 1})),
        item("acme#mark#1", "mark", json!({"count": {"B": "eA=="}})),
        json!(7),
    ] {
        let path = folder.0.join("bad.tar.gz");
        let _gone = std::fs::remove_file(&path);
        let mut writer = archive::Writer::create(&path).unwrap();
        writer.add("items/000000.jsonl", format!("{bad}\n").as_bytes()).unwrap();
        let parts = writer.parts().to_vec();
        let manifest = json!({"format": "reprise-backup", "version": 1, "items": 1, "kinds": {"mark": 1}, "unfinished": {}, "parts": parts, "sha256": archive::sum_of(&parts)});
        writer.finish(&manifest).unwrap();
        let target = Memory::default();
        let done = execute(&target, &wanted(&path, None), screen());
        if bad == good {
            assert_eq!(done.unwrap()["written"], 1, "all else about these archives is right");
            continue;
        }
        let error = done.unwrap_err().render();
        assert!(error.contains("items/000000.jsonl line 1"), "{bad}: {error}");
        assert!(target.all().is_empty());
    }
}

#[test]
fn runs_that_had_not_ended_go_on_or_lie_still_but_only_if_it_is_said() {
    let job = [item("#jobs", "acme#job_1", json!({})), item("acme#jobs", "job_1", json!({"body": {"S": "{}"}}))];
    let runs = [a_run("1", "completed", 1), a_run("2", "running", 2), a_run("3", "queued", 0), a_run("4", "waiting", 1)];
    let going = [runs.as_slice(), &job].concat();
    let (source, folder) = (Memory::of(&going), Folder::new("going"));
    let file = folder.archive(&source);
    let target = Memory::default();
    let error = execute(&target, &wanted(&file, None), screen()).unwrap_err().render();
    assert!(error.contains("1 bulk action, 1 queued, 1 running, 1 waiting") && error.contains("--unfinished resume"), "{error}");
    assert!(target.all().is_empty());
    for (choice, is_due) in [(Unfinished::Resume, true), (Unfinished::Hold, false)] {
        let target = Memory::default();
        let done = execute(&target, &wanted(&file, Some(choice)), screen()).unwrap();
        let (resumed, held) = if is_due { (4, 0) } else { (0, 4) };
        assert_eq!((&done["resumed"], &done["held"]), (&json!(resumed), &json!(held)));
        for id in ["2", "3", "4"] {
            let run = target.get(&format!("acme#run#{id}"), "run").unwrap();
            assert_eq!(
                (run.contains_key("gsi3pk"), &run["abandoned"]),
                (is_due, &json!({"BOOL": true})),
                "{id}: a call may have happened since"
            );
        }
        assert!(!target.get("acme#run#1", "run").unwrap().contains_key("abandoned"));
        let (open, record) = (target.get("#jobs", "acme#job_1"), target.get("acme#jobs", "job_1"));
        assert_eq!((open.is_some(), record.is_some()), (is_due, true), "a bulk action stays on record, and goes on only if it is said");
    }
}

#[test]
fn a_record_that_was_read_before_its_newest_steps_counts_them_again() {
    // Two more steps were written while the backup was made, and one of which the journal's middle is missing.
    let items = [
        a_run("2", "running", 1),
        a_step("2", 1),
        a_step("2", 2),
        a_step("2", 3),
        a_run("5", "running", 1),
        a_step("5", 1),
        a_step("5", 3),
    ];
    let (source, target, folder) = (Memory::of(&items), Memory::default(), Folder::new("mend"));
    source.put(item("acme#run#2", "step#000003#01", json!({"body": {"S": "rest"}})));
    let done = execute(&target, &wanted(&folder.archive(&source), Some(Unfinished::Resume)), screen()).unwrap();
    assert_eq!(done["mended"], 1);
    assert_eq!(target.get("acme#run#2", "run").unwrap()["steps"], json!({"N": "3"}));
    assert_eq!(target.get("acme#run#5", "run").unwrap()["steps"], json!({"N": "1"}), "a gap is not jumped");
}

#[test]
fn without_a_word_from_anybody_nothing_is_written() {
    let (source, target, folder) = (Memory::of(&quiet()), Memory::default(), Folder::new("ask"));
    let error = execute(&target, &RestoreBackup { yes: false, ..wanted(&folder.archive(&source), None) }, screen()).unwrap_err().render();
    assert!(error.contains("--yes") && target.all().is_empty(), "{error}");
}

#[test]
fn a_held_run_that_was_running_can_be_put_back_and_a_held_bulk_action_is_at_its_end() {
    let job = |status: &str| {
        let counts = json!({"selected": 9, "done": 2, "skipped": 1, "failed": 0});
        json!({"id": "job_1", "status": status, "counts": counts, "batch": [{"key": "a"}], "cursor": "c", "leased_until": "t"})
    };
    let record = |id: &str, status: &str| item("acme#jobs", id, json!({"body": {"S": job(status).to_string()}, "version": {"N": "4"}}));
    let mut running = a_run("2", "running", 1);
    running["lease_owner"] = json!({"S": "queue-consumer/1"});
    running["lease_until_ms"] = json!({"N": "1767323045678"});
    let items = [
        running,
        a_run("3", "waiting", 0),
        item("#jobs", "acme#job_1", json!({})),
        record("job_1", "running"),
        record("job_2", "completed"),
    ];
    let (source, target, folder) = (Memory::of(&items), Memory::default(), Folder::new("held"));
    let file = folder.archive(&source);
    execute(&target, &wanted(&file, Some(Unfinished::Hold)), screen()).unwrap();
    let run = target.get("acme#run#2", "run").unwrap();
    assert_eq!((&run["state"], &run["gsi2pk"]), (&json!({"S": "queued"}), &json!({"S": "acme#queued#3"})), "a retry sends what is queued");
    assert_eq!((&run["lease_until_ms"], run.get("lease_owner")), (&json!({"N": "0"}), None));
    assert_eq!(run["transitions"]["L"][0]["M"]["reason"], json!({"S": "held"}), "its history says why");
    assert_eq!(target.get("acme#run#3", "run").unwrap()["state"], json!({"S": "waiting"}), "it can be answered");
    let body = |id: &str| serde_json::from_str::<Value>(target.get("acme#jobs", id).unwrap()["body"]["S"].as_str().unwrap()).unwrap();
    let held = body("job_1");
    assert_eq!((&held["status"], &held["batch"], held.get("leased_until")), (&json!("stopped"), &json!([]), None));
    assert_eq!(held["counts"], json!({"selected": 4, "done": 2, "skipped": 1, "failed": 1}), "of what it had begun nobody knows");
    assert_eq!(body("job_2"), job("completed"));
    let again = RestoreBackup { into_non_empty: true, ..wanted(&file, Some(Unfinished::Hold)) };
    assert_eq!(execute(&target, &again, screen()).unwrap()["kept"], 0, "started again, it finds what it would write");
}
