//! Conversations: the runs of one take turns in order of arrival, and each sees the answers before it.

use std::collections::BTreeMap;

use crate::facts::{Facts, ModelCall, Turn};

/// Tells `broken` of each conversation in which that was not so, and how.
pub(crate) fn judge(facts: &Facts, broken: &mut dyn FnMut(&str, String)) {
    let mut first_calls: BTreeMap<&str, &ModelCall> = BTreeMap::new();
    for call in &facts.calls {
        first_calls.entry(&call.run).or_insert(call);
    }
    for (conversation, turns) in &facts.conversations {
        in_order_of_arrival(facts, conversation, turns, broken);
        one_at_a_time(facts, conversation, turns, &first_calls, broken);
        for (place, turn) in turns.iter().enumerate() {
            if let Some(call) = first_calls.get(turn.run.as_str()) {
                saw_the_answers(facts, conversation, &turns[..place], call, broken);
            }
        }
    }
}

/// A request that was accepted before another was sent has its turn before it.
fn in_order_of_arrival(facts: &Facts, conversation: &str, turns: &[Turn], broken: &mut dyn FnMut(&str, String)) {
    let place = |run: &str| turns.iter().position(|turn| turn.run == run);
    let in_it: Vec<_> = facts.requests.iter().filter_map(|request| Some((request, place(request.runs().into_iter().next()?)?))).collect();
    for (earlier, its_place) in &in_it {
        for (later, other_place) in &in_it {
            let was_first = earlier.accepted_at.is_some_and(|accepted| accepted < later.sent_at);
            if was_first && its_place > other_place {
                broken(conversation, format!("{:?} was accepted before {:?} was sent, and came after it", earlier.prompt, later.prompt));
            }
        }
    }
}

/// The next run begins when the one before has ended. A dead one has, too: it is left out, for it may come back at any time.
fn one_at_a_time(
    facts: &Facts,
    conversation: &str,
    turns: &[Turn],
    first_calls: &BTreeMap<&str, &ModelCall>,
    broken: &mut dyn FnMut(&str, String),
) {
    let lives: Vec<_> = turns
        .iter()
        .filter(|turn| !facts.retried.contains(&turn.run))
        .filter_map(|turn| Some((turn, first_calls.get(turn.run.as_str())?.at, facts.runs.get(&turn.run)?.ended_at?)))
        .collect();
    for pair in lives.windows(2) {
        let [(one, _, ended), (next, begun, _)] = pair else { continue };
        if begun < ended {
            broken(conversation, format!("{} began {} ms before {} ended", next.run, ended - begun, one.run));
        }
    }
}

/// A run is shown what was answered before it began, in order, and nothing else.
fn saw_the_answers(facts: &Facts, conversation: &str, before: &[Turn], call: &ModelCall, broken: &mut dyn FnMut(&str, String)) {
    let question = call.messages.iter().rposition(|(role, _)| role == "user").unwrap_or(0);
    let seen: Vec<&str> = call.messages[..question].iter().map(|(_, text)| text.as_str()).collect();
    let had_ended = |turn: &&Turn| facts.runs.get(&turn.run).and_then(|run| run.ended_at).is_some_and(|ended| ended <= call.at);
    let told = |turn: &'_ Turn| match &turn.response {
        Some(_) => 2,
        None if turn.interrupted => 1,
        None => 0,
    };
    let said = before
        .iter()
        .filter(had_ended)
        .flat_map(|turn| [Some(turn.prompt.as_str()), turn.response.as_deref()].into_iter().take(told(turn)));
    let expected: Vec<&str> = said.flatten().collect();
    if seen != expected {
        broken(conversation, format!("{} was shown {seen:?}, and should have been shown {expected:?}", call.run));
    }
}
