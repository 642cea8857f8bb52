//! What the routes of replays answer.

use serde::Serialize;
use shared::domain::failure::Failure;
use shared::domain::id::{EventId, RunId};
use shared::domain::job::Outcome;
use shared::domain::state::RunState;
use shared::replay::{Candidate, Comparison, Difference, Plan, ReplayOrder, ReplayPage, ReplayResult, Side};

/// Runs that a dry run names; it counts all that it found.
const MOST_NAMED: usize = 1_000;
/// Characters of an answer that are shown beside another; all of it is at its run.
const LONGEST_ANSWER: usize = 20_000;
/// Bytes of a page: Lambda takes 6 MB, and our JSON is a text within Lambda's own, where it grows.
const LARGEST_PAGE: usize = 3_000_000;

/// What a replay would do.
#[derive(Debug, Serialize)]
pub(super) struct PlanView {
    dry_run: bool,
    events: usize,
    would_start: usize,
    matches: Vec<MatchView>,
    would_skip: Vec<SkipView>,
    complete: bool,
}

#[derive(Debug, Serialize)]
struct MatchView {
    event_id: EventId,
    #[serde(rename = "type")]
    kind: String,
    trigger: Option<String>,
    agent: String,
    replay_of: Option<RunId>,
}

#[derive(Debug, Serialize)]
struct SkipView {
    id: String,
    detail: &'static str,
}

/// A page of what a replay came to.
#[derive(Debug, Serialize)]
pub(super) struct ResultPageView {
    results: Vec<ResultView>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct ResultView {
    /// What it was about: an event and its trigger, or a run.
    id: String,
    outcome: Outcome,
    detail: String,
    event_id: Option<EventId>,
    trigger: Option<String>,
    old: Option<SideView>,
    new: Option<SideView>,
    difference: Option<DifferenceView>,
}

#[derive(Debug, Serialize)]
struct SideView {
    run_id: RunId,
    agent: String,
    status: RunState,
    answer: Option<String>,
    error: Option<Failure>,
    steps: u32,
    input_tokens: u64,
    output_tokens: u64,
    cost_usd: Option<f64>,
    duration_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct DifferenceView {
    same_answer: Option<bool>,
    status_changed: bool,
    steps: i64,
    input_tokens: i64,
    output_tokens: i64,
    cost_usd: Option<f64>,
    duration_ms: Option<i64>,
}

impl PlanView {
    pub(super) fn of(plan: Plan, order: &ReplayOrder) -> Self {
        let of_order = |candidate: Candidate| MatchView {
            event_id: candidate.event,
            kind: candidate.kind,
            trigger: candidate.trigger,
            agent: order.agent.clone().unwrap_or(candidate.agent),
            replay_of: candidate.of,
        };
        Self {
            dry_run: true,
            events: plan.looked_at,
            would_start: plan.matches.len(),
            matches: plan.matches.into_iter().take(MOST_NAMED).map(of_order).collect(),
            would_skip: plan.nothing.into_iter().map(|(id, detail)| SkipView { id, detail }).collect(),
            complete: plan.complete,
        }
    }
}

impl ResultPageView {
    pub(super) fn of(page: ReplayPage) -> Self {
        let (mut results, mut next_cursor, mut bytes) = (Vec::new(), page.next, 0);
        for result in page.results.into_iter().map(ResultView::of) {
            bytes += serde_json::to_vec(&result).map_or(LARGEST_PAGE, |json| json.len());
            if bytes > LARGEST_PAGE && !results.is_empty() {
                next_cursor = results.last().map(|last: &ResultView| last.id.clone());
                break;
            }
            results.push(result);
        }
        Self { results, next_cursor }
    }
}

impl ResultView {
    fn of(one: ReplayResult) -> Self {
        let ReplayResult { result, comparison } = one;
        let id = result.key;
        let mut view = Self {
            event_id: id.split('#').next().and_then(|event| event.parse().ok()),
            trigger: id.split_once('#').map(|(_, trigger)| trigger.to_owned()),
            id,
            outcome: result.outcome,
            detail: result.detail,
            old: None,
            new: None,
            difference: None,
        };
        if let Some(Comparison { event, trigger, old, new, difference }) = comparison {
            (view.event_id, view.trigger) = (Some(event), trigger);
            (view.old, view.new) = (old.map(SideView::of), Some(SideView::of(new)));
            view.difference = difference.map(DifferenceView::of);
        }
        view
    }
}

impl SideView {
    fn of(side: Side) -> Self {
        let Side { run, agent, status, answer, error, steps, input_tokens, output_tokens, cost_micros, duration_ms } = side;
        let answer = answer.map(|answer| answer.chars().take(LONGEST_ANSWER).collect());
        let cost_usd = cost_micros.map(|micros| in_dollars(i64::try_from(micros).unwrap_or(i64::MAX)));
        Self { run_id: run, agent, status, answer, error, steps, input_tokens, output_tokens, cost_usd, duration_ms }
    }
}

impl DifferenceView {
    fn of(difference: Difference) -> Self {
        let Difference { same_answer, status_changed, steps, input_tokens, output_tokens, cost_micros, duration_ms } = difference;
        Self { same_answer, status_changed, steps, input_tokens, output_tokens, cost_usd: cost_micros.map(in_dollars), duration_ms }
    }
}

/// Millionths of a dollar as dollars, for reading.
#[expect(clippy::cast_precision_loss, reason = "exact below nine thousand million dollars")]
fn in_dollars(micros: i64) -> f64 {
    micros as f64 / 1e6
}
