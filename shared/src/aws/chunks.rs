//! Steps as items. A step that is larger than an item (400 KB) stands in several, which are written in one transaction and joined
//! when they are read (ADR 0012).
//!
//! | item | sk | what it holds |
//! |---|---|---|
//! | the step | `step#000003` | the first part of its JSON; `parts`, their number, if there is more than one |
//! | its other parts | `step#000003#01` … | the rest, in order |

use super::items::{Item, Key, json_text, n, s};
use super::unavailable;
use crate::domain::run::Run;
use crate::domain::step::Step;
use crate::engine::ports::JournalError;

/// Bytes of a step's JSON in one item: with its keys and names it stays below 400 KB (409,600 bytes).
pub(super) const PART: usize = 350_000;

/// The items of a step, the first one first.
pub(super) fn step_items(run: &Run, step: &Step) -> Result<Vec<Item>, JournalError> {
    let text = json_text(step)?;
    let parts = split(&text);
    let item = |number: usize| {
        let key =
            if number == 0 { Key::step(&run.tenant, run.id, step.index) } else { Key::step_part(&run.tenant, run.id, step.index, number) };
        let mut item = key.into_item();
        item.insert("body".into(), s(parts[number]));
        if number == 0 && parts.len() > 1 {
            item.insert("parts".into(), n(parts.len()));
        }
        item
    };
    Ok((0..parts.len()).map(item).collect())
}

/// Parts of at most [`PART`] bytes, cut between characters.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while rest.len() > PART {
        let (part, behind) = rest.split_at(rest.floor_char_boundary(PART));
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts
}

/// Puts steps together from their items as they come, in order.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// The steps that are whole.
    pub(super) steps: Vec<Step>,
    /// How many parts the last one still lacks.
    pub(super) lacking: usize,
    /// Bytes read.
    pub(super) bytes: usize,
    text: String,
}

impl Joiner {
    /// Takes the next item.
    pub(super) fn take(&mut self, item: &Item) -> Result<(), JournalError> {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let (Some(sk), Some(body)) = (text("sk"), text("body")) else { return Err(broken()) };
        let is_first = sk.matches('#').count() == 1;
        // A part without its step, or a step within another's parts.
        if is_first != (self.lacking == 0) {
            return Err(broken());
        }
        self.bytes += body.len();
        if is_first {
            let parts: usize = match item.get("parts") {
                None => 1,
                Some(parts) => parts.as_n().ok().and_then(|parts| parts.parse().ok()).ok_or_else(broken)?,
            };
            self.text.clear();
            self.lacking = parts.saturating_sub(1);
        } else {
            self.lacking -= 1;
        }
        self.text.push_str(body);
        if self.lacking == 0 {
            self.steps.push(serde_json::from_str(&self.text).map_err(unavailable)?);
        }
        Ok(())
    }
}

fn broken() -> JournalError {
    JournalError::Unavailable("a step in the journal is not whole".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::clock::Clock;
    use crate::domain::step::{LARGEST_STEP, StepBody, ToolStep};
    use crate::fakes::{FixedClock, a_run};

    fn run() -> Run {
        a_run(&"acme".parse().unwrap(), FixedClock::at("2026-01-02T03:04:05.678Z").now())
    }

    fn step(index: u32, output: String) -> Step {
        let at = run().created_at;
        let call = crate::domain::message::ToolCall { id: "c".into(), name: "clock".into(), arguments: serde_json::json!({}) };
        Step {
            index,
            started_at: at,
            ended_at: at,
            body: StepBody::Tool(ToolStep { call, output, is_error: false, full: None, stand_in: None }),
        }
    }

    /// By DynamoDB's rules: names and texts by their bytes.
    fn size(item: &Item) -> usize {
        item.iter().map(|(name, value)| name.len() + value.as_s().or_else(|_| value.as_n()).map_or(0, String::len)).sum()
    }

    #[test]
    fn the_largest_step_there_and_back_in_items_that_fit() {
        let overhead = step(3, String::new()).size();
        // Characters of three bytes: the parts must not be cut within one.
        let step = step(3, "€".repeat((LARGEST_STEP - overhead) / 3));
        let items = step_items(&run(), &step).unwrap();
        assert_eq!(items.len(), 9);
        assert!(items.iter().all(|item| size(item) < 400 * 1024), "{:?}", items.iter().map(size).collect::<Vec<_>>());
        assert!(items.iter().map(size).sum::<usize>() < 4 * 1024 * 1024 - 900 * 1024, "a transaction has room for what goes with it");
        let mut joiner = Joiner::default();
        for item in &items {
            joiner.take(item).unwrap();
        }
        assert_eq!((joiner.steps, joiner.lacking), (vec![step], 0));
    }

    #[test]
    fn a_step_that_is_not_whole_is_an_error_and_not_a_shorter_one() {
        let items = step_items(&run(), &step(3, "x".repeat(PART * 2))).unwrap();
        let next = &step_items(&run(), &step(4, String::new())).unwrap()[0];
        for wrong in [vec![&items[1]], vec![&items[0], next], vec![&items[0], &items[1], next]] {
            let mut joiner = Joiner::default();
            let (last, before) = wrong.split_last().unwrap();
            before.iter().for_each(|item| joiner.take(item).unwrap());
            assert!(joiner.take(last).is_err());
        }
        let mut joiner = Joiner::default();
        joiner.take(&items[0]).unwrap();
        assert_eq!((joiner.steps.len(), joiner.lacking), (0, items.len() - 1), "its rest may be on the next page");
    }

    proptest! {
        #[test]
        fn parts_are_what_they_were_split_from(lengths in prop::collection::vec(0_usize..400_000, 1..4), start in 0_usize..4) {
            let text: String = lengths.iter().enumerate().map(|(n, length)| ["a", "ä", "€", "🦀"][(n + start) % 4].repeat(length / 4)).collect();
            let parts = split(&text);
            prop_assert!(parts.iter().all(|part| part.len() <= PART && (!part.is_empty() || text.is_empty())));
            prop_assert_eq!(parts.concat(), text);
        }
    }
}
