//! Callers: they ask, wait, give up, and ask again with the same key; and some publish events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use shared::domain::conversation::WhenBusy;
use shared::domain::event::{AgentInput, EventMeta};
use shared::domain::idempotency::RequestKey;
use shared::domain::principal::Principal;
use shared::intake::{Accepted, AgentRequest, IntakeError, NewEvent, Published};

use crate::model::script;
use crate::scheduler::locked;
use crate::world::World;

/// How a caller that waits long enough gives up and asks again: as often, with that long a pause at most.
const TRIES: usize = 6;
const LONGEST_PAUSE: u64 = 20_000;

/// What a function will have answered, if it lives to do so.
type Reply<T> = Arc<Mutex<Option<Result<T, IntakeError>>>>;

/// What a caller makes of its replies.
enum Heard {
    /// It has what it wanted, or knows that it cannot have it.
    Enough,
    /// It knows nothing.
    Nothing,
}

impl World {
    /// A caller: asks or publishes once, at some time in the first half of the chaos.
    pub(crate) fn start_caller(&self, request: u64) {
        let this = self.clone();
        *locked(&self.busy) += 1;
        self.invariants.script(request, script(&self.sim));
        self.sim.spawn(None, async move {
            this.sim.sleep(this.some_time()).await;
            if this.sim.chance(15) {
                this.publish(request).await
            } else {
                this.ask(request).await
            }
            *locked(&this.busy) -= 1;
        });
    }

    async fn ask(&self, request: u64) {
        let known = locked(&self.conversations).clone();
        let conversation = if known.is_empty() || self.sim.chance(20) { None } else { Some(self.sim.one_of(&known)) };
        let has_key = self.sim.chance(50);
        if has_key {
            locked(&self.keyed).insert(request);
        }
        let asked = AgentRequest {
            agent: None,
            conversation,
            input: AgentInput { prompt: format!("request {request}"), ..AgentInput::default() },
            when_busy: self.sim.one_of(&[
                WhenBusy::Enqueue,
                WhenBusy::Enqueue,
                WhenBusy::Enqueue,
                WhenBusy::Reject,
                WhenBusy::Interrupt,
                WhenBusy::Rollback,
            ]),
            key: has_key.then(|| key(request)),
        };
        let in_background = self.sim.chance(60);
        for _ in 0..TRIES {
            let times = if has_key && self.sim.chance(30) { 2 } else { 1 };
            let replies: Vec<_> = (0..times).map(|_| self.request(asked.clone(), in_background)).collect();
            let heard = self.hear(&replies, |accepted| {
                self.invariants.accepted(accepted.run, has_key.then_some(request));
                let mut conversations = locked(&self.conversations);
                if !conversations.contains(&accepted.conversation) {
                    conversations.push(accepted.conversation);
                }
            });
            // Without a key, a caller cannot know whether it has asked already.
            if matches!(heard.await, Heard::Enough) || !has_key {
                return;
            }
            self.sim.sleep(Duration::from_millis(self.sim.any(100..LONGEST_PAUSE))).await;
        }
    }

    fn request(&self, asked: AgentRequest, in_background: bool) -> Reply<Accepted> {
        self.function(async move |intake, principal| {
            if in_background { intake.in_background(&principal, asked).await } else { intake.while_waiting(&principal, asked).await }
        })
    }

    /// Publishes an event that fires both triggers of the project's own example, with or without an id; the ticket may be a known one.
    async fn publish(&self, request: u64) {
        let has_id = self.sim.chance(70);
        let ticket = format!("T-{}", self.sim.any(0..3));
        let new = NewEvent {
            kind: "ticket.opened".into(),
            source: "crm/eu".into(),
            payload: json!({
                "ticket": {"id": ticket, "priority": "urgent", "subject": "Help", "body": format!("request {request}")},
                "customer": {"is_new": true},
            }),
            client_id: has_id.then(|| format!("event {request}")),
            meta: EventMeta::default(),
            keys: has_id.then(|| key(request)).into_iter().collect(),
        };
        for _ in 0..TRIES {
            let times = if has_id && self.sim.chance(30) { 2 } else { 1 };
            let replies: Vec<_> = (0..times).map(|_| self.send(new.clone())).collect();
            let heard = self.hear(&replies, |published| {
                self.invariants.published(&published.event, has_id.then_some(request));
            });
            if matches!(heard.await, Heard::Enough) || !has_id {
                return;
            }
            self.sim.sleep(Duration::from_millis(self.sim.any(100..LONGEST_PAUSE))).await;
        }
    }

    fn send(&self, new: NewEvent) -> Reply<Published> {
        self.function(async move |intake, principal| intake.publish(&principal, new).await)
    }

    /// Runs something in a function of the API, which may die in the middle of it.
    fn function<T: Send + 'static, F>(&self, work: impl FnOnce(shared::intake::Intake, Principal) -> F) -> Reply<T>
    where
        F: Future<Output = Result<T, IntakeError>> + Send + 'static,
    {
        let process = self.process("api-");
        let work = work(self.intake(&process), Principal { tenant: self.tenant.clone(), name: "ana".into() });
        let reply = Arc::new(Mutex::new(None));
        let slot = reply.clone();
        self.sim.spawn(Some(&process), async move {
            let answer = work.await;
            *locked(&slot) = Some(answer);
        });
        self.limit(&process, Duration::from_secs(29));
        reply
    }

    /// Waits for replies, not for ever, and does `on_success` for each good one.
    async fn hear<T>(&self, replies: &[Reply<T>], on_success: impl Fn(&T)) -> Heard {
        let end = self.sim.now_ms() + 30_000;
        while self.sim.now_ms() < end && replies.iter().any(|reply| locked(reply).is_none()) {
            self.sim.sleep(Duration::from_millis(500)).await;
        }
        let mut heard = Heard::Nothing;
        for reply in replies {
            let reply = locked(reply).take();
            match reply {
                Some(Ok(answer)) => {
                    on_success(&answer);
                    heard = Heard::Enough;
                }
                Some(Err(IntakeError::Journal(_))) | None => {}
                Some(Err(error @ (IntakeError::KeyReused | IntakeError::UnknownAgent))) => {
                    self.sim.violated(format!("refused for no reason: {error}"));
                }
                Some(Err(IntakeError::NoConversation | IntakeError::ConversationBusy | IntakeError::ConversationFull)) => {
                    heard = Heard::Enough;
                }
            }
        }
        heard
    }
}

fn key(request: u64) -> RequestKey {
    RequestKey { digest: format!("key {request}"), fingerprint: format!("request {request}") }
}
