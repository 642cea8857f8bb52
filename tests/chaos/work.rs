//! The work that goes on while things fail: a seeded mix of callers, each of whom insists as a good client does.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tests::Stack;
use tests::fresh;

use crate::events::{self, Published};
use crate::people::{self, Cancel};
use crate::time::{now, pause};

/// A caller asks again after a failure, with the same key, so often.
const TRIES: u32 = 12;
/// Part of a prompt that the provider fails until it is healed.
pub(crate) const DOOMED: &str = "fails until healed";
const BETWEEN_TRIES: Duration = Duration::from_millis(700);

/// One request and what came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Its Idempotency-Key; empty if it had none.
    pub(crate) key: String,
    /// What it asked: no other request asks the same.
    pub(crate) prompt: String,
    /// Whether the caller waited for the answer.
    pub(crate) waited: bool,
    /// The conversation that it went on with.
    pub(crate) conversation: Option<String>,
    /// What it says about a run that is at work: `interrupt`, `rollback`, or nothing.
    pub(crate) strategy: Option<&'static str>,
    /// Whether its caller took it back.
    pub(crate) cancel: Cancel,
    /// When it was first sent, in Unix milliseconds.
    pub(crate) sent_at: i64,
    /// When it was accepted.
    pub(crate) accepted_at: Option<i64>,
    /// Each answer: status, and the run if it named one.
    pub(crate) answers: Vec<(u16, Option<String>)>,
    /// The code of the last answer that was no success, or what came instead of one.
    pub(crate) refusal: String,
}

impl Request {
    fn new(rng: &mut Rng, waited: bool) -> Self {
        let prompt = match rng.u32(0..20) {
            0..8 => fresh("echo word"),
            8..15 => fresh("echo after 1 clock word"),
            15..19 => fresh("echo after 2 clocks word"),
            // It dies of the provider, whatever else happens to it, and the dead must come back.
            _ => fresh(&format!("echo that {DOOMED} word")),
        };
        Self { key: fresh("key"), prompt, waited, ..Self::default() }
    }

    /// The runs that a caller was told of: all must be there.
    pub(crate) fn runs(&self) -> BTreeSet<&str> {
        self.answers.iter().filter_map(|(_, run)| run.as_deref()).collect()
    }
}

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Starts a run in the background.
    Background,
    /// Waits for the answer.
    Waiting,
    /// Sends the same request twice at once, and once more later.
    Twice,
    /// Sends several messages to one conversation without waiting for answers.
    Burst,
    /// Takes the request back a moment later.
    ChangesMind,
    /// Is asked by the agent, and answers.
    Human,
    /// Sends events that start runs.
    Events,
}

impl Caller {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u32(0..100) {
            0..28 => Self::Background,
            28..50 => Self::Waiting,
            50..68 => Self::Twice,
            68..76 => Self::ChangesMind,
            76..82 => Self::Human,
            82..87 => Self::Events,
            _ => Self::Burst,
        }
    }
}

/// Where callers leave what they have seen.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    stack: &'a Stack,
    done: Mutex<Vec<Request>>,
    events: Mutex<Vec<Published>>,
    open: Mutex<BTreeSet<String>>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(stack: &'a Stack) -> Self {
        Self { stack, done: Mutex::default(), events: Mutex::default(), open: Mutex::default() }
    }

    /// What all callers have seen.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What all senders of events have seen.
    pub(crate) fn events(&self) -> Vec<Published> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The accepted runs that have not been seen to end.
    pub(crate) fn open(&self) -> BTreeSet<String> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These runs have ended.
    pub(crate) fn ended(&self, runs: &BTreeSet<String>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|run| !runs.contains(run));
    }

    /// One caller, from begin to end.
    pub(crate) fn call(&self, caller: Caller, mut rng: Rng) {
        match caller {
            Caller::Background => self.insist(Request::new(&mut rng, false)),
            Caller::Waiting => self.insist(Request::new(&mut rng, true)),
            Caller::Twice => {
                let waited = rng.bool();
                let request = Request::new(&mut rng, waited);
                std::thread::scope(|scope| {
                    scope.spawn(|| self.insist(request.clone()));
                    pause(Duration::from_millis(rng.u64(0..60)));
                    self.insist(request.clone());
                });
                pause(Duration::from_millis(rng.u64(200..4_000)));
                self.insist(request);
            }
            Caller::Burst => self.burst(&mut rng),
            Caller::Events => {
                let published = events::publish(self.stack, &mut rng);
                let runs = published.iter().flat_map(|event| event.runs.iter().cloned());
                self.open.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
                self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(published);
            }
            Caller::ChangesMind => {
                let mut request = self.insist_in(Request::new(&mut rng, false));
                pause(Duration::from_millis(rng.u64(0..2_500)));
                let run = request.runs().into_iter().next().map(str::to_owned);
                if let Some(run) = run {
                    request.cancel = people::cancel(self.stack, &run);
                }
                self.note(request);
            }
            Caller::Human => {
                let prompt = fresh("echo after asking word");
                let request = self.insist_in(Request { prompt, ..Request::new(&mut rng, false) });
                let run = request.runs().into_iter().next().map(str::to_owned);
                self.note(request);
                if let Some(run) = run {
                    people::answer(self.stack, &run);
                }
            }
        }
    }

    fn burst(&self, rng: &mut Rng) {
        let first = self.insist_in(Request::new(rng, false));
        let conversation = first.conversation.clone();
        self.note(first);
        let Some(conversation) = conversation else { return };
        let more: Vec<Request> = (0..rng.u32(2..5))
            .map(|_| {
                let waited = rng.u32(0..4) == 0;
                Request { conversation: Some(conversation.clone()), ..Request::new(rng, waited) }
            })
            .collect();
        // The last two at the same moment: which one arrives first is the service's to say.
        let (in_order, at_once) = more.split_at(more.len() - 2);
        for request in in_order {
            self.insist(request.clone());
        }
        std::thread::scope(|scope| {
            for request in at_once {
                scope.spawn(|| self.insist(request.clone()));
            }
        });
        let strategy = match rng.u32(0..6) {
            0 => "interrupt",
            1 => "rollback",
            _ => return,
        };
        self.insist(Request { conversation: Some(conversation), strategy: Some(strategy), ..Request::new(rng, false) });
    }

    fn insist(&self, request: Request) {
        self.note(self.insist_in(request));
    }

    fn note(&self, request: Request) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    /// Sends a request until it is accepted or refused for good.
    fn insist_in(&self, mut request: Request) -> Request {
        let mut body = json!({"prompt": request.prompt, "background": !request.waited});
        if let Some(conversation) = &request.conversation {
            body["conversation_id"] = json!(conversation);
        }
        if let Some(strategy) = request.strategy {
            body["multitask_strategy"] = json!(strategy);
        }
        let headers = [("content-type", "application/json"), ("idempotency-key", request.key.as_str())];
        request.sent_at = now();
        for _ in 0..TRIES {
            let (status, said) = match self.stack.api.try_send("POST", "/v1/agent", &headers, body.to_string().into_bytes()) {
                Ok(answer) => (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body))),
                Err(error) => (0, Value::String(error)),
            };
            let run = said["run_id"].as_str().map(str::to_owned);
            // A run that has ended without an answer is one as well: it was accepted, and the caller knows its name.
            let has_ended = said["code"] == "run_failed" || said["code"] == "cancelled";
            let is_accepted = (200..300).contains(&status) || has_ended;
            if let (true, Some(run)) = (is_accepted, &run) {
                self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(run.clone());
                request.accepted_at = Some(now());
                request.conversation = request.conversation.or_else(|| said["conversation_id"].as_str().map(str::to_owned));
            }
            request.answers.push((status, run));
            if is_accepted {
                break;
            }
            request.refusal = said["code"].as_str().map_or_else(|| said.to_string(), str::to_owned);
            // Any other 4xx will not change; a conflict may be the first request that is still at work.
            if (400..500).contains(&status) && ![408, 409, 429].contains(&status) {
                break;
            }
            pause(BETWEEN_TRIES);
        }
        request
    }
}
