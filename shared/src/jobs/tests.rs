//! A worker over jobs in memory, whose calls fail and whose workers vanish at every place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::domain::clock::{Clock, after};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::RunId;
use crate::domain::idempotency::RequestKey;
use crate::domain::job::{CanaryState, JobStatus, NewJob, Pace};
use crate::domain::state::RunState;
use crate::fakes::{FixedClock, MemoryJobs, MemoryStore, a_run, listen};

fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

/// Puts runs back in its own fashion, and counts how often.
struct Counting {
    records: Arc<MemoryStore>,
    runs: Vec<RunId>,
    /// How often each was really put back.
    done: Mutex<BTreeMap<RunId, u32>>,
    /// What the runs become.
    becomes: RunState,
    /// Things that cannot be acted on.
    panics: Option<usize>,
    /// A thing whose record the store cannot read.
    unreadable: Mutex<Option<usize>>,
}

#[async_trait]
impl Work for Counting {
    async fn count(&self, _job: &Job) -> Result<u64, JournalError> {
        Ok(self.runs.len() as u64)
    }

    async fn next(&self, _job: &Job, cursor: Option<&str>, limit: usize) -> Result<(Vec<Item>, Option<String>), JournalError> {
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let to = (from + limit).min(self.runs.len());
        let items = self.runs[from..to].iter().map(|run| Item { key: run.to_string(), data: Value::Null }).collect();
        Ok((items, (to < self.runs.len()).then(|| to.to_string())))
    }

    async fn act(&self, job: &Job, item: &Item) -> Result<Acted, JournalError> {
        tokio::task::yield_now().await;
        let id: RunId = item.key.parse().unwrap();
        if self.panics.is_some_and(|n| self.runs[n] == id) {
            panic!("a thing that nobody can act on");
        }
        if self.unreadable.lock().unwrap().is_some_and(|n| self.runs[n] == id) {
            return Err(JournalError::Unavailable("written by a later version".into()));
        }
        let mut run = self.records.get(id).unwrap();
        if run.state == RunState::Dead {
            *self.done.lock().unwrap().entry(id).or_default() += 1;
            run.state = self.becomes;
            if run.state == RunState::Failed {
                run.note(Failure::new(FailureCode::ProviderTimeout, "slow", job.created_at, 1));
            }
            self.records.put(run);
        }
        let before = Failure::new(FailureCode::ProviderTimeout, "slow", job.created_at, 1);
        let fingerprint = Some(Fingerprint::of(&before).to_string());
        let watched = Watched { tenant: job.tenant.clone(), run: id, fingerprint, ended: None };
        Ok(Acted { outcome: Outcome::Done, detail: "put back".into(), run: Some(watched) })
    }
}

struct World {
    jobs: Arc<MemoryJobs>,
    records: Arc<MemoryStore>,
    clock: Arc<FixedClock>,
    work: Arc<Counting>,
    desk: Desk,
}

fn world(runs: usize, becomes: RunState, panics: Option<usize>) -> World {
    let (jobs, records) = (Arc::new(MemoryJobs::default()), Arc::new(MemoryStore::default()));
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let dead = |_| {
        let mut run = a_run(&tenant(), clock.now());
        run.state = RunState::Dead;
        records.put(run.clone());
        run.id
    };
    let runs = (0..runs).map(dead).collect();
    let work = Arc::new(Counting { records: records.clone(), runs, done: Mutex::default(), becomes, panics, unreadable: Mutex::default() });
    let desk = Desk { store: jobs.clone(), queue: jobs.clone(), clock: clock.clone() };
    World { jobs, records, clock, work, desk }
}

fn order(rate: u32) -> NewJob {
    NewJob {
        tenant: tenant(),
        kind: JobKind::Retry,
        by: "ana".into(),
        reason: Some("the provider is back".into()),
        order: json!({"all": true}),
        pace: Pace { rate, concurrency: None },
        canary: None,
        key: None,
    }
}

impl World {
    fn worker(&self) -> Worker {
        Worker {
            store: self.jobs.clone(),
            queue: self.jobs.clone(),
            records: self.records.clone(),
            kinds: Kinds::from([(JobKind::Retry, self.work.clone() as Arc<dyn Work>)]),
            clock: self.clock.clone(),
        }
    }

    /// One invocation of 20 s, as the queue makes it; what is not done comes back.
    async fn invoke(&self, message: &JobMessage) -> bool {
        let until = after(self.clock.now(), s(20));
        match self.worker().take_up(message, until).await {
            Ok(Taken::Done) => true,
            Ok(Taken::Again(pause)) => {
                self.clock.advance(pause);
                false
            }
            Err(_) => {
                // The visibility of the message.
                self.clock.advance(worker::LEASE);
                false
            }
        }
    }

    /// Delivers messages until there are none and the sweeper has none to send, at most so often.
    async fn work_off(&self, most: usize) {
        for _ in 0..most {
            if let Some((message, delay)) = self.jobs.take_first() {
                self.clock.advance(delay);
                for _ in 0..most {
                    if self.invoke(&message).await {
                        break;
                    }
                }
                continue;
            }
            self.clock.advance(s(180));
            for (tenant, id) in self.jobs.open().await.unwrap_or_default() {
                let _ = wake(self.jobs.as_ref(), self.jobs.as_ref(), (&tenant, id), self.clock.now(), s(120)).await;
            }
            if self.jobs.jobs.lock().unwrap().values().all(|job| job.status.has_ended()) {
                return;
            }
        }
        panic!("not over: {:?}", self.jobs.jobs.lock().unwrap());
    }

    fn counts(&self, id: JobId) -> (u64, u64, u64, u64) {
        let counts = self.jobs.get(id).unwrap().counts;
        (counts.selected, counts.done, counts.skipped, counts.failed)
    }

    /// Each was put back once, and has one result.
    fn assert_each_once(&self, id: JobId) {
        let n = self.work.runs.len();
        assert_eq!(self.work.done.lock().unwrap().values().copied().collect::<Vec<_>>(), vec![1; n]);
        assert_eq!(self.jobs.results.lock().unwrap().len(), n);
        assert_eq!(self.counts(id), (n as u64, n as u64, 0, 0));
        assert_eq!(self.jobs.get(id).unwrap().status, JobStatus::Completed);
    }
}

#[tokio::test]
async fn a_job_does_each_thing_once_at_its_rate_over_several_invocations() {
    let w = world(1_000, RunState::Completed, None);
    let job = w.desk.start(order(20)).await.unwrap().job;
    let begun = w.clock.now();
    w.work_off(100).await;
    w.assert_each_once(job.id);
    let job = w.jobs.get(job.id).unwrap();
    let took = crate::domain::clock::between(begun, job.ended_at.unwrap());
    assert!((s(49)..s(60)).contains(&took), "1,000 at 20 a second took {took:?}");
    assert!(job.turn > 2, "more than one invocation");
    assert_eq!((job.created_by.as_str(), job.reason.as_deref()), ("ana", Some("the provider is back")));
}

#[tokio::test]
async fn a_call_that_fails_or_whose_answer_is_lost_at_any_place_neither_loses_nor_doubles_anything() {
    let calls = {
        let w = world(100, RunState::Completed, None);
        w.desk.start(order(40)).await.unwrap();
        w.work_off(100).await;
        *w.jobs.calls.lock().unwrap()
    };
    for number in 2..=calls {
        for is_lost in [false, true] {
            let w = world(100, RunState::Completed, None);
            // Two in a row, so that what mends the first is struck too.
            let struck = vec![number, number + 1];
            *w.jobs.failing.lock().unwrap() = if is_lost { (Vec::new(), struck) } else { (struck, Vec::new()) };
            let job = w.desk.start(order(40)).await.unwrap().job;
            w.work_off(100).await;
            w.assert_each_once(job.id);
        }
    }
}

#[tokio::test]
async fn a_worker_that_vanishes_at_any_await_neither_loses_nor_doubles_anything() {
    // As many polls as a whole slice has, and one more; the future is dropped there: killed.
    let mut polls = 1;
    loop {
        let w = world(60, RunState::Completed, None);
        let job = w.desk.start(order(25)).await.unwrap().job;
        let (message, _) = w.jobs.take_first().unwrap();
        let worker = w.worker();
        let is_over = {
            let mut slice = Box::pin(worker.take_up(&message, after(w.clock.now(), s(20))));
            let mut is_over = false;
            for _ in 0..polls {
                if futures_util::poll!(&mut slice).is_ready() {
                    is_over = true;
                    break;
                }
                // What it waits for is woken here.
                tokio::task::yield_now().await;
            }
            is_over
        };
        if !is_over {
            // It comes back when its visibility ends.
            w.clock.advance(worker::LEASE);
            while !w.invoke(&message).await {}
        }
        w.work_off(100).await;
        w.assert_each_once(job.id);
        if is_over {
            break;
        }
        polls += 1;
    }
    assert!(polls > 5, "{polls} places to be killed at");
}

#[tokio::test]
async fn a_message_that_is_delivered_twice_or_late_does_nothing_twice() {
    let w = world(50, RunState::Completed, None);
    let job = w.desk.start(order(50)).await.unwrap().job;
    let (message, _) = w.jobs.take_first().unwrap();
    let until = after(w.clock.now(), s(20));
    let (one, other) = (w.worker(), w.worker());
    let (one, other) = futures_util::join!(one.take_up(&message, until), other.take_up(&message, until));
    assert!([one.unwrap(), other.unwrap()].iter().any(|taken| matches!(taken, Taken::Again(_) | Taken::Done)));
    w.work_off(100).await;
    assert!(w.invoke(&message).await, "what means nothing any more is deleted");
    w.assert_each_once(job.id);
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_with_exact_counts() {
    let w = world(1_000, RunState::Completed, None);
    let job = w.desk.start(order(10)).await.unwrap().job;
    let (message, _) = w.jobs.take_first().unwrap();
    assert!(w.invoke(&message).await, "a slice");
    let kinds = [JobKind::Retry];
    let cancelled = w.desk.cancel(&tenant(), job.id, &kinds, "bob", Some("enough".into())).await.unwrap();
    assert_eq!(cancelled.status, JobStatus::Cancelling);
    w.work_off(100).await;
    let done = w.work.done.lock().unwrap().len() as u64;
    assert!((100..=250).contains(&done), "{done}");
    assert_eq!(w.counts(job.id), (1_000, done, 0, 0), "what was left alone was selected as well");
    let job = w.jobs.get(job.id).unwrap();
    assert_eq!((job.status, job.cancelled.as_ref().unwrap().by.as_str()), (JobStatus::Cancelled, "bob"));
    assert!(matches!(w.desk.cancel(&tenant(), job.id, &kinds, "bob", None).await, Err(DeskError::Ended(_))));
    assert!(matches!(w.desk.job(&"other".parse().unwrap(), job.id, &kinds).await, Err(DeskError::NotFound)), "another tenant's");
    assert!(matches!(w.desk.job(&tenant(), job.id, &[JobKind::Replay]).await, Err(DeskError::NotFound)), "another kind");
}

#[tokio::test]
async fn the_rest_is_left_alone_when_the_first_few_fail_as_before() {
    let w = world(100, RunState::Failed, None);
    let job = w.desk.start(NewJob { canary: Some((5, 600)), ..order(50) }).await.unwrap().job;
    w.work_off(100).await;
    let job = w.jobs.get(job.id).unwrap();
    assert_eq!((job.status, w.counts(job.id)), (JobStatus::Stopped, (100, 5, 0, 0)));
    assert_eq!(job.stopped_because.as_deref(), Some("of the first 5, 5 failed again"));
    assert_eq!(job.canary.unwrap().state, CanaryState::Failed);
}

#[tokio::test]
async fn the_rest_goes_on_when_the_first_few_are_well_and_not_before() {
    let w = world(100, RunState::Queued, None);
    let job = w.desk.start(NewJob { canary: Some((5, 600)), ..order(50) }).await.unwrap().job;
    for _ in 0..5 {
        let (message, delay) = w.jobs.take_first().unwrap();
        w.clock.advance(delay);
        assert!(w.invoke(&message).await);
    }
    assert_eq!((w.jobs.get(job.id).unwrap().status, w.counts(job.id).1), (JobStatus::WaitingForCanary, 5));
    for id in w.work.done.lock().unwrap().keys() {
        w.records.put(crate::domain::run::Run { state: RunState::Completed, ..w.records.get(*id).unwrap() });
    }
    w.work_off(200).await;
    w.assert_each_once(job.id);
    // Nor if they never end.
    let w = world(100, RunState::Queued, None);
    let job = w.desk.start(NewJob { canary: Some((5, 60)), ..order(50) }).await.unwrap().job;
    w.work_off(100).await;
    let job = w.jobs.get(job.id).unwrap();
    assert_eq!((job.status, job.counts.done), (JobStatus::Stopped, 5));
    assert_eq!(job.stopped_because.as_deref(), Some("of the first 5, 5 had not ended after 60 s"));
}

#[tokio::test]
async fn no_more_runs_are_under_way_than_the_job_may_have() {
    let w = world(30, RunState::Queued, None);
    let job = w.desk.start(NewJob { pace: Pace { rate: 100, concurrency: Some(7) }, ..order(0) }).await.unwrap().job;
    while !w.jobs.get(job.id).unwrap().status.has_ended() {
        let (message, delay) = w.jobs.take_first().unwrap();
        w.clock.advance(delay);
        assert!(w.invoke(&message).await);
        let under_way: Vec<RunId> =
            w.work.runs.iter().filter(|run| w.records.get(**run).unwrap().state == RunState::Queued).copied().collect();
        assert!(under_way.len() <= 7, "{} at once", under_way.len());
        for id in under_way.iter().take(3) {
            w.records.put(crate::domain::run::Run { state: RunState::Completed, ..w.records.get(*id).unwrap() });
        }
    }
    w.assert_each_once(job.id);
}

#[tokio::test]
async fn who_waits_long_for_runs_to_end_looks_less_and_less_often() {
    let w = world(3, RunState::Queued, None);
    let job = w.desk.start(NewJob { pace: Pace { rate: 100, concurrency: Some(1) }, ..order(0) }).await.unwrap().job;
    let begun = w.clock.now();
    let mut delay = s(0);
    for _ in 0..30 {
        let message = w.jobs.take_first().unwrap();
        delay = message.1;
        w.clock.advance(delay);
        assert!(w.invoke(&message.0).await);
    }
    assert_eq!((delay, w.counts(job.id).1), (s(60), 1));
    assert!(after(begun, s(15 * 60)) < w.clock.now(), "each with its message, not with a function that waits");
}

#[tokio::test]
async fn a_thing_that_nobody_can_act_on_stops_nothing_else() {
    let w = world(20, RunState::Completed, Some(7));
    let job = w.desk.start(order(50)).await.unwrap().job;
    w.work_off(100).await;
    assert_eq!((w.jobs.get(job.id).unwrap().status, w.counts(job.id)), (JobStatus::Completed, (20, 19, 0, 1)));
}

#[tokio::test]
async fn each_line_about_a_job_says_whose_it_is() {
    let w = world(20, RunState::Completed, Some(7));
    let job = w.desk.start(order(50)).await.unwrap().job;
    let heard = listen();
    w.work_off(100).await;
    let lines = heard.lines("job.id", job.id);
    assert!(lines.len() >= 2 && lines.iter().all(|line| line["tenant"] == "acme"), "{lines:?}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_some_attempts_and_stops_nothing_else() {
    let w = world(20, RunState::Completed, None);
    *w.work.unreadable.lock().unwrap() = Some(7);
    let job = w.desk.start(order(5)).await.unwrap().job;
    w.work_off(100).await;
    assert_eq!((w.jobs.get(job.id).unwrap().status, w.counts(job.id)), (JobStatus::Completed, (20, 19, 0, 1)));
}

#[tokio::test]
async fn the_same_key_is_the_same_job_and_another_request_is_refused() {
    let w = world(3, RunState::Completed, None);
    let key = |fingerprint: &str| Some(RequestKey { digest: "d".into(), fingerprint: fingerprint.into() });
    let first = w.desk.start(NewJob { key: key("f"), ..order(50) }).await.unwrap();
    let again = w.desk.start(NewJob { key: key("f"), ..order(50) }).await.unwrap();
    assert_eq!((again.job.id, first.is_replay, again.is_replay), (first.job.id, false, true));
    assert!(matches!(w.desk.start(NewJob { key: key("g"), ..order(50) }).await, Err(DeskError::KeyReused)));
    assert_eq!(w.jobs.sent.lock().unwrap().len(), 1);
}
