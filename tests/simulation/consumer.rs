//! An invocation of the consumer, the function's own code, and what the queue service does with what it says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use queue_consumer::{Consumer, Visibility};
use shared::engine::Engine;
use shared::fakes::MemoryLetters;

use crate::process::Process;
use crate::scheduler::Sim;
use crate::signs::Signs;
use crate::sqs::{Received, Sqs};

/// One invocation.
pub(crate) struct Invocation {
    pub(crate) sim: Sim,
    pub(crate) sqs: Sqs,
    pub(crate) engine: Engine,
    pub(crate) process: Arc<Process>,
    /// When the platform ends it, by its own clock.
    pub(crate) deadline: i64,
}

impl Invocation {
    /// Hands a batch to the function, then deletes what is done.
    pub(crate) async fn handle(self, batch: Vec<Received>) {
        let visibility = SimVisibility { sim: self.sim.clone(), sqs: self.sqs.clone(), process: self.process.clone() };
        let heartbeats = Signs { sim: self.sim.clone(), process: self.process.clone() };
        let letters = Arc::new(MemoryLetters::default());
        let consumer = Consumer { engine: self.engine, visibility: Arc::new(visibility), heartbeats: Arc::new(heartbeats), letters };
        let mut event = SqsEvent::default();
        event.records = batch.iter().map(record).collect();
        let deadline = u64::try_from(self.deadline).unwrap_or(0);
        let Ok(response) = consumer.handle(event, deadline).await;
        self.sim.point(&self.process).await;
        let failed = |message: &&Received| response.batch_item_failures.iter().any(|failure| failure.item_identifier == message.id);
        // By name: a message that is in the batch twice is done only if both are.
        for message in batch.iter().filter(|message| !failed(message)) {
            self.sqs.delete(&message.id, &message.receipt);
        }
    }
}

fn record(message: &Received) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(message.id.clone());
    record.receipt_handle = Some(format!("{} {}", message.id, message.receipt));
    record.body = Some(message.body.clone());
    record.attributes.insert("ApproximateReceiveCount".into(), message.receives.to_string());
    record.attributes.insert("SentTimestamp".into(), message.sent_at.to_string());
    record
}

struct SimVisibility {
    sim: Sim,
    sqs: Sqs,
    process: Arc<Process>,
}

#[async_trait]
impl Visibility for SimVisibility {
    async fn hide(&self, receipts: &[String], duration: Duration) {
        self.sim.point(&self.process).await;
        if !self.sim.is_cut_off(&self.process) {
            for (id, receipt) in receipts.iter().filter_map(|receipt| receipt.split_once(' ')) {
                self.sqs.hide(id, receipt, duration);
            }
        }
        self.sim.point(&self.process).await;
    }
}
