//! What a model call costs. The prices are in `infra/agents/prices.yaml`.

pub use super::definition::Price;
use super::step::Usage;

/// Millionths of a US dollar that one call cost with these prices, rounded up; `None` if none is for it. The closest name counts: the model's before the provider's, a whole one before a
/// beginning, a longer beginning before a shorter; then the lowest limit that the call keeps.
#[must_use]
pub fn cost_in(prices: &[Price], provider: &str, model: &str, usage: &Usage) -> Option<u64> {
    let named = prices.iter().filter_map(|price| Some(((closeness(&price.model, model)?, closeness(&price.provider, provider)?), price)));
    // The closest name counts even where its limit is too low: the price of another model would be a guess.
    let closest = named.clone().map(|(closeness, _)| closeness).max()?;
    let fitting = named.filter(|(closeness, price)| *closeness == closest && usage.input_tokens <= limit(price));
    let (_, price) = fitting.min_by_key(|(_, price)| limit(price))?;
    let (cached, written) = (usage.cached_input_tokens, usage.cache_write_tokens);
    let plain = usage.input_tokens.saturating_sub(cached.saturating_add(written));
    let input = price.input_micros_per_million;
    let parts = [
        (plain, input),
        (cached, price.cached_input_micros_per_million.unwrap_or(input)),
        (written, price.cache_write_micros_per_million.unwrap_or(input)),
        (usage.output_tokens, price.output_micros_per_million),
    ];
    // Four products of two 64-bit numbers: only absurd ones leave 128 bits.
    let sum = parts.into_iter().try_fold(0_u128, |sum, (tokens, micros)| sum.checked_add(u128::from(tokens) * u128::from(micros)))?;
    u64::try_from(sum.div_ceil(1_000_000)).ok()
}

fn limit(price: &Price) -> u64 {
    price.max_input_tokens.unwrap_or(u64::MAX)
}

/// How close a name, or a beginning and `*`, is to `name`; `None` if it is not for it.
fn closeness(pattern: &str, name: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning).then_some(beginning.len()),
        None => (pattern == name).then_some(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(provider: &str, model: &str, max_input_tokens: Option<u64>, input: u64, output: u64) -> Price {
        Price {
            provider: provider.into(),
            model: model.into(),
            max_input_tokens,
            input_micros_per_million: input,
            cached_input_micros_per_million: None,
            cache_write_micros_per_million: None,
            output_micros_per_million: output,
            as_of: "2026-11-22".into(),
            source: "https://example.com".into(),
        }
    }

    fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
        Usage { input_tokens, output_tokens, ..Usage::default() }
    }

    #[test]
    fn a_call_costs_what_its_tokens_cost_rounded_up() {
        let prices = [price("p", "m", None, 150_000, 600_000)];
        for (usage, cost) in [(usage(0, 0), 0), (usage(1, 0), 1), (usage(1_000_000, 500_000), 450_000), (usage(1_000, 1_001), 751)] {
            assert_eq!(cost_in(&prices, "p", "m", &usage), Some(cost), "{usage:?}");
        }
        assert_eq!(cost_in(&prices, "p", "m", &usage(u64::MAX, u64::MAX)), Some(13_835_058_055_282_163_712));
        let dear = [price("p", "m", None, u64::MAX, 0)];
        assert_eq!(cost_in(&dear, "p", "m", &usage(u64::MAX, 0)), None);
    }

    #[test]
    fn tokens_of_the_cache_have_their_own_price_or_that_of_all_others() {
        let usage = Usage { cached_input_tokens: 800, cache_write_tokens: 100, ..usage(1_000, 0) };
        let plain = price("p", "m", None, 1_000_000, 0);
        let own =
            Price { cached_input_micros_per_million: Some(100_000), cache_write_micros_per_million: Some(1_250_000), ..plain.clone() };
        assert_eq!(cost_in(&[plain], "p", "m", &usage), Some(1_000));
        assert_eq!(cost_in(&[own], "p", "m", &usage), Some(100 + 80 + 125));
    }

    #[test]
    fn a_model_without_a_price_costs_an_unknown_amount_and_not_nothing() {
        let prices = [price("p", "m", None, 1, 1), price("q*", "n-2*", None, 1, 1)];
        for (provider, model) in [("p", "m2"), ("p", ""), ("other", "m"), ("q", "n-"), ("p", "n-2")] {
            assert_eq!(cost_in(&prices, provider, model, &usage(1, 1)), None, "{provider} {model}");
        }
    }

    #[test]
    fn the_closest_name_counts() {
        let prices = [
            price("p*", "gpt-5*", None, 1_000_000, 0),
            price("p*", "gpt-5-mini*", None, 2_000_000, 0),
            price("p*", "gpt-5", None, 3_000_000, 0),
            price("p", "gpt-5*", None, 4_000_000, 0),
        ];
        let cost = |provider: &str, model: &str| cost_in(&prices, provider, model, &usage(1, 0));
        assert_eq!(cost("pq", "gpt-5-2026"), Some(1));
        assert_eq!(cost("p", "gpt-5-2026"), Some(4));
        assert_eq!(cost("p", "gpt-5-mini-2026"), Some(2));
        assert_eq!(cost("p", "gpt-5"), Some(3));
    }

    #[test]
    fn a_price_holds_up_to_its_limit_only() {
        let tiers =
            [price("p", "m", Some(200), 2_000_000, 0), price("p", "m", Some(100), 1_000_000, 0), price("p", "m*", None, 9_000_000, 0)];
        let cost = |tokens| cost_in(&tiers, "p", "m", &usage(tokens, 0));
        assert_eq!((cost(100), cost(101), cost(201)), (Some(100), Some(202), None));
    }
}
