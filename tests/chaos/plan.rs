//! What will go wrong, decided by the seed before anything begins: how many faults of each kind, and which worker dies when.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillConsumer,
    KillApi,
    KillSweeper,
    PauseConsumer,
    PauseApi,
    Throttle,
    Error,
    LostReply,
    Delay,
    SendRefused,
    SendReplyLost,
    Duplicate,
    Late,
    Undeleted,
    ModelLimited,
    ModelError,
    ModelHang,
    ModelGarbage,
    ModelCut,
}

/// Who carries a fault out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// This program, by a signal.
    Signal,
    /// The emulator, on an AWS call or a delivery.
    Emulator,
    /// The witness before the model.
    Model,
}

/// Name in the table, share of a hundred faults, who does it.
const KINDS: [(Kind, &str, u32, By); 19] = [
    (Kind::KillConsumer, "queue-consumer killed (-9)", 6, By::Signal),
    (Kind::KillApi, "agent-api killed (-9)", 3, By::Signal),
    (Kind::KillSweeper, "sweeper killed (-9)", 1, By::Signal),
    (Kind::PauseConsumer, "queue-consumer stopped beyond its lease", 2, By::Signal),
    (Kind::PauseApi, "agent-api stopped beyond its lease", 1, By::Signal),
    (Kind::Throttle, "DynamoDB throttled", 11, By::Emulator),
    (Kind::Error, "DynamoDB 500, not done", 10, By::Emulator),
    (Kind::LostReply, "DynamoDB done, reply lost", 10, By::Emulator),
    (Kind::Delay, "DynamoDB slow", 4, By::Emulator),
    (Kind::SendRefused, "SQS call refused", 6, By::Emulator),
    (Kind::SendReplyLost, "SQS call done, reply lost", 4, By::Emulator),
    (Kind::Duplicate, "message delivered twice at once", 7, By::Emulator),
    (Kind::Late, "message overtaken by others", 5, By::Emulator),
    (Kind::Undeleted, "message delivered again when done", 4, By::Emulator),
    (Kind::ModelLimited, "model 429", 6, By::Model),
    (Kind::ModelError, "model 500", 6, By::Model),
    (Kind::ModelHang, "model hangs beyond the time-out", 4, By::Model),
    (Kind::ModelGarbage, "model answers garbage", 5, By::Model),
    (Kind::ModelCut, "model cut in the middle of the answer", 5, By::Model),
];

impl Kind {
    /// All kinds, in the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, ..)| *kind)
    }

    /// As a reader knows it.
    pub(crate) fn name(self) -> &'static str {
        self.entry().1
    }

    /// Who carries it out.
    pub(crate) fn by(self) -> By {
        self.entry().3
    }

    /// The function whose worker it strikes, if it does.
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::KillApi | Self::PauseApi => "agent-api",
            Self::KillSweeper => "sweeper",
            _ => "queue-consumer",
        }
    }

    /// Whether it stops a worker for a while, rather than killing it.
    pub(crate) fn stops(self) -> bool {
        matches!(self, Self::PauseConsumer | Self::PauseApi)
    }

    /// As the command line knows it, e.g. `lost_reply`.
    pub(crate) fn word(self) -> String {
        let mut word = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !word.is_empty() {
                word.push('_');
            }
            word.extend(letter.to_lowercase());
        }
        word
    }

    fn entry(self) -> &'static (Self, &'static str, u32, By) {
        KINDS.iter().find(|(kind, ..)| *kind == self).unwrap_or(&KINDS[0])
    }
}

/// A worker that is killed or stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Blow {
    /// How.
    pub(crate) kind: Kind,
    /// How long after the one before.
    pub(crate) after: Duration,
    /// Which of the workers there are then, from 0 to 1.
    pub(crate) pick: f64,
    /// How much longer than the lease a stopped one sleeps.
    pub(crate) beyond: Duration,
}

/// All that will go wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// How many faults of each kind.
    pub(crate) counts: BTreeMap<Kind, u32>,
    /// Workers, in order.
    pub(crate) blows: Vec<Blow>,
}

impl Plan {
    /// `total` faults of these kinds; the same seed gives the same plan.
    pub(crate) fn draw(seed: u64, total: u32, kinds: &[Kind]) -> Self {
        let mut dice = Rng::with_seed(seed);
        let weights: Vec<(Kind, u32)> = KINDS.iter().filter(|entry| kinds.contains(&entry.0)).map(|entry| (entry.0, entry.2)).collect();
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut counts: BTreeMap<Kind, u32> = weights.iter().map(|(kind, _)| (*kind, 0)).collect();
        let mut order = Vec::new();
        for place in 0..total {
            // One of each first, so that a short run leaves no kind out.
            let kind = match weights.get(place as usize) {
                Some((kind, _)) => *kind,
                None => weighted(&weights, dice.u32(0..sum.max(1))),
            };
            *counts.entry(kind).or_default() += 1;
            order.push(kind);
        }
        order.retain(|kind| kind.by() == By::Signal);
        dice.shuffle(&mut order);
        let blows = order.into_iter().map(|kind| Blow {
            kind,
            after: Duration::from_millis(dice.u64(400..2_400)),
            pick: dice.f64(),
            beyond: Duration::from_millis(dice.u64(1_000..5_000)),
        });
        Self { counts, blows: blows.collect() }
    }

    /// How many of the faults are carried out by `by`.
    pub(crate) fn total(&self, by: By) -> u32 {
        self.counts.iter().filter(|(kind, _)| kind.by() == by).map(|(_, count)| count).sum()
    }

    /// How long the blows take, one after the other.
    pub(crate) fn span(&self) -> Duration {
        self.blows.iter().map(|blow| blow.after).sum()
    }
}

fn weighted(weights: &[(Kind, u32)], mut drawn: u32) -> Kind {
    for (kind, weight) in weights {
        if drawn < *weight {
            return *kind;
        }
        drawn -= weight;
    }
    weights.first().map_or(Kind::Throttle, |(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Kind> {
        Kind::all().collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        assert_eq!(Plan::draw(7, 200, &all()), Plan::draw(7, 200, &all()));
        assert_ne!(Plan::draw(7, 200, &all()), Plan::draw(8, 200, &all()));
    }

    #[test]
    fn a_plan_has_as_many_faults_as_asked_for_and_some_of_each_kind() {
        for total in [19, 60, 1000] {
            let plan = Plan::draw(1, total, &all());
            assert_eq!(plan.counts.values().sum::<u32>(), total);
            assert!(plan.counts.values().all(|count| *count > 0), "{:?}", plan.counts);
            assert_eq!(plan.blows.len(), plan.total(By::Signal) as usize);
        }
        assert_eq!(Plan::draw(1, 5, &[Kind::KillApi]).counts, BTreeMap::from([(Kind::KillApi, 5)]));
    }

    #[test]
    fn the_shares_are_of_a_hundred_and_every_kind_has_a_word_of_its_own() {
        assert_eq!(KINDS.iter().map(|entry| entry.2).sum::<u32>(), 100);
        let words: std::collections::BTreeSet<String> = Kind::all().map(Kind::word).collect();
        assert_eq!(words.len(), KINDS.len());
        assert!(words.contains("lost_reply") && words.contains("kill_consumer"), "{words:?}");
    }
}
