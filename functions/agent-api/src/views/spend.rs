//! What was used: tokens and money.

use jiff::civil::Date;
use serde::Serialize;
use shared::domain::spend::Spend;
use shared::domain::step::Usage;

use super::run::in_dollars;

/// A sum.
#[derive(Debug, Serialize)]
pub(crate) struct SpendView {
    runs: u64,
    usage: Usage,
    /// Unknown if the price of a part of it is.
    cost_usd: Option<f64>,
    runs_without_price: u64,
}

impl From<Spend> for SpendView {
    fn from(spend: Spend) -> Self {
        Self {
            runs: spend.spent_runs,
            usage: spend.usage(),
            cost_usd: spend.cost_micros().map(in_dollars),
            runs_without_price: spend.unpriced_runs,
        }
    }
}

/// The sums of some days, and of all of them.
#[derive(Debug, Serialize)]
pub(crate) struct UsagePage {
    days: Vec<DayView>,
    total: SpendView,
}

#[derive(Debug, Serialize)]
struct DayView {
    date: Date,
    #[serde(flatten)]
    spend: SpendView,
}

impl UsagePage {
    pub(crate) fn of(days: Vec<(Date, Spend)>) -> Self {
        let total: Spend = days.iter().map(|(_, spend)| *spend).sum();
        let days = days.into_iter().map(|(date, spend)| DayView { date, spend: spend.into() }).collect();
        Self { days, total: total.into() }
    }
}
