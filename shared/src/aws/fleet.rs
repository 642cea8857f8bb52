//! The fleet's sums in DynamoDB, and how calls of the table that fail are counted.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | sums of a function | `#metrics` | `<function>#<shard>` |
//!
//! Each number is an attribute of its own, named by its text. All stand in one partition: a thousand sandboxes that are never idle write a
//! hundred times a second, of a few units each. No tenant has that key.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::config::interceptors::{BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::items::{Item, Key, Table, n};
use super::query::Stretch;
use super::unavailable;
use crate::engine::ports::JournalError;
use crate::metrics::Meter;
use crate::metrics::fleet::{Deltas, Fleet, PATIENCE, Sums};

const METRICS: &str = "#metrics";
/// Refusals that are answers: what was read has changed, or the request itself is at fault. Transactions that the table refuses for want of
/// capacity are tried again by `transact`, which counts those that it gives up.
const ANSWERS: [&str; 4] = ["ConditionalCheckFailed", "TransactionCanceled", "TransactionConflict", "ValidationException"];

/// Counts calls that have failed when all of their attempts were made, [`Spare`] ones left out.
#[derive(Debug)]
pub(super) struct CountsFailures(pub(super) Arc<Meter>);

impl Intercept for CountsFailures {
    fn name(&self) -> &'static str {
        "CountsFailures"
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if config.load::<Spare>().is_some() || context.output_or_error().is_some_and(|done| done.is_ok()) {
            return Ok(());
        }
        let refused = context.response().filter(|response| response.status().as_u16() == 400);
        let body = refused.and_then(|response| response.body().bytes()).unwrap_or_default();
        if !is_an_answer(body) {
            self.0.store_error();
        }
        Ok(())
    }
}

/// Marks a call that nobody needs: that it failed says nothing of how the table serves callers.
#[derive(Debug, Clone, Copy)]
struct Spare;

impl Storable for Spare {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Spare {
    fn name(&self) -> &'static str {
        "Spare"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(*self);
        Ok(())
    }
}

/// Whether the body of a refusal is an answer and no failure.
fn is_an_answer(body: &[u8]) -> bool {
    ANSWERS.iter().any(|word| body.windows(word.len()).any(|part| part == word.as_bytes()))
}

impl Table {
    /// The table `name` of that account, whose calls and writes are measured.
    #[must_use]
    pub fn measured(config: &aws_config::SdkConfig, name: String, meter: Arc<Meter>) -> Self {
        let config = aws_sdk_dynamodb::config::Builder::from(config).interceptor(CountsFailures(meter.clone())).build();
        Self { client: aws_sdk_dynamodb::Client::from_conf(config), name, meter }
    }
}

#[async_trait]
impl Fleet for Table {
    async fn add(&self, function: &str, shard: u8, deltas: &Deltas) -> Result<(), JournalError> {
        let key = Key { pk: METRICS.into(), sk: format!("{function}#{shard}") };
        let mut update = self.client.update_item().table_name(&self.name).set_key(Some(key.into_item()));
        let counters = deltas.counters.iter().map(|(name, value)| (name.as_str(), value));
        let gauges = deltas.gauges.iter().map(|(name, value)| (*name, value));
        let (mut adds, mut sets) = (Vec::new(), Vec::new());
        for (place, (name, value)) in counters.chain(gauges).enumerate() {
            let (is_sum, name) = (place < deltas.counters.len(), name.to_owned());
            update =
                update.expression_attribute_names(format!("#{place}"), name).expression_attribute_values(format!(":{place}"), n(value));
            if is_sum { adds.push(format!("#{place} :{place}")) } else { sets.push(format!("#{place} = :{place}")) }
        }
        let part = |verb: &str, of: &[String]| if of.is_empty() { String::new() } else { format!("{verb} {} ", of.join(", ")) };
        let expression = part("ADD", &adds) + &part("SET", &sets);
        let once = aws_sdk_dynamodb::config::Builder::new()
            .interceptor(Spare)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build());
        let sent = update.update_expression(expression.trim_end()).customize().config_override(once).send().await;
        sent.map(|_| ()).map_err(unavailable)
    }

    async fn sums(&self) -> Result<Vec<Sums>, JournalError> {
        let stretch = Stretch { pk: METRICS.into(), from: " ".into(), to: "~".into() };
        Ok(self.items(&stretch, None).await?.into_iter().filter_map(sums_of).collect())
    }
}

fn sums_of(item: Item) -> Option<Sums> {
    let function = item.get("sk")?.as_s().ok()?.split('#').next()?.to_owned();
    let numbers = item.into_iter().filter_map(|(name, value)| Some((name, value.as_n().ok()?.parse().ok()?)));
    Some(Sums { function, numbers: numbers.collect() })
}
