//! The file of prices.

use serde::Deserialize;

use super::{At, Checks, filled};
use crate::domain::definition::Price;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    provider: At<String>,
    model: At<String>,
    #[serde(default, deserialize_with = "filled")]
    max_input_tokens: Option<At<u64>>,
    input_per_million_usd: At<f64>,
    #[serde(default, deserialize_with = "filled")]
    cached_input_per_million_usd: Option<At<f64>>,
    #[serde(default, deserialize_with = "filled")]
    cache_write_per_million_usd: Option<At<f64>>,
    output_per_million_usd: At<f64>,
    as_of: At<String>,
    source: At<String>,
}

pub(super) fn read(checks: &mut Checks, text: &str) -> Vec<Price> {
    let files: Vec<PriceFile> = checks.parse(text).unwrap_or_default();
    let mut prices: Vec<Price> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let field = |name: &str| format!("[{i}].{name}");
        let price = Price {
            provider: beginning(checks, &file.provider, &field("provider")),
            model: beginning(checks, &file.model, &field("model")),
            max_input_tokens: file.max_input_tokens.as_ref().map(|at| checks.within(at, &field("max_input_tokens"), 1, 1_000_000_000)),
            input_micros_per_million: checks.micros(&file.input_per_million_usd, &field("input_per_million_usd")),
            cached_input_micros_per_million: file
                .cached_input_per_million_usd
                .as_ref()
                .map(|at| checks.micros(at, &field("cached_input_per_million_usd"))),
            cache_write_micros_per_million: file
                .cache_write_per_million_usd
                .as_ref()
                .map(|at| checks.micros(at, &field("cache_write_per_million_usd"))),
            output_micros_per_million: checks.micros(&file.output_per_million_usd, &field("output_per_million_usd")),
            as_of: file.as_of.value.clone(),
            source: file.source.value.clone(),
        };
        if !is_day(&price.as_of) {
            checks.refuse(
                &file.as_of,
                &field("as_of"),
                format!("must be the day on which it was looked up, e.g. 2026-11-22; it is `{}`", price.as_of),
            );
        }
        if !price.source.starts_with("https://") {
            checks.refuse(&file.source, &field("source"), "must be the https:// address at which it was looked up");
        }
        let key = |price: &Price| (price.provider.clone(), price.model.clone(), price.max_input_tokens);
        if prices.iter().any(|other| key(other) == key(&price)) {
            checks.refuse(
                &file.model,
                &field("model"),
                format!("`{}` of `{}` has a price already; change that one", price.model, price.provider),
            );
        }
        prices.push(price);
    }
    prices
}

/// A name, or the beginning of one and `*`.
fn beginning(checks: &mut Checks, at: &At<String>, field: &str) -> String {
    let text = checks.text(at, field, 128);
    if text.strip_suffix('*').unwrap_or(&text).contains('*') || text == "*" {
        checks.refuse(at, field, format!("may have one `*`, at its end, after a beginning; it is `{text}`"));
    }
    text
}

fn is_day(text: &str) -> bool {
    let mut parts = text.split('-').map(|part| (part.len(), part.parse::<u32>().unwrap_or(0)));
    let day = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(day, (Some((4, 2000..)), Some((2, 1..=12)), Some((2, 1..=31)), None))
}
