//! The table against the store in memory that the engine is tested over: the same calls, drawn at random, give the same answers
//! and leave the same records. [`draw`] makes the writes up, this file does and compares.

#![expect(clippy::unwrap_used, reason = "all of this is a test: a call that fails ends it")]

mod draw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use draw::{Draw, Drawn};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shared::aws::Table;
use shared::domain::clock::after;
use shared::domain::delta::{Delta, Try};
use shared::domain::id::{ConversationId, EventId, RunId, TenantId};
use shared::domain::run::{Cause, Run};
use shared::domain::state::{Command, RunState};
use shared::domain::step::{LARGEST_STEP, Step};
use shared::engine::ports::{Claim, Guard, Journal, JournalError, Lease};
use shared::fakes::MemoryStore;
use shared::ledger::{Change, commit};
use shared::operate::{Erasure, EventRange, Events, Order, Range, Records};
use shared::sweep::{DueIndex, SHARDS};

/// Sequences of calls, and calls in the longest of them. Half a minute in all.
const CASES: u32 = 24;
const CALLS: usize = 60;

/// A table of the test's own, so that no sweeper touches it, with the keys and indexes of `template.yaml`.
async fn new_table(endpoint: &str) -> Table {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(endpoint)
        .build();
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    let name = tests::fresh("conformance");
    let key = |hash: &str, range: &str| {
        [(hash, KeyType::Hash), (range, KeyType::Range)]
            .map(|(name, kind)| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap())
            .to_vec()
    };
    let mut create = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest).set_key_schema(Some(key("pk", "sk")));
    for name in ["pk", "sk", "gsi1pk", "gsi1sk", "gsi2pk", "gsi2sk", "gsi3pk", "gsi3sk"] {
        let kind = ScalarAttributeType::S;
        create = create.attribute_definitions(AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap());
    }
    for (name, hash, range) in [("by_time", "gsi1pk", "gsi1sk"), ("by_state", "gsi2pk", "gsi2sk"), ("due", "gsi3pk", "gsi3sk")] {
        let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let index = GlobalSecondaryIndex::builder().index_name(name).set_key_schema(Some(key(hash, range))).projection(keys_only);
        create = create.global_secondary_indexes(index.build().unwrap());
    }
    create.send().await.unwrap();
    Table::with_client(client, name)
}

/// Both stores, and the few records that all calls are about.
pub(crate) struct Both {
    memory: MemoryStore,
    table: Arc<Table>,
    tenant: TenantId,
    now: Timestamp,
    events: Vec<EventId>,
    conversations: Vec<ConversationId>,
    runs: Vec<RunId>,
    /// Records as they were at some time: what a slow writer has in hand.
    old: Vec<Run>,
}

/// The same outcome, in words: errors have no other equality.
fn words<T: std::fmt::Debug>(outcome: Result<T, JournalError>) -> Result<String, String> {
    outcome.map(|value| format!("{value:?}")).map_err(|error| error.to_string())
}

/// The same in every try, so that a failure can be repeated: later times and other shards for higher numbers.
fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str, n: u8) -> T {
    format!("{prefix}01KDYAK0G{n}000000000000000{n}").parse().unwrap()
}

impl Both {
    fn new(table: Arc<Table>, case: u32) -> Self {
        let now: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Self {
            memory: MemoryStore::default(),
            table,
            tenant: format!("t{case}").parse().unwrap(),
            now,
            events: (0..3).map(|n| id("evt_", n)).collect(),
            conversations: (0..2).map(|n| id("conv_", n)).collect(),
            runs: (0..6).map(|n| id("run_", n)).collect(),
            old: Vec::new(),
        }
    }

    /// One call on both, chosen by `seed`.
    async fn call(&mut self, seed: u64) {
        let mut draw = Draw::new(seed);
        self.now = after(self.now, Duration::from_secs(draw.below(3)));
        let run = self.record(&mut draw);
        match draw.below(26) {
            0..=3 => self.claim(&mut draw, &run).await,
            4 => {
                let until = after(self.now, Duration::from_secs(draw.below(30)));
                assert_eq!(words(self.memory.renew(&run, until).await), words(self.table.renew(&run, until).await));
            }
            5 => assert_eq!(self.memory.look(&run).await.unwrap(), self.table.look(&run).await.unwrap()),
            6..=9 => self.commit(&mut draw, &run).await,
            10 if draw.one_in(2) => self.erase(&mut draw, &run).await,
            11..=14 => self.write(&draw.acceptance(self)).await,
            24 => self.watch(&mut draw, &run).await,
            25 => self.tell(&mut draw, &run).await,
            15 | 16 => self.write(&draw.finished_step(self, run.clone())).await,
            _ => self.write(&draw.list(self)).await,
        }
        if let Some(stored) = self.memory.get(run.id).filter(|_| draw.one_in(3)) {
            self.old.push(stored);
        }
    }

    async fn watch(&self, draw: &mut Draw, run: &Run) {
        let until = after(self.now, Duration::from_secs(draw.below(30)));
        // Of somebody else's run, too: then there is none.
        let tenant: TenantId = if draw.one_in(4) { "somebody".parse().unwrap() } else { self.tenant.clone() };
        assert_eq!(words(self.memory.watch(&tenant, run.id, until).await), words(self.table.watch(&tenant, run.id, until).await));
    }

    /// Says something of a step, and reads what was said from somewhere on.
    async fn tell(&self, draw: &mut Draw, run: &Run) {
        let mut number = |most: u64| u32::try_from(draw.below(most)).unwrap() + 1;
        let attempt = Try { lease_no: number(12).into(), number: number(12) };
        let delta = Delta { step: number(3), attempt, seq: number(12), start: 7, text: "said".into() };
        assert_eq!(words(self.memory.tell(run, &delta).await), words(self.table.tell(run, &delta).await));
        let (step, limit) = (number(3), number(5) as usize);
        let from = draw.one_in(2).then_some((Try { lease_no: draw.below(12), number: 5 }, 3));
        let expected = words(self.memory.deltas(&run.tenant, run.id, step, from, limit).await);
        assert_eq!(words(self.table.deltas(&run.tenant, run.id, step, from, limit).await), expected);
    }

    async fn write(&self, drawn: &[Drawn]) {
        let writes: Vec<_> = drawn.iter().map(|write| write.borrowed(&self.tenant)).collect();
        let (expected, found) = (self.memory.write(&writes).await, self.table.write(&writes).await);
        assert_eq!(format!("{expected:?}"), format!("{found:?}"), "{:?}", drawn.iter().map(Drawn::item).collect::<Vec<_>>());
    }

    /// A record as it is, as it was, or as if it were new.
    pub(crate) fn record(&self, draw: &mut Draw) -> Run {
        let there = self.runs.iter().filter(|id| self.memory.get(**id).is_some()).count();
        let is_any = draw.one_in(3) || there == 0;
        let place = draw.place(if is_any { self.runs.len() } else { there });
        let old: Vec<&Run> = self.old.iter().filter(|run| run.id == self.runs[place]).collect();
        match self.memory.get(self.runs[place]) {
            Some(_) if !old.is_empty() && draw.one_in(5) => old[draw.place(old.len())].clone(),
            Some(stored) => stored,
            None => draw.new_run(self, place),
        }
    }

    async fn claim(&mut self, draw: &mut Draw, run: &Run) {
        let owner = ["w1", "w2"][draw.place(2)].to_owned();
        let message = ["m1", "m2"][draw.place(2)].to_owned();
        let lease = Lease { owner, now: self.now, until: after(self.now, Duration::from_secs(draw.below(5))), message, sent_at: None };
        let mut task = run.task();
        task.epoch += u64::from(draw.one_in(6));
        let (expected, found) = (self.memory.claim(&task, &lease).await.unwrap(), self.table.claim(&task, &lease).await.unwrap());
        match (expected, found) {
            (Claim::Taken(expected), Claim::Taken(found)) => assert_eq!(expected, found),
            (Claim::Refused(expected), Claim::Refused(found)) => assert_eq!(expected, found),
            (expected, found) => panic!("{expected:?} and {found:?}"),
        }
    }

    /// A whole change, with what it does to the conversation.
    async fn commit(&mut self, draw: &mut Draw, run: &Run) {
        let by = ["w1", "ana"][draw.place(2)];
        let cause = Cause { at: self.now, by, reason: ["answered", "interrupted"][draw.place(2)], patience: Duration::from_secs(60) };
        let mut changed = run.clone();
        let apply: Vec<Command> = Command::ALL.into_iter().filter(|command| run.state.after(*command).is_some()).collect();
        if apply.is_empty() || changed.apply(apply[draw.place(apply.len())], cause).is_err() {
            return;
        }
        let step = draw.one_in(2).then(|| draw.step(run.steps + 1, self.now));
        changed.steps += u32::from(step.is_some());
        let answer = step.as_ref().and_then(Draw::answer_of).filter(|_| changed.state == RunState::Completed);
        let held = Guard::Held { lease_no: run.lease_no, steps: run.steps + u32::from(draw.one_in(6)) };
        let guard = if run.state == RunState::Running && draw.one_in(2) { held } else { Guard::Seen(run.seen()) };
        let change = Change {
            run: &changed,
            guard,
            step: step.as_ref(),
            response: answer.as_deref().zip(step.as_ref().map(|step| step.index)),
            cause,
        };
        assert_eq!(words(commit(&self.memory, change).await), words(commit(self.table.as_ref(), change).await));
    }

    async fn erase(&mut self, draw: &mut Draw, run: &Run) {
        let what = if draw.one_in(2) { Erasure::Run(run.id) } else { Erasure::Conversation(run.conversation) };
        self.memory.erase(&self.tenant, what).await.unwrap();
        self.table.erase(&self.tenant, what).await.unwrap();
    }

    /// Everything that can be read.
    async fn compare(&self) {
        let (memory, table, tenant) = (&self.memory, self.table.as_ref(), &self.tenant);
        for (place, id) in self.runs.iter().enumerate() {
            let stored = memory.get(*id);
            assert_eq!(stored, table.run(tenant, *id).await.unwrap());
            assert_eq!(memory.journal_of(*id), all_steps(table, tenant, *id).await);
            let run = stored.unwrap_or_else(|| Draw::new(0).new_run(self, place));
            // Whatever the record counts.
            let counted = Run { archives: 1, ..run.clone() };
            assert_eq!(memory.archives(&counted).await.unwrap(), table.archives(&counted).await.unwrap());
            for trigger in [None, Some("t".to_owned())] {
                let run = Run { trigger, ..run.clone() };
                assert_eq!(words(memory.input(&run).await), words(table.input(&run).await));
            }
            assert_eq!(words(memory.history(&run).await), words(table.history(&run).await));
        }
        for id in &self.events {
            assert_eq!(memory.event(tenant, *id).await.unwrap(), table.event(tenant, *id).await.unwrap());
        }
        for order in [Order::NewestFirst, Order::OldestFirst] {
            for range in [EventRange::default(), EventRange { after: Some(self.events[0]), before: Some(self.events[2]) }] {
                let expected = memory.event_ids(tenant, range, order, 2).await.unwrap();
                assert_eq!(expected, table.event_ids(tenant, range, order, 2).await.unwrap(), "{order:?}");
            }
        }
        for id in &self.conversations {
            assert_eq!(memory.conversation(tenant, *id).await.unwrap(), table.conversation(tenant, *id).await.unwrap());
            for (behind, limit) in [(None, 100), (None, 1), (Some(self.runs[1]), 2)] {
                let expected = memory.turns(tenant, *id, behind, limit).await.unwrap();
                assert_eq!(expected, table.turns(tenant, *id, behind, limit).await.unwrap());
            }
        }
        let listed = RunState::ALL.into_iter().filter(|state| state.is_listed_by_state()).map(Some);
        for state in listed.chain([None]) {
            for range in [Range::default(), Range { after: Some(self.runs[0]), before: Some(self.runs[4]) }] {
                let expected = memory.ids(tenant, state, range, 3).await.unwrap();
                assert_eq!(expected, table.ids(tenant, state, range, 3).await.unwrap(), "{state:?}");
            }
            if let Some(state) = state {
                assert_eq!(memory.count(tenant, state).await.unwrap(), table.count(tenant, state).await.unwrap());
            }
        }
        assert_eq!(memory.runs(tenant, &self.runs).await.unwrap(), table.runs(tenant, &self.runs).await.unwrap());
        self.compare_due().await;
    }

    /// The index of what is due has exactly the runs that have a time, in order.
    async fn compare_due(&self) {
        let mut found = Vec::new();
        for shard in 0..SHARDS {
            let entries = self.table.due(shard, None, 1_000).await.unwrap();
            assert!(entries.is_sorted_by_key(|entry| entry.at));
            found.extend(
                entries.into_iter().filter(|entry| entry.tenant == self.tenant).map(|entry| (entry.run, entry.at.as_millisecond())),
            );
        }
        found.sort_unstable();
        let stored = self.runs.iter().filter_map(|id| self.memory.get(*id));
        let expected: Vec<_> = stored.filter_map(|run| Some((run.id, run.due_ms?))).collect();
        assert_eq!(expected, found);
    }
}

/// All steps, page by page of two.
async fn all_steps(table: &Table, tenant: &TenantId, run: RunId) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let page = table.steps_after(tenant, run, steps.last().map_or(0, |step| step.index), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            return steps;
        }
        steps.extend(page);
    }
}

#[test]
fn whatever_is_called_the_table_answers_and_keeps_what_the_store_in_memory_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = Arc::new(runtime.block_on(new_table(&tests::address("REPRISE_TEST_EMULATOR"))));
    let case = AtomicU32::new(0);
    // A failure prints the calls that lead to it; the stores are new for each try.
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, max_shrink_iters: 60, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(any::<u64>(), 1..CALLS), |calls| {
        let mut both = Both::new(table.clone(), case.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            for seed in calls {
                both.call(seed).await;
            }
            both.compare().await;
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn the_largest_step_is_stored_with_the_end_of_its_run_and_read_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let table = new_table(&tests::address("REPRISE_TEST_EMULATOR")).await;
        let mut both = Both::new(Arc::new(table), 0);
        let draw = &mut Draw::new(1);
        both.write(&draw.acceptance(&both)).await;
        let run = both.memory.get(both.runs[0]).unwrap();
        both.now = after(both.now, Duration::from_secs(1));
        let answer = "x".repeat(LARGEST_STEP - Draw::answer(1, both.now, String::new()).size());
        let step = Draw::answer(1, both.now, answer);
        assert_eq!(step.size(), LARGEST_STEP);
        let cause = Cause { at: both.now, by: "w1", reason: "answered", patience: Duration::ZERO };
        let mut ended = Run { state: RunState::Running, steps: 1, ..run.clone() };
        ended.apply(Command::Complete, cause).unwrap();
        let response = Draw::answer_of(&step);
        let change = Change {
            run: &ended,
            guard: Guard::Seen(run.seen()),
            step: Some(&step),
            response: response.as_deref().map(|text| (text, step.index)),
            cause,
        };
        for store in [&both.memory as &dyn Journal, both.table.as_ref()] {
            commit(store, change).await.unwrap();
        }
        both.compare().await;
        let turns = both.table.turns(&both.tenant, run.conversation, None, 1).await.unwrap();
        assert_eq!((turns[0].response_step, &turns[0].response), (Some(1), &None), "the answer stands in its step alone");
        let later = both.table.history(&Run { id: both.runs[5], ..run }).await.unwrap();
        assert_eq!(later.last().and_then(|message| message.content.clone()), response);
    });
}
