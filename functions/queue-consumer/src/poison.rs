//! Messages that are no tasks: noted, and left for the dead-letter queue; or done, if an operator has decided so.

use std::collections::BTreeMap;

use aws_lambda_events::event::sqs::SqsMessage;
use jiff::Timestamp;
use shared::letters::{self, LetterBook, Sighting, Standing};
use shared::telemetry::chain;

use crate::{AT_ONCE, Outcome, sent_at};

/// What becomes of it. That it reaches the dead-letter queue does not depend on whether it can be noted.
pub(crate) async fn note(book: &dyn LetterBook, message: &SqsMessage, at: Timestamp) -> Outcome {
    let name = message.message_id.as_deref().unwrap_or_default();
    let text =
        |(name, value): (&String, &aws_lambda_events::event::sqs::SqsMessageAttribute)| Some((name.clone(), value.string_value.clone()?));
    let attributes: BTreeMap<String, String> = message.message_attributes.iter().filter_map(text).collect();
    let sighting = Sighting {
        body: message.body.as_deref().unwrap_or_default(),
        message_id: name,
        sent_at: sent_at(message),
        sender: message.attributes.get("SenderId").map(String::as_str),
        attributes,
        is_delivery: true,
    };
    match letters::seen(book, &sighting, at).await {
        Ok(Standing::Settled) => {
            tracing::info!(message = name, "poison message that an operator has moved or discarded");
            return Outcome::Done;
        }
        Ok(Standing::Open | Standing::Known) => {
            tracing::error!(message = name, "poison message, left for the dead-letter queue");
        }
        Err(error) => {
            tracing::error!(message = name, error = %chain(&error), "poison message, left for the dead-letter queue without a note");
        }
    }
    Outcome::After(AT_ONCE)
}
