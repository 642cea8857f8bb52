//! Lists and counts over memory.

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::TenantId;
use crate::domain::message::{Message, ToolCall};
use crate::domain::overrides::PresetCall;
use crate::domain::run::Run;
use crate::domain::state::RunState;
use crate::domain::step::{FinishReason, ModelStep, Step, StepBody, ToolStep, Usage};
use crate::fakes::{MemoryStore, a_run};
use crate::operate::{DeadFilter, Whose};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_323_045_000 + ms).unwrap()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// The `n`th dead run: accepted in order, died in another order, and every third of something else.
fn dead(store: &MemoryStore, whose: &str, n: i64) -> Run {
    let mut run = a_run(&tenant(whose), at(n));
    let died_at = at(100_000 + n * 7 % 50);
    let code = if n % 3 == 0 { FailureCode::ProviderTimeout } else { FailureCode::ProviderUnavailable };
    for attempt in 0..=u32::try_from(n % 4).unwrap() {
        run.note(Failure::new(code, format!("no answer within {n} s"), died_at, attempt).of_provider(Some("openai::m".into())));
    }
    run.usage = Usage { input_tokens: u64::try_from(n % 5).unwrap(), ..Usage::default() };
    (run.state, run.ended_at) = (RunState::Dead, Some(died_at));
    store.put(run.clone());
    run
}

async fn all_pages(store: &MemoryStore, whose: Whose<'_>, filter: &DeadFilter, sort: Sort) -> Vec<Run> {
    let (mut behind, mut found) = (None, Vec::new());
    for _ in 0..100 {
        let page = list_dead(store, store, &DeadQuery { whose, filter, sort, behind, limit: 7 }).await.unwrap();
        assert!(page.runs.len() <= 7);
        found.extend(page.runs);
        // As it comes back from a caller.
        behind = page.next.map(|cursor| cursor.to_string().parse::<Cursor>().unwrap());
        if behind.is_none() {
            return found;
        }
    }
    panic!("the list does not end");
}

#[tokio::test]
async fn a_list_is_paged_in_every_order_without_gap_or_repetition() {
    let store = MemoryStore::default();
    for n in 0..50 {
        dead(&store, "acme", n);
    }
    dead(&store, "evil", 1);
    let acme = tenant("acme");
    for (word, is_sorted) in [
        ("died_at", (|one, other| one.ended_at <= other.ended_at) as fn(&Run, &Run) -> bool),
        ("-died_at", |one, other| one.ended_at >= other.ended_at),
        ("created_at", |one, other| one.created_at < other.created_at),
        ("-created_at", |one, other| one.created_at > other.created_at),
        ("-attempts", |one, other| one.failures.len() >= other.failures.len()),
        ("attempts", |one, other| one.failures.len() <= other.failures.len()),
        ("-tokens", |one, other| one.usage.input_tokens >= other.usage.input_tokens),
    ] {
        let sort: Sort = word.parse().unwrap();
        assert_eq!(sort.to_string(), word);
        let found = all_pages(&store, Whose::Tenant(&acme), &DeadFilter::default(), sort).await;
        assert!(found.is_sorted_by(is_sorted), "{word}");
        let mut ids: Vec<_> = found.iter().map(|run| run.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((found.len(), ids.len()), (50, 50), "{word}");
        assert!(found.iter().all(|run| run.tenant == acme));
    }
    assert_eq!(all_pages(&store, Whose::All, &DeadFilter::default(), Sort::default()).await.len(), 51);
}

#[tokio::test]
async fn a_filter_holds_on_every_page_and_in_every_order() {
    let store = MemoryStore::default();
    for n in 0..50 {
        dead(&store, "acme", n);
    }
    let acme = tenant("acme");
    let filter = DeadFilter { code: Some("provider_timeout".into()), min_attempts: Some(2), ..DeadFilter::default() };
    for word in ["-died_at", "created_at", "-tokens"] {
        let found = all_pages(&store, Whose::Tenant(&acme), &filter, word.parse().unwrap()).await;
        assert_eq!(found.len(), 12, "{word}: every third, but for those with one attempt");
        assert!(found.iter().all(|run| run.failures[0].code == "provider_timeout" && run.failures.len() >= 2));
    }
}

#[tokio::test]
async fn a_list_shows_the_records_and_not_what_the_index_remembers() {
    let store = MemoryStore::default();
    let (gone, stays) = (dead(&store, "acme", 1), dead(&store, "acme", 2));
    let acme = tenant("acme");
    let index = Remembers([&stays, &gone].map(|run| run.dead_entry().unwrap()).to_vec());
    store.put(Run { state: RunState::Completed, ..gone });
    let filter = DeadFilter::default();
    let query = DeadQuery { whose: Whose::Tenant(&acme), filter: &filter, sort: Sort::default(), behind: None, limit: 9 };
    assert_eq!(list_dead(&index, &store, &query).await.unwrap().runs, [stays]);
}

/// An index that lags behind.
struct Remembers(Vec<crate::domain::dead::DeadEntry>);

#[async_trait::async_trait]
impl crate::operate::DeadIndex for Remembers {
    async fn dead(
        &self,
        _whose: Whose<'_>,
        _range: &crate::operate::DeadRange,
        _limit: usize,
    ) -> Result<Vec<crate::domain::dead::DeadEntry>, crate::engine::ports::JournalError> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn more_than_can_be_sorted_is_refused_and_still_counted() {
    let store = MemoryStore::default();
    let run = dead(&store, "acme", 1);
    let index = Remembers(vec![run.dead_entry().unwrap(); MOST + 1]);
    let filter = DeadFilter::default();
    let query = |word: &str| DeadQuery { whose: Whose::All, filter: &filter, sort: word.parse().unwrap(), behind: None, limit: 1 };
    assert!(matches!(list_dead(&index, &store, &query("-tokens")).await, Err(ListError::TooMany)));
    assert!(list_dead(&index, &store, &query("-died_at")).await.is_ok());
    let stats = dead_stats(&index, Whose::All, &filter).await.unwrap();
    assert_eq!((stats.count, stats.complete), (MOST as u64, false));
}

#[tokio::test]
async fn what_they_died_of_is_counted_the_largest_first() {
    let store = MemoryStore::default();
    for n in 0..50 {
        dead(&store, "acme", n);
    }
    let acme = tenant("acme");
    let stats = dead_stats(&store, Whose::Tenant(&acme), &DeadFilter::default()).await.unwrap();
    let told: Vec<_> = stats.groups.iter().map(|group| (group.code.as_str(), group.count)).collect();
    assert_eq!((stats.count, stats.complete, told), (50, true, vec![("provider_unavailable", 33), ("provider_timeout", 17)]));
    let group = &stats.groups[1];
    assert_eq!((group.first_died_at, group.last_died_at), (at(100_000), at(100_047)));
    assert_eq!(store.get(group.run).unwrap().ended_at, Some(group.last_died_at), "the example is the last");
    let filter = DeadFilter { fingerprint: Some(group.fingerprint.clone()), ..DeadFilter::default() };
    assert_eq!(dead_stats(&store, Whose::Tenant(&acme), &filter).await.unwrap().count, 17);
}

#[test]
fn only_a_cursor_of_ours_is_one() {
    let run = a_run(&tenant("acme"), at(0)).id;
    let good = format!("-died_at~1767323045000~{run}");
    assert_eq!(good.parse::<Cursor>().unwrap().to_string(), good);
    for bad in [
        "",
        "~",
        "died_at",
        &good[1..4],
        &format!("{good} "),
        &format!("+{good}"),
        &good.replace("17", "+17"),
        &good.replace("run_", "evt_"),
    ] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad}");
    }
    assert!(format!("-died_at~{}~{run}", i64::MAX).parse::<Cursor>().is_err());
    for bad in ["", "-", "--died_at", "DIED_AT", "died_at ", "id"] {
        assert!(bad.parse::<Sort>().is_err(), "{bad}");
    }
}

#[test]
fn where_a_run_stopped_is_the_call_without_a_result_or_the_model() {
    let call = |id: &str| ToolCall { id: id.into(), name: format!("tool-{id}"), arguments: json!({"q": id}) };
    let step = |index, body| Step { index, started_at: at(0), ended_at: at(0), body };
    let model = |index, calls: Vec<ToolCall>| {
        let message = Message { content: None, tool_calls: calls, ..Message::assistant("") };
        step(index, StepBody::Model(ModelStep::new("p".into(), "m".into(), message, FinishReason::ToolCalls, Usage::default())))
    };
    let tool =
        |index, call| step(index, StepBody::Tool(ToolStep { call, output: "r".into(), is_error: false, full: None, stand_in: None }));
    let of = |steps: Vec<Step>| {
        let run = Run { steps: u32::try_from(steps.len()).unwrap(), ..a_run(&tenant("acme"), at(0)) };
        let stopped = stopped_at(&run, &steps, &[]);
        assert_eq!(stopped.index, run.steps + 1);
        stopped.at
    };
    assert_eq!(of(vec![]), StoppedAt::Model(None));
    assert_eq!(of(vec![model(1, vec![call("a"), call("b")])]), StoppedAt::Tool(call("a")));
    assert_eq!(of(vec![model(1, vec![call("a"), call("b")]), tool(2, call("a"))]), StoppedAt::Tool(call("b")));
    assert_eq!(of(vec![model(1, vec![call("a")]), tool(2, call("a"))]), StoppedAt::Model(None));
    let mut run = a_run(&tenant("acme"), at(0));
    let presets = [PresetCall { name: "look".into(), args: json!({}) }];
    assert!(matches!(stopped_at(&run, &[], &presets).at, StoppedAt::Tool(call) if call.name == "look"));
    (run.steps, run.redriven.start.steps) = (2, 2);
    let earlier = [model(1, vec![call("a"), call("b")]), tool(2, call("a"))];
    assert_eq!(stopped_at(&run, &earlier, &[]).at, StoppedAt::Model(None), "what was done before it was started over is no matter");
}
