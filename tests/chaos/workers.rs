//! The function processes of this stack: which there are, what they work on, and what is done to them. Linux only.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tests::Stack;
use tests::client::{list, text};

/// Characters of a UUID.
const UUID: usize = 36;

/// A process that runs a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    /// Its process id.
    pub(crate) process: u32,
    /// Its log stream, which begins its name in leases.
    pub(crate) stream: String,
}

/// The workers of a function of this stack's emulator, and of no other.
pub(crate) fn of_function(stack: &Stack, function: &str) -> Vec<Worker> {
    let name = format!("AWS_LAMBDA_FUNCTION_NAME={}-{function}", stack.name);
    let endpoint = format!("AWS_ENDPOINT_URL={}", stack.emulator.base());
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let found = processes.flatten().filter_map(|entry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        // Other users' processes cannot be read, and none of them is ours.
        let environment = fs::read_to_string(entry.path().join("environ")).ok()?;
        let variables: Vec<&str> = environment.split('\0').collect();
        let stream = variables.iter().find_map(|variable| variable.strip_prefix("AWS_LAMBDA_LOG_STREAM_NAME="))?;
        let is_ours = variables.contains(&name.as_str()) && variables.contains(&endpoint.as_str());
        is_ours.then(|| Worker { process, stream: stream.to_owned() })
    });
    found.collect()
}

/// The log stream of the worker that a text names first: `<log stream>/`, and a log stream is a UUID here.
pub(crate) fn stream_in(text: &str) -> Option<&str> {
    let is_uuid = |text: &str| {
        let hyphens = [8, 13, 18, 23];
        text.bytes().enumerate().all(|(i, byte)| if hyphens.contains(&i) { byte == b'-' } else { byte.is_ascii_hexdigit() })
    };
    text.match_indices('/').filter_map(|(end, _)| text.get(end.checked_sub(UUID)?..end)).find(|text| is_uuid(text))
}

/// The streams of the workers that hold a lease now, by the records of these runs.
pub(crate) fn busy(stack: &Stack, runs: &BTreeSet<String>) -> BTreeSet<String> {
    let holders = records(stack, runs).into_iter().filter(|record| record["state"]["S"] == "running");
    let owners = holders.filter_map(|record| Some(stream_in(record["lease_owner"]["S"].as_str()?)?.to_owned()));
    owners.collect()
}

/// The records of these runs as they stand in the table: what no fault touches.
pub(crate) fn records(stack: &Stack, runs: &BTreeSet<String>) -> Vec<Value> {
    let headers = |operation| [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", operation)];
    let tables = stack.emulator.send("POST", "/", &headers("DynamoDB_20120810.ListTables"), b"{}".to_vec()).must(200);
    let Some(table) = list(&tables, "TableNames").first().and_then(Value::as_str) else { return Vec::new() };
    let runs: Vec<&String> = runs.iter().collect();
    let mut found = Vec::new();
    for page in runs.chunks(100) {
        let keys: Vec<Value> = page.iter().map(|run| json!({"pk": {"S": format!("local#run#{run}")}, "sk": {"S": "run"}})).collect();
        let body = json!({"RequestItems": {table: {"Keys": keys, "ConsistentRead": true}}});
        let answer = stack.emulator.send("POST", "/", &headers("DynamoDB_20120810.BatchGetItem"), body.to_string().into_bytes()).must(200);
        found.extend(list(&answer["Responses"], table).iter().cloned());
    }
    found
}

/// The run of a record.
pub(crate) fn run_of(record: &Value) -> String {
    text(&record["pk"], "S").rsplit('#').next().unwrap_or_default().to_owned()
}

/// Lets the sweeper tick now, beside the tick of its schedule: two at once must be as good as one.
pub(crate) fn tick(stack: &Stack) {
    let path = format!("/2015-03-31/functions/{}-sweeper/invocations", stack.name);
    let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0";
    let headers = [("authorization", authorization), ("x-amz-invocation-type", "Event"), ("content-type", "application/json")];
    let answer = stack.emulator.send("POST", &path, &headers, b"{}".to_vec());
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// Sends a signal; whether there was anybody to get it.
pub(crate) fn signal(process: u32, name: &str) -> bool {
    Command::new("kill").args([format!("-{name}"), process.to_string()]).output().is_ok_and(|done| done.status.success())
}

/// Workers that are stopped. Whatever happens to this program, they go on when it ends.
#[derive(Debug, Default)]
pub(crate) struct Stopped(Mutex<BTreeSet<u32>>);

impl Stopped {
    /// Stops a worker.
    pub(crate) fn stop(&self, process: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(process);
        signal(process, "STOP")
    }

    /// Whether a worker is stopped: killing it would be no pause beyond the lease.
    pub(crate) fn holds(&self, process: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&process)
    }

    /// Lets it go on.
    pub(crate) fn resume(&self, process: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&process);
        signal(process, "CONT")
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _gone = signal(*process, "CONT");
        }
    }
}
