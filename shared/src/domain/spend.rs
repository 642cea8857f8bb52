//! What runs have used: tokens and money, summed up by conversation, tenant and day. Each run counts once for what it has used
//! since it last ended: a dead run that is put back and ends again adds what came on top.

use std::iter::Sum;
use std::ops::AddAssign;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::run::Run;
use super::step::Usage;

/// Over how many items the spend of one tenant on one day is spread. Each end of a run adds to one of them within its transaction, and
/// two transactions on one item collide: at 1,000 runs a second each item sees 16 writes a second.
pub const SHARDS: u8 = 64;

/// A sum. Its parts have names of their own, because a store adds to each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Runs that have used anything.
    #[serde(default)]
    pub spent_runs: u64,
    /// Tokens read.
    #[serde(default)]
    pub spent_input: u64,
    /// Tokens written.
    #[serde(default)]
    pub spent_output: u64,
    /// Tokens out of a cache.
    #[serde(default)]
    pub spent_cached: u64,
    /// Tokens into a cache.
    #[serde(default)]
    pub spent_cache_write: u64,
    /// Tokens of thoughts.
    #[serde(default)]
    pub spent_reasoning: u64,
    /// Millionths of a US dollar, of the runs whose price is known.
    #[serde(default)]
    pub spent_micros: u64,
    /// Runs whose price is not known.
    #[serde(default)]
    pub unpriced_runs: u64,
}

/// What was counted of a run already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Tokens.
    pub usage: Usage,
    /// Millionths of a US dollar; absent if the price was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// What one end of a run adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// The day of its end, UTC.
    pub day: Date,
    /// Which of the [`SHARDS`] items.
    pub shard: u8,
    /// The sum.
    pub spend: Spend,
}

impl AddAssign for Spend {
    fn add_assign(&mut self, other: Self) {
        for ((_, sum), (_, more)) in self.parts_mut().into_iter().zip(other.parts()) {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Sum for Spend {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::NONE, |mut sum, more| {
            sum += more;
            sum
        })
    }
}

impl Spend {
    /// Nothing.
    pub const NONE: Self = Self {
        spent_runs: 0,
        spent_input: 0,
        spent_output: 0,
        spent_cached: 0,
        spent_cache_write: 0,
        spent_reasoning: 0,
        spent_micros: 0,
        unpriced_runs: 0,
    };

    /// Its parts by name, as they stand in a record.
    #[must_use]
    pub fn parts(mut self) -> [(&'static str, u64); 8] {
        self.parts_mut().map(|(name, part)| (name, *part))
    }

    fn parts_mut(&mut self) -> [(&'static str, &mut u64); 8] {
        [
            ("spent_runs", &mut self.spent_runs),
            ("spent_input", &mut self.spent_input),
            ("spent_output", &mut self.spent_output),
            ("spent_cached", &mut self.spent_cached),
            ("spent_cache_write", &mut self.spent_cache_write),
            ("spent_reasoning", &mut self.spent_reasoning),
            ("spent_micros", &mut self.spent_micros),
            ("unpriced_runs", &mut self.unpriced_runs),
        ]
    }

    /// Its tokens.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.spent_input,
            output_tokens: self.spent_output,
            cached_input_tokens: self.spent_cached,
            cache_write_tokens: self.spent_cache_write,
            reasoning_tokens: self.spent_reasoning,
        }
    }

    /// What all of it has cost, in millionths of a US dollar; unknown if a part of it is.
    #[must_use]
    pub const fn cost_micros(&self) -> Option<u64> {
        if self.unpriced_runs == 0 { Some(self.spent_micros) } else { None }
    }
}

impl Run {
    /// What it has used since this was last asked; nothing if nothing. From now on it is counted.
    pub fn count_spend(&mut self) -> Option<Spent> {
        let before = self.counted.unwrap_or_default();
        if self.usage == before.usage {
            return None;
        }
        let is_first = self.counted.is_none();
        let was_priced = is_first || before.cost_micros.is_some();
        let used = self.usage.since(before.usage);
        let spend = Spend {
            spent_runs: u64::from(is_first),
            spent_input: used.input_tokens,
            spent_output: used.output_tokens,
            spent_cached: used.cached_input_tokens,
            spent_cache_write: used.cache_write_tokens,
            spent_reasoning: used.reasoning_tokens,
            spent_micros: self.cost_micros.unwrap_or(0).saturating_sub(before.cost_micros.unwrap_or(0)),
            unpriced_runs: u64::from(self.cost_micros.is_none() && was_priced),
        };
        self.counted = Some(Counted { usage: self.usage, cost_micros: self.cost_micros });
        let at = self.ended_at.unwrap_or(self.updated_at);
        Some(Spent { day: at.to_zoned(TimeZone::UTC).date(), shard: self.id.shard(SHARDS), spend })
    }
}

impl Spent {
    /// All of these as one: what ends in one transaction is added in one place.
    #[must_use]
    pub fn together(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|mut sum, more| {
            sum.spend += more.spend;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fakes::a_run;

    fn used(input_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens: 1, ..Usage::default() }
    }

    #[test]
    fn a_run_counts_once_for_what_it_has_used() {
        let mut run = a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        assert_eq!(run.count_spend(), None, "it has used nothing");
        (run.usage, run.cost_micros) = (used(10), Some(7));
        let first = run.count_spend().unwrap().spend;
        assert_eq!((first.spent_runs, first.usage(), first.cost_micros()), (1, used(10), Some(7)));
        assert_eq!(run.count_spend(), None, "it is counted");
        (run.usage, run.cost_micros) = (used(25), Some(9));
        let mut sum = run.count_spend().unwrap().spend;
        assert_eq!((sum.spent_runs, sum.spent_input, sum.spent_output, sum.spent_micros), (0, 15, 0, 2));
        sum += first;
        assert_eq!((sum.usage(), sum.cost_micros()), (used(25), Some(9)));
    }

    #[test]
    fn an_unknown_price_makes_the_sum_unknown_once_and_not_zero() {
        let mut run = a_run(&"acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        (run.usage, run.cost_micros) = (used(10), Some(7));
        let mut sum = run.count_spend().unwrap().spend;
        (run.usage, run.cost_micros) = (used(20), None);
        sum += run.count_spend().unwrap().spend;
        run.usage = used(30);
        sum += run.count_spend().unwrap().spend;
        assert_eq!((sum.spent_runs, sum.unpriced_runs, sum.spent_micros, sum.cost_micros()), (1, 1, 7, None));
    }
}
