//! Ten thousand dead runs: they are listed quickly, and put back at a rate, each exactly once, whoever is killed in the middle.
//!
//! The runs are written straight into the table of the deployed stack, as they stand there after a night with a provider that was down; a
//! part of them has its letter on the dead-letter queue. What counts afterwards is what the records say. `BULK=10000` is the whole of
//! it; without it there are fewer, because the emulator, one process, does all calls of DynamoDB, SQS and Lambda. `PAGE_MS=200` holds a
//! page of the list to that time, the gateway's part included.

#![expect(clippy::unwrap_used, reason = "all of this is a test: a call that fails ends it")]
#![expect(clippy::print_stderr, reason = "how long it took is told, and judged only where somebody asks for that")]

mod dead;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::{list, number, text};
use tests::processes::signal;
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

use crate::dead::{Dead, amount};

/// Runs a second that are asked for.
const RATE: u64 = 100;

fn job(stack: &Stack, id: &str) -> Value {
    stack.api.get(&format!("/v1/dlq/jobs/{id}")).must(200)
}

/// The processes that run the function of this stack.
fn workers(stack: &Stack) -> Vec<u32> {
    let name = format!("AWS_LAMBDA_FUNCTION_NAME={}-dlq-redrive", stack.name);
    let endpoint = format!("AWS_ENDPOINT_URL={}", stack.emulator.base());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // Those of other stacks have another endpoint; those of other users cannot be read.
    ids.filter(|id| {
        let environment = std::fs::read_to_string(format!("/proc/{id}/environ")).unwrap_or_default();
        let variables: Vec<&str> = environment.split('\0').collect();
        variables.contains(&name.as_str()) && variables.contains(&endpoint.as_str())
    })
    .collect()
}

/// Waits until so many are settled.
fn wait_for_progress(stack: &Stack, id: &str, least: u64) {
    wait_for("the job to get on", LONG * 10, || {
        let job = job(stack, id);
        if number(&job["counts"], "done") >= least || job["ended_at"].is_string() { Ok(()) } else { Err(job) }
    });
}

/// Gives up what other tests have left dead: put back with the rest, it would die again.
fn discard_what_others_left(stack: &Stack) {
    let order = json!({"all": true, "reason": fresh("left by tests"), "rate": 500});
    let asked = stack.api.post("/v1/dlq/discard", &order).must(202);
    wait_for("the job that gives up what others left", LONG, || {
        let job = job(stack, &text(&asked, "job_id"));
        if job["status"] == "completed" { Ok(()) } else { Err(job) }
    });
    wait_for_nothing_dead(stack);
}

/// The queue and the list agree that nothing is dead; the sweeper's janitor is called again and again.
fn wait_for_nothing_dead(stack: &Stack) {
    let mut looked: Option<Instant> = None;
    wait_for("every dead letter to go", Duration::from_secs(180), || {
        if looked.is_none_or(|at| at.elapsed() > Duration::from_secs(20)) {
            looked = Some(Instant::now());
            stack.invoke("sweeper");
        }
        let (letters, dead) = (stack.dead_letters.depth(), number(&stack.api.get("/v1/dlq?limit=1").must(200), "count"));
        if letters + dead == 0 { Ok(()) } else { Err(format!("{letters} letters, {dead} dead runs")) }
    });
}

fn tell_how_quick_pages_are(stack: &Stack) {
    let (mut path, mut took) = ("/v1/dlq?limit=20".to_owned(), Vec::new());
    // The first one may start a sandbox.
    stack.api.get(&path).must(200);
    for _ in 0..15 {
        let begun = Instant::now();
        let page = stack.api.get(&path).must(200);
        took.push(begun.elapsed());
        assert_eq!(list(&page, "entries").len(), 20, "{page}");
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/dlq?limit=20&cursor={cursor}");
    }
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!("pages of 20 of the dead: {median:?} in the middle, {worst:?} at worst, through the gateway");
    // Time on a machine that does other things besides says nothing: whoever has a quiet one says what it may be.
    if let Some(most) = dead::page_limit() {
        assert!(median < most, "a page takes {median:?}: {took:?}");
    }
}

#[test]
fn thousands_of_dead_runs_are_listed_quickly_and_put_back_once_each_whoever_is_killed() {
    let stack = Stack::alone();
    let many = amount();
    discard_what_others_left(&stack);
    let dead = Dead::write(&stack, &fresh("bulk"), many);
    let listed = stack.api.get("/v1/dlq?limit=1").must(200);
    assert_eq!(number(&listed, "count"), many as u64, "{listed}");
    tell_how_quick_pages_are(&stack);

    let begun = Instant::now();
    // The command of a person, who closes the terminal in the hardest way as soon as the job is on record.
    let reason = fresh("the provider is back");
    let mut person = Command::new(dead::binary("reprise"))
        .args(["dlq", "retry-all", "--rate", &RATE.to_string(), "--reason", &reason, "--yes", "--url", stack.api.base()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = wait_for("the job that the command asks for", LONG, || {
        let jobs = stack.api.get("/v1/dlq/jobs?limit=5").must(200);
        let ours = list(&jobs, "jobs").iter().find(|job| job["reason"] == json!(reason)).map(|job| text(job, "job_id"));
        ours.ok_or(jobs)
    });
    signal(person.id(), "KILL");
    person.wait().unwrap();

    // Its worker is killed in the middle of what it does; twice where there is time for that: each time the next one has to wait for a lease.
    let parts: &[u64] = if many < 1_000 { &[2] } else { &[4, 2] };
    for part in parts {
        wait_for_progress(&stack, &id, many as u64 / part);
        let killed = workers(&stack);
        assert!(!killed.is_empty(), "nobody works on {}", job(&stack, &id));
        killed.iter().for_each(|process| signal(*process, "KILL"));
    }
    let done = wait_for("the end of the job", Duration::from_secs(60) + LONG * u32::try_from(many / 50).unwrap(), || {
        let job = job(&stack, &id);
        if job["status"] == "completed" { Ok(job) } else { Err(job) }
    });
    eprintln!("{many} runs put back at {RATE} a second in {:?}, lost workers included", begun.elapsed());
    assert_eq!(number(&done["counts"], "done") + number(&done["counts"], "skipped"), number(&done["counts"], "selected"), "{done}");
    assert!(number(&done["counts"], "done") >= many as u64 && number(&done["counts"], "failed") == 0, "{done}");

    // Once each: by the records, the journals and the model that was asked.
    let limit = Duration::from_secs(60) + LONG * u32::try_from(many / 20).unwrap();
    wait_for("every run to complete", limit, || {
        dead.completed(&stack).map_or_else(Err, |open| if open == 0 { Ok(()) } else { Err(open.to_string()) })
    });
    eprintln!("all completed after {:?}", begun.elapsed());
    dead.assert_once_each(&stack, &id);
    dead.assert_results(&stack, &id);

    // Their letters mean nothing any more: the janitor removes them, tick by tick.
    wait_for_nothing_dead(&stack);
}
