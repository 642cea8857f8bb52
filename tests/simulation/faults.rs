//! What goes wrong, how often, and which of it is switched off again to find out what a failure needs.

/// Everything that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A process ends where it stands.
    Kill,
    /// A process stands still, perhaps for longer than its lease, and goes on.
    Freeze,
    /// A process reaches neither store nor queue for a while.
    CutOff,
    /// A process panics.
    Panic,
    /// One call of the store fails before it has an effect.
    StoreFails,
    /// One call of the store has its effect; its answer is lost.
    StoreReplyLost,
    /// One call of the store is given up by its caller and has its effect later.
    StoreLate,
    /// The transport makes a claim or a renewal twice.
    StoreRepeats,
    /// The index of what is due shows what was, or nothing.
    IndexLags,
    /// A message cannot be sent.
    SendFails,
    /// A message is sent, the answer is lost.
    SendReplyLost,
    /// The transport sends a message twice.
    SendTwice,
    /// A message is sent and never seen again.
    MessageLost,
    /// A message is seen late.
    MessageLate,
    /// A message is delivered to two workers at once.
    DeliveredTwice,
    /// A deleted message is seen again.
    DeleteForgotten,
    /// A message cannot be hidden, or shown.
    HideFails,
    /// The provider fails.
    ModelFails,
    /// The provider has no room.
    ModelThrottles,
    /// The provider's answer is useless.
    ModelGarbles,
    /// The provider is slow, or never answers.
    ModelHangs,
    /// The provider refuses the request for good.
    ModelRefuses,
    /// A tool does what it should and never answers.
    ToolHangs,
}

impl Fault {
    /// Every fault, with how often it strikes where it is frequent, in a million chances.
    const ALL: [(Self, u32); 23] = [
        (Self::Kill, 8_000),
        (Self::Freeze, 6_000),
        (Self::CutOff, 4_000),
        (Self::Panic, 30_000),
        (Self::StoreFails, 25_000),
        (Self::StoreReplyLost, 25_000),
        (Self::StoreLate, 25_000),
        (Self::StoreRepeats, 100_000),
        (Self::IndexLags, 200_000),
        (Self::SendFails, 100_000),
        (Self::SendReplyLost, 100_000),
        (Self::SendTwice, 100_000),
        (Self::MessageLost, 50_000),
        (Self::MessageLate, 100_000),
        (Self::DeliveredTwice, 150_000),
        (Self::DeleteForgotten, 50_000),
        (Self::HideFails, 100_000),
        (Self::ModelFails, 200_000),
        (Self::ModelThrottles, 200_000),
        (Self::ModelGarbles, 50_000),
        (Self::ModelHangs, 50_000),
        (Self::ModelRefuses, 20_000),
        (Self::ToolHangs, 100_000),
    ];
}

/// The faults of one simulation.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    rng: fastrand::Rng,
    rates: Vec<u32>,
    counts: Vec<u32>,
    struck: u32,
    off: Vec<u32>,
    is_over: bool,
}

impl Faults {
    /// Each kind is absent in some simulations, rare in some and frequent in others, so that they meet in all combinations.
    /// Those with a number in `off` do not happen.
    pub(crate) fn new(seed: u64, off: &[u32]) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5fa0_17f5);
        // One simulation in sixteen is free of faults: then all has to go by the book.
        let none = rng.u8(0..16) == 0;
        let rates = Fault::ALL.map(|(_, frequent)| match rng.u8(0..4) {
            0 | 1 => 0,
            2 => frequent / 4,
            _ => frequent,
        });
        let rates = if none { vec![0; rates.len()] } else { rates.to_vec() };
        Self { rng, counts: vec![0; rates.len()], rates, struck: 0, off: off.to_vec(), is_over: false }
    }

    /// Whether `fault` happens at this opportunity, and its number.
    pub(crate) fn strike(&mut self, fault: Fault) -> Option<u32> {
        let place = Fault::ALL.iter().position(|(other, _)| *other == fault)?;
        if self.is_over || self.rng.u32(0..1_000_000) >= self.rates[place] {
            return None;
        }
        self.struck += 1;
        if self.off.contains(&self.struck) {
            return None;
        }
        self.counts[place] += 1;
        Some(self.struck)
    }

    /// No more from now on.
    pub(crate) fn stop(&mut self) {
        self.is_over = true;
    }

    /// How often each kind has happened.
    pub(crate) fn counts(&self) -> Vec<(Fault, u32)> {
        Fault::ALL.iter().map(|(fault, _)| *fault).zip(self.counts.iter().copied()).collect()
    }

    /// The number of the last one.
    pub(crate) const fn struck(&self) -> u32 {
        self.struck
    }
}
