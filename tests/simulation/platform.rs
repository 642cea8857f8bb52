//! What the platform does: it hands messages to workers and lets sweepers tick.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::consumer::Invocation;
use crate::jobs::SimJobs;
use crate::scheduler::locked;
use crate::sqs::Received;
use crate::sweeper::{deadline, sweeper};
use crate::world::World;

impl World {
    /// Hands batches of visible messages to workers, a few at a time.
    pub(crate) fn start_queue_service(&self) {
        for _ in 0..self.sim.any(2..5) {
            let this = self.clone();
            self.sim.spawn(None, async move {
                loop {
                    let until = this.sqs.next_visible().unwrap_or(i64::MAX).min(this.sim.now_ms() + 5_000);
                    this.sim.sleep_until(until).await;
                    this.sim.sleep(Duration::from_millis(this.sim.any(0..300))).await;
                    let batch = this.sqs.receive(usize::try_from(this.sim.any(1..4)).unwrap_or(1));
                    if !batch.is_empty() {
                        this.invoke(batch).await;
                    }
                }
            });
        }
    }

    /// One invocation; returns when it is over, one way or the other.
    async fn invoke(&self, batch: Vec<Received>) {
        let process = self.process("worker-");
        self.sim.note(|| format!("{} gets {:?}", process.name, batch.iter().map(|message| &message.id).collect::<Vec<_>>()));
        let time = self.limits.model_timeout.max(self.tool_timeout) + Duration::from_secs(self.sim.one_of(&[20, 60, 240]));
        let deadline = self.sim.now_ms() + i64::try_from(time.as_millis()).unwrap_or(0);
        let invocation = Invocation {
            sim: self.sim.clone(),
            sqs: self.sqs.clone(),
            engine: self.engine(&process, Duration::MAX),
            process: process.clone(),
            deadline,
        };
        let is_done = Arc::new(Mutex::new(false));
        let done = is_done.clone();
        self.sim.spawn(Some(&process), async move {
            invocation.handle(batch).await;
            *locked(&done) = true;
        });
        self.limit(&process, time);
        // The platform does not wait for one that is killed or frozen.
        while !*locked(&is_done) && !process.is_killed() && self.sim.now_ms() < deadline {
            self.sim.sleep(Duration::from_secs(1)).await;
        }
        let is_late = !*locked(&is_done) && !process.is_hurt();
        if is_late {
            self.sim.violated(format!("{} was well, and not done when its time was over", process.name));
        }
    }

    /// Two sweepers, which know nothing of each other.
    pub(crate) fn start_sweepers(&self) {
        for _ in 0..2 {
            let this = self.clone();
            self.sim.spawn(None, async move {
                this.sim.sleep(Duration::from_millis(this.sim.any(0..60_000))).await;
                loop {
                    let process = this.process("sweeper-");
                    let jobs = SimJobs::new(&this.sim, &process, &this.jobs);
                    let sweeper = sweeper(&this.store(&process), &this.queue(&process), &jobs, this.limits.max_attempts);
                    let deadline = deadline(this.sim.now_ms());
                    this.sim.spawn(Some(&process), async move {
                        let _ = sweeper.tick(deadline).await;
                    });
                    this.limit(&process, Duration::from_secs(60));
                    this.sim.sleep(Duration::from_secs(60)).await;
                }
            });
        }
    }
}
