//! What the items of a table are, as far as a backup has to know: by their keys alone (`shared/src/aws/items.rs` has the list).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::table::Item;

/// Kinds of values that DynamoDB has and we store.
const VALUES: [&str; 8] = ["S", "N", "BOOL", "NULL", "L", "M", "SS", "NS"];
/// States of runs that have not ended.
const UNFINISHED: [&str; 3] = ["queued", "running", "waiting"];

/// The two parts of a key; none if it has none.
pub(super) fn key(item: &Item) -> Option<(&str, &str)> {
    let part = |name: &str| item.get(name)?.get("S")?.as_str().filter(|text| !text.is_empty());
    Some((part("pk")?, part("sk")?))
}

/// What an item is. Kinds that this version does not know are copied all the same.
pub(super) fn kind(pk: &str, sk: &str) -> &'static str {
    let is_of = |name: &str| pk.split('#').nth(1) == Some(name);
    match sk.split('#').next().unwrap_or_default() {
        "run" if is_of("run") => "run",
        "step" if is_of("run") => "step",
        "delta" if is_of("run") => "delta",
        "archive" if is_of("run") => "archive",
        "input" if is_of("run") => "input",
        "event" if is_of("event") => "event",
        "conv" if is_of("conv") => "conversation",
        "turn" if is_of("conv") => "turn",
        "key" if is_of("key") => "key",
        "mark" if is_of("mark") => "mark",
        _ if is_of("spend") => "spend",
        "breaker" if pk == "#providers" => "breaker",
        _ if pk == "#providers" => "word",
        _ if pk.starts_with("#failures#") => "failures",
        _ if pk == "#heartbeat" || pk == "#probe" => "heartbeat",
        _ if pk == "#metrics" => "sums",
        _ if pk == "#jobs" => "open_job",
        _ if is_of("jobs") || is_of("job") => "job",
        _ if pk.starts_with("#letter") => "letter",
        _ if pk == "#backups" => "noted_backup",
        _ if pk == "#incidents" || pk.starts_with("#incident#") => "incident",
        _ => "other",
    }
}

/// Whether it says only how things are at this moment: such items are left out, because they would be untrue later.
pub(super) fn is_passing(kind: &str) -> bool {
    matches!(kind, "delta" | "breaker" | "failures" | "heartbeat" | "sums" | "noted_backup")
}

/// The order of writing. What a reader begins with comes last: a run that is seen is whole, and so is a conversation.
pub(super) fn rank(kind: &str) -> u8 {
    match kind {
        "conversation" => 1,
        "run" => 2,
        // They make others work on runs; so may what this version does not know.
        "open_job" | "other" => 3,
        _ => 0,
    }
}
/// How many of them there are.
pub(super) const RANKS: u8 = 4;

/// What is wrong with an item, if anything is.
pub(super) fn problem(item: &Item) -> Option<&'static str> {
    let Some((pk, sk)) = key(item) else { return Some("has no key") };
    if !item.values().all(is_value) {
        return Some("has an attribute that is no value of DynamoDB");
    }
    match kind(pk, sk) {
        "run" if text(item, "state").is_none() || number(item, "steps").is_none() => Some("is a run without its state"),
        "step" | "event" | "input" | "archive" | "incident" if text(item, "body").is_none() => Some("has no body"),
        // A step of several items has its JSON in parts.
        "event" | "input" | "archive" | "incident" => {
            let body = text(item, "body").unwrap_or_default();
            serde_json::from_str::<Value>(body).is_err().then_some("has a body that is no JSON")
        }
        _ => None,
    }
}

fn is_value(value: &Value) -> bool {
    let Some((kind, inner)) = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next()) else {
        return false;
    };
    VALUES.contains(&kind.as_str())
        && match kind.as_str() {
            "L" => inner.as_array().is_some_and(|list| list.iter().all(is_value)),
            "M" => inner.as_object().is_some_and(|map| map.values().all(is_value)),
            "BOOL" | "NULL" => inner.is_boolean(),
            "SS" | "NS" => inner.is_array(),
            _ => inner.is_string(),
        }
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.get("S")?.as_str()
}

fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.get("N")?.as_str()?.parse().ok()
}

/// Whether the table would have removed it by now.
pub(super) fn has_expired(item: &Item, now: i64) -> bool {
    number(item, "expires_at").is_some_and(|at| at <= now)
}

/// What goes on by itself once it is in the table: the state of a run that has not ended, or a bulk action at work.
pub(super) fn unfinished<'a>(kind: &str, item: &'a Item) -> Option<&'a str> {
    match kind {
        "run" => text(item, "state").filter(|state| UNFINISHED.contains(state)),
        "open_job" => Some("bulk action"),
        _ => None,
    }
}

/// The longest beginning of each journal, by the partition of its run. A read is no snapshot: a step may be in it that the record,
/// which was read before, does not count.
#[derive(Debug, Default)]
pub(super) struct Journals(HashMap<String, Vec<u32>>);

impl Journals {
    pub(super) fn note(&mut self, item: &Item) {
        let Some((pk, sk)) = key(item).filter(|(pk, sk)| kind(pk, sk) == "step") else { return };
        // `step#000003`; `step#000003#01` is a part of it.
        let mut parts = sk.split('#').skip(1);
        if let (Some(Ok(index)), None) = (parts.next().map(str::parse), parts.next()) {
            self.0.entry(pk.to_owned()).or_default().push(index);
        }
    }

    /// Steps from the first one on without a gap.
    fn length(&mut self, pk: &str) -> u32 {
        let Some(indices) = self.0.get_mut(pk) else { return 0 };
        indices.sort_unstable();
        let mut length = 0;
        for index in indices {
            length += u32::from(*index == length + 1);
        }
        length
    }
}

/// Makes a run that had not ended fit to go on: its record counts the steps that are there, and nobody knows what it did after the
/// backup, so a call may have happened. Says whether steps were added.
pub(super) fn mend(item: &mut Item, journals: &mut Journals) -> bool {
    let pk = text(item, "pk").unwrap_or_default().to_owned();
    let (there, counted) = (i64::from(journals.length(&pk)), number(item, "steps").unwrap_or(0));
    item.insert("abandoned".into(), json!({"BOOL": true}));
    if there > counted {
        item.insert("steps".into(), json!({ "N": there.to_string() }));
    }
    there > counted
}

/// Takes a run out of the index that the sweeper reads: nobody wakes it. One that was running is queued, because no worker has it, and
/// only what is queued can be put back by somebody.
pub(super) fn hold(item: &mut Item, at: &str) {
    item.remove("gsi3pk");
    item.remove("gsi3sk");
    if text(item, "state") != Some("running") {
        return;
    }
    item.insert("state".into(), json!({"S": "queued"}));
    item.insert("lease_until_ms".into(), json!({"N": "0"}));
    item.remove("lease_owner");
    if let Some(partition) = text(item, "gsi2pk").map(|partition| partition.replacen("#running#", "#queued#", 1)) {
        item.insert("gsi2pk".into(), json!({ "S": partition }));
    }
    if let Some(transitions) = item.get_mut("transitions").and_then(|list| list["L"].as_array_mut()) {
        let fields = [("at", at), ("to", "queued"), ("by", "restore"), ("reason", "held")];
        let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), json!({ "S": value }))).collect();
        transitions.push(json!({ "M": fields }));
    }
}

/// Ends the record of a bulk action that had not ended: whoever looks sees what it had done, and that nobody goes on with it.
pub(super) fn stop(item: &mut Item, at: &str) {
    let Some(mut job) = text(item, "body").and_then(|body| serde_json::from_str::<Value>(body).ok()) else { return };
    if !matches!(job["status"].as_str(), Some("queued" | "running" | "waiting_for_canary" | "cancelling")) {
        return;
    }
    job["status"] = json!("stopped");
    job["stopped_because"] = json!("a backup was restored, and it was not to go on");
    job["ended_at"] = json!(at);
    if let Some(fields) = job.as_object_mut() {
        fields.remove("leased_until");
        fields.remove("not_before");
    }
    // Of what it had begun nobody knows.
    let begun = job["batch"].as_array_mut().map_or(0, |batch| std::mem::take(batch).len() as u64);
    let count = |name: &str| job["counts"][name].as_u64().unwrap_or_default();
    let failed = count("failed") + begun;
    let settled = count("done") + count("skipped") + failed;
    job["counts"]["failed"] = json!(failed);
    job["counts"]["selected"] = json!(settled);
    item.insert("body".into(), json!({"S": job.to_string()}));
}
