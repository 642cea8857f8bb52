//! Questions and answers of many runs, read in batches: three keys for a run at most.

use std::collections::HashMap;

use async_trait::async_trait;

use super::chunks::Joiner;
use super::items::{Item, Key, Table, event_of, input_of};
use super::unavailable;
use crate::domain::id::TenantId;
use crate::domain::run::Run;
use crate::domain::step::Step;
use crate::engine::ports::JournalError;
use crate::operate::{Content, Contents};

type Keyed = HashMap<(String, String), Item>;

fn input_key(run: &Run) -> Key {
    if run.has_own_input() { Key::input(run) } else { Key::event(&run.tenant, run.event) }
}

/// The step of the answer and the one behind it, which may be what was said of it.
fn answer_indices(run: &Run) -> impl Iterator<Item = u32> {
    run.answered_at.into_iter().flat_map(|at| [at, at.saturating_add(1)]).filter(|index| *index <= run.steps)
}

impl Table {
    async fn answer_of(&self, run: &Run, found: &Keyed) -> Result<Vec<Step>, JournalError> {
        let mut steps = Vec::new();
        for index in answer_indices(run) {
            let Key { pk, sk } = Key::step(&run.tenant, run.id, index);
            let Some(item) = found.get(&(pk, sk)) else { continue };
            let mut read = Joiner::default();
            read.take(item)?;
            // A step of several items is rare: the rest of it is read by itself.
            let read = if read.lacking == 0 { read.steps } else { self.read_steps(&run.tenant, run.id, index - 1, Some(1)).await? };
            steps.extend(read);
        }
        Ok(steps)
    }
}

fn place(item: &Item) -> Option<(String, String)> {
    let part = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some((part("pk")?, part("sk")?))
}

#[async_trait]
impl Contents for Table {
    async fn contents(&self, _tenant: &TenantId, runs: &[Run]) -> Result<Vec<Content>, JournalError> {
        let keys =
            runs.iter().flat_map(|run| answer_indices(run).map(|index| Key::step(&run.tenant, run.id, index)).chain([input_key(run)]));
        let found: Keyed = self.get_all(keys).await?.into_iter().filter_map(|item| Some((place(&item)?, item))).collect();
        let mut contents = Vec::with_capacity(runs.len());
        for run in runs {
            let Key { pk, sk } = input_key(run);
            let input = match found.get(&(pk, sk)) {
                None => None,
                Some(item) if run.has_own_input() => Some(input_of(item)?),
                Some(item) => Some(event_of(item)?.agent_input().map_err(unavailable)?),
            };
            contents.push(Content { input, answer: self.answer_of(run, &found).await? });
        }
        Ok(contents)
    }
}
