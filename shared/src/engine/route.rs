//! One model call of a run: the chain is walked, each model tried again where that may help, until one has answered or none is left.
//!
//! A caller who waits is answered by whoever can do so soon: one try for each model that has another one behind it, and for each of
//! them its share of the time in which to begin to answer. Nobody waits for a run in the background: a model is given a few tries,
//! with back-off, before the next one is asked. What may be asked at all is in [`super::routes`].

use std::pin::pin;
use std::time::Duration;

use tracing::Instrument as _;

use super::calls::{CallError, Heard, jittered, shortest, usable};
use super::ports::{ModelReply, ModelRequest};
use super::routes::{Permit, Refused};
use super::{Engine, Hold, Limits, Stop, Window};
use crate::domain::breaker::Verdict;
use crate::domain::clock::{after, between};
use crate::domain::definition::ModelRef;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::run::Run;
use crate::domain::step::ModelStep;
use crate::telemetry::semconv;

/// Tries of one model within one call: enough to outlive a hiccup, few enough that a real outage goes to the queue's longer
/// back-off while no function waits for it.
const TRIES: usize = 3;
/// The first back-off of a model call; doubled per try, drawn with full jitter.
const BACKOFF: Duration = Duration::from_millis(500);
/// A provider that asks for a longer pause is waited for on the queue, not in a running function.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Where there is another model, this is the longest.
const SHORT_PAUSE: Duration = Duration::from_secs(2);
/// All who wait for a breaker know when it is worth asking again: each comes back within this after it, drawn with full jitter and
/// doubled each time in vain, up to [`MOST_SPREAD`] times.
const SPREAD: Duration = Duration::from_secs(5);
/// How often it is doubled, and one.
const MOST_SPREAD: usize = 4;
/// Most of what a failure tells of a chain.
const LONGEST_MESSAGE: usize = 2_000;

/// What became of the chain so far.
#[derive(Default)]
struct Walk {
    /// Every try that failed, for the step.
    failures: Vec<Failure>,
    /// How each model that is done with ended.
    ends: Vec<End>,
    /// What the last try failed of.
    last: Option<FailureCode>,
    /// Whether another time any of them may answer.
    may_recover: bool,
}

struct End {
    code: FailureCode,
    /// Whose.
    model: String,
    /// What to tell, with the model's name.
    message: String,
    /// When it is worth asking again, if somebody said so.
    wait: Option<Duration>,
}

/// What a model that is asked has behind it.
#[derive(Clone, Copy)]
struct Behind<'a> {
    /// Whether it is not the last one.
    has_next: bool,
    /// How many may be asked after it, as far as is known.
    may_be_asked: u32,
    /// Whether it has said anything.
    heard: &'a Heard<'a>,
}

/// How one try ended that gave no answer.
struct Failed {
    code: FailureCode,
    message: String,
    /// `None` if another try would give the same.
    again: Option<Option<Duration>>,
}

impl Engine {
    /// Asks the models of `models`, or of the deployment if there are none. The step tells of the tries that failed.
    pub(super) async fn call_model(
        &self,
        run: &mut Run,
        request: ModelRequest<'_>,
        models: &[ModelRef],
        window: Window,
        hold: &dyn Hold,
    ) -> Result<ModelStep, Stop> {
        let board = self.routes.board(self.clock.as_ref()).await;
        let chain = board.chain(if models.is_empty() { self.routes.chain() } else { models });
        let mut walk = Walk::default();
        let heard = Heard::new(request.sink);
        let mut request = ModelRequest { sink: &heard, ..request };
        for (place, model) in chain.iter().enumerate() {
            request.target = Some(model.clone());
            let (now, others) = (self.clock.now(), chain.get(place + 1..).unwrap_or_default());
            let may_be_asked = |model: &&ModelRef| {
                board.disabled(model).is_none() && !matches!(board.breaker(model, now).verdict(now), Verdict::Skip { .. })
            };
            let behind = Behind {
                has_next: !others.is_empty(),
                may_be_asked: u32::try_from(others.iter().filter(may_be_asked).count()).unwrap_or(u32::MAX - 1),
                heard: &heard,
            };
            if let Some(reply) = self.try_model(run, &mut request, model, behind, &mut walk, window, hold).await? {
                let step = ModelStep::new(reply.provider, reply.model, reply.message, reply.finish_reason, reply.usage);
                return Ok(ModelStep { failures: walk.failures, ..step });
            }
        }
        Err(walk.stop(|code, message| self.failure(run, code, message)))
    }

    /// Asks one model until it has answered, or the next one is to be asked: `None`.
    #[expect(clippy::too_many_arguments, reason = "the loop above, with a name")]
    async fn try_model(
        &self,
        run: &mut Run,
        request: &mut ModelRequest<'_>,
        model: &ModelRef,
        behind: Behind<'_>,
        walk: &mut Walk,
        window: Window,
        hold: &dyn Hold,
    ) -> Result<Option<ModelReply>, Stop> {
        let Behind { has_next, may_be_asked, heard } = behind;
        let tries = if window.cut_calls && has_next { 1 } else { TRIES };
        let longest_pause = if has_next { SHORT_PAUSE } else { LONGEST_PAUSE };
        let mut tried: usize = 0;
        loop {
            let Some(time) = self.time_for_try(window, may_be_asked) else {
                if walk.failures.is_empty() {
                    return Err(Stop::Deadline);
                }
                walk.cut();
                return Ok(None);
            };
            let until = after(self.clock.now(), time.whole + Limits::LEASE_MARGIN);
            let permit = match self.routes.admit(model, self.clock.as_ref(), until).await {
                Ok(permit) => permit,
                Err(refused) => {
                    let in_vain = run.failures.iter().rev().take_while(|failure| failure.code == FailureCode::NoProvider.as_str()).count();
                    let spread = jittered(SPREAD, (in_vain + 1).min(MOST_SPREAD));
                    walk.refused(model, Refused { wait: refused.wait.map(|wait| wait + spread), ..refused }, tried > 0);
                    return Ok(None);
                }
            };
            let (name, asked_at) = (self.name_in_metrics(model, &permit), self.clock.now());
            request.sink.begin();
            let chat = semconv::chat(&model.provider, &model.model, request);
            let answered = {
                let mut asking = pin!(self.model.ask(request).instrument(chat.clone()));
                match self.under_lease(run, hold, time.silent, asking.as_mut()).await? {
                    None if heard.is_heard() => self.under_lease(run, hold, time.whole.saturating_sub(time.silent), asking).await?,
                    answered => answered,
                }
            };
            let is_silent = !heard.is_heard();
            let timed_out = |time: Duration| Failed {
                code: FailureCode::ProviderTimeout,
                message: format!("the model did not answer within {} s", time.as_secs()),
                again: Some(None),
            };
            let may_be_empty = !request.sampling.stop.is_empty();
            let failed = match answered.map(|reply| reply.and_then(|reply| usable(reply, may_be_empty))) {
                Some(Ok(reply)) => {
                    self.measure_call(name, asked_at, Ok(&reply));
                    semconv::replied(&chat, &reply);
                    drop(chat);
                    self.routes.report(model, permit, None, self.clock.as_ref()).await;
                    return Ok(Some(reply));
                }
                Some(Err(CallError::Terminal { code, message })) => Failed { code, message, again: None },
                Some(Err(CallError::Retryable { code, message, retry_after })) => Failed { code, message, again: Some(retry_after) },
                None if is_silent && time.silent < time.whole => timed_out(time.silent),
                None if time.is_cut => {
                    semconv::failed(&chat, "deadline");
                    drop(chat);
                    // Or nobody could make another probe before this one's time is over.
                    if matches!(permit, Permit::Probe(_)) {
                        let verdict = is_silent.then_some(FailureCode::ProviderTimeout);
                        self.routes.report(model, permit, verdict, self.clock.as_ref()).await;
                    }
                    return Err(Stop::Deadline);
                }
                None => timed_out(time.whole),
            };
            self.measure_call(name, asked_at, Err(failed.code));
            semconv::failed(&chat, failed.code.as_str());
            drop(chat);
            self.routes.report(model, permit, Some(failed.code), self.clock.as_ref()).await;
            tried += 1;
            tracing::warn!(run.id = %run.id, step = run.steps + 1, provider = %model, code = failed.code.as_str(), "model call failed");
            let failure = self.failure(run, failed.code, format!("{model}: {}", failed.message)).of_provider(Some(model.to_string()));
            walk.failures.push(failure);
            walk.last = Some(failed.code);
            if failed.code == FailureCode::InvalidAnswer {
                // A provider that honours the key would give the same useless answer again.
                request.key.push('\'');
            }
            let pause = failed.again.map(|asked| asked.unwrap_or_else(|| jittered(BACKOFF, tried)));
            // What has hung or refused its key will do so again: somebody else may not.
            let is_hopeless = has_next && matches!(failed.code, FailureCode::ProviderTimeout | FailureCode::ProviderAuth);
            let pause = pause.filter(|pause| tried < tries && !is_hopeless && *pause <= longest_pause && self.has_time(*pause, window));
            let Some(pause) = pause else {
                walk.ended(model, failed, tried);
                return Ok(None);
            };
            self.under_lease(run, hold, pause, std::future::pending::<()>()).await?;
        }
    }

    /// Whether there is time for a call after `pause`.
    fn has_time(&self, pause: Duration, window: Window) -> bool {
        let least = if window.cut_calls { shortest(self.limits.model_timeout) } else { self.limits.model_timeout };
        between(after(self.clock.now(), pause), window.deadline) >= least
    }
}

impl Walk {
    fn refused(&mut self, model: &ModelRef, refused: Refused, was_tried: bool) {
        self.may_recover = true;
        // What opened its breaker says more than that it is open now.
        match self.last.zip(self.failures.last()).filter(|_| was_tried) {
            Some((code, failure)) => {
                self.ends.push(End { code, model: model.to_string(), message: failure.message.clone(), wait: refused.wait })
            }
            None => {
                let message = format!("{model}: not asked, {}", refused.why);
                self.ends.push(End { code: FailureCode::NoProvider, model: model.to_string(), message, wait: refused.wait });
            }
        }
    }

    /// The time is up in the middle of the chain.
    fn cut(&mut self) {
        self.may_recover = true;
        if let Some((code, failure)) = self.last.zip(self.failures.last()).filter(|_| self.ends.is_empty()) {
            let model = failure.provider.clone().unwrap_or_default();
            self.ends.push(End { code, model, message: failure.message.clone(), wait: None });
        }
    }

    fn ended(&mut self, model: &ModelRef, failed: Failed, tried: usize) {
        let times = if tried > 1 { format!(" ({tried} tries)") } else { String::new() };
        self.may_recover |= failed.again.is_some();
        let message = format!("{model}: {}{times}", failed.message);
        self.ends.push(End { code: failed.code, model: model.to_string(), message, wait: failed.again.flatten() });
    }

    /// How the attempt ends that got no answer from any model.
    fn stop(self, failure: impl Fn(FailureCode, String) -> Failure) -> Stop {
        let mut message = self.ends.iter().map(|end| end.message.as_str()).collect::<Vec<_>>().join("; ");
        message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        let code = self.code();
        let model = self.ends.iter().rev().find(|end| end.code == code).map(|end| end.model.clone());
        let failure = failure(code, message).of_provider(model);
        if !self.may_recover {
            return Stop::Terminal(failure);
        }
        // Whoever has room first may answer.
        let waits: Option<Vec<_>> = self.ends.iter().map(|end| end.wait).collect();
        Stop::Attempt(failure, waits.and_then(|waits| waits.into_iter().min()))
    }

    /// One word for all: a failure of a model that was asked says more than that another had no room, and that more than that a
    /// third was not asked.
    fn code(&self) -> FailureCode {
        let soft = [FailureCode::ProviderRejected, FailureCode::ProviderRateLimited, FailureCode::NoProvider];
        let codes = || self.ends.iter().rev().map(|end| end.code);
        let hard = codes().find(|code| !soft.contains(code));
        let by_rank = || [soft[1], soft[2], soft[0]].into_iter().find(|code| codes().any(|found| found == *code));
        hard.or_else(by_rank).unwrap_or(FailureCode::NoProvider)
    }
}
