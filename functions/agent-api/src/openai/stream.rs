//! `stream: true`: a completion's chunks as they come.
//!
//! Until the agent has said something, a run that fails or has to wait for a person is still answered with a status of its own, as
//! without a stream; after that, with an error among the chunks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, unfold};
use shared::domain::clock::Clock;
use shared::domain::id::RunId;
use shared::domain::principal::Principal;
use shared::domain::run::Run;
use shared::http::{Call, IDEMPOTENCY_REPLAYED, Problem, RUN_ID, Reply};
use shared::intake::Streamed;
use shared::stream::{RunEvent, Told};

use super::body::Chat;
use super::chunks::{Chunks, Heading, may_be_rejected};
use super::failures;
use crate::AgentApi;

/// How long the status waits for the first word: some clients and gateways give up on a request that says nothing for 30 s.
const OPENING: Duration = Duration::from_secs(20);
/// Between two signs of life while nothing is said.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What happens, and the work that makes it happen if it is this function's.
struct Source {
    events: BoxStream<'static, Told>,
    work: Option<BoxFuture<'static, ()>>,
}

impl AgentApi {
    pub(super) async fn chat_stream(&self, principal: &Principal, call: &Call, chat: Chat, include_usage: bool) -> Result<Reply, Problem> {
        let has_key = chat.request.key.is_some();
        let until = self.end_of(call);
        let streamed = self.intake.streaming(principal, chat.request.clone(), until).await;
        let Streamed { accepted, events, work } = streamed.map_err(|error| self.not_accepted(error, &chat))?;
        let mut source = Source { events, work };
        let opened = self.open(principal, accepted.run, &mut source).await;
        let reply = match opened {
            Ok(opened) => {
                match self.run(principal, accepted.run).await {
                    Ok(run) => Ok(self.reply(call, &chat, include_usage, &run, opened, source)),
                    Err(problem) => {
                        // What has begun goes on, though this caller cannot be told of it.
                        if let Some(work) = source.work {
                            work.await;
                        }
                        Err(problem)
                    }
                }
            }
            Err(problem) => {
                // Nobody hears of it any more, but it has begun.
                if let Some(work) = source.work {
                    work.await;
                }
                Err(problem)
            }
        };
        let reply = reply.map_err(|problem| failures::told(problem, accepted.run, has_key));
        match reply {
            Ok(reply) if accepted.is_replay => Ok(reply.with(IDEMPOTENCY_REPLAYED, "true")),
            Err(problem) if accepted.is_replay => Err(problem.with(IDEMPOTENCY_REPLAYED, "true")),
            other => other,
        }
    }

    /// What happens before the agent says something, and its first word.
    async fn open(&self, principal: &Principal, run: RunId, source: &mut Source) -> Result<VecDeque<RunEvent>, Problem> {
        let mut opened = VecDeque::new();
        let mut patience = self.clock.sleep(OPENING);
        loop {
            let told = tokio::select! {
                biased;
                told = source.events.next() => told,
                () = done(&mut source.work) => {
                    source.work = None;
                    // It was left to somebody else: if because something failed, its caller need not wait for that.
                    let run = self.run(principal, run).await?;
                    if !run.state.has_ended() && run.error().is_some() {
                        return Err(failures::goes_on(&run));
                    }
                    continue;
                }
                () = &mut patience => return Ok(opened),
            };
            let Some(told) = told else { return Ok(opened) };
            match &told.event {
                RunEvent::Waiting(run) => failures::question(run).map_or(Ok(()), Err)?,
                RunEvent::Failed(run) | RunEvent::Cancelled(run) => failures::check(run)?,
                RunEvent::Run(_) | RunEvent::Delta { .. } | RunEvent::Reset { .. } | RunEvent::Step(_) | RunEvent::Done { .. } => {}
            }
            let is_said = !matches!(told.event, RunEvent::Run(_) | RunEvent::Waiting(_) | RunEvent::Step(_) | RunEvent::Reset { .. });
            opened.push_back(told.event);
            if is_said {
                return Ok(opened);
            }
        }
    }

    fn reply(&self, call: &Call, chat: &Chat, include_usage: bool, run: &Run, opened: VecDeque<RunEvent>, source: Source) -> Reply {
        let agent = self.intake.engine.bundle.agent(&run.agent).map(|agent| agent.for_run(&chat.request.input.overrides));
        let heading = Heading {
            model: chat.model.clone(),
            include_usage,
            holds_back: agent.as_ref().is_some_and(may_be_rejected),
            request_id: call.request_id.clone(),
        };
        let chunks = Chunks::new(heading, run.clone());
        let first = chunks.opening();
        let rest = Rest { chunks, opened, events: source.events, clock: Arc::clone(&self.clock) };
        let body = futures_util::stream::iter([first]).chain(unfold(rest, Rest::next));
        let reply = Reply::events(body).with(RUN_ID, run.id.to_string());
        match source.work {
            Some(work) => reply.beside(work),
            None => reply,
        }
    }
}

/// The end of the work; never, if there is none.
async fn done(work: &mut Option<BoxFuture<'static, ()>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// What is still to be told.
struct Rest {
    chunks: Chunks,
    opened: VecDeque<RunEvent>,
    events: BoxStream<'static, Told>,
    clock: Arc<dyn Clock>,
}

impl Rest {
    async fn next(mut self) -> Option<(String, Self)> {
        while !self.chunks.is_over() {
            let event = match self.opened.pop_front() {
                Some(event) => Some(event),
                None => tokio::select! {
                    biased;
                    told = self.events.next() => told.map(|told| told.event),
                    () = self.clock.sleep(HEARTBEAT) => return Some((": keep-alive\n\n".to_owned(), self)),
                },
            };
            let text = match event {
                Some(event) => self.chunks.told(event),
                None => self.chunks.cut(),
            };
            if !text.is_empty() {
                return Some((text, self));
            }
        }
        None
    }
}
