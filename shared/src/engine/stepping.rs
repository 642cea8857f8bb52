//! One step of a run: the next call is made, and what came of it is in the journal before anything else happens.

use super::live::Heard;
use super::ports::{JournalError, Write};
use super::tool_calls::{wait_for, waits};
use super::{Engine, Stop, Window, asking};
use crate::domain::agent::Agent;
use crate::domain::event::AgentInput;
use crate::domain::failure::FailureCode;
use crate::domain::run::Run;
use crate::domain::step::{LARGEST_STEP, ModelStep, Purpose, Step, StepBody, ToolStep};
use crate::domain::transcript::{Next, Transcript};

impl Engine {
    /// Makes the next call, or the next few, and journals what came of it. With the answer, if that ends the run.
    pub(super) async fn next_step(
        &self,
        run: &mut Run,
        agent: &Agent,
        input: &AgentInput,
        transcript: &mut Transcript,
        window: Window,
        hold: &Heard<'_>,
    ) -> Result<Option<String>, Stop> {
        let started_at = self.clock.now();
        let index = transcript.steps() + 1;
        let next = transcript.next();
        hold.live.come_to(index, run);
        self.check_caps(run, agent, transcript, &next)?;
        match next {
            Next::Ended(answer) => self.complete(run, None, answer, transcript.answered_at()).await.map(Some),
            Next::Failed(code, message) => {
                run.answered_at = Some(transcript.answered_at());
                Err(Stop::Terminal(self.failure(run, code, message)))
            }
            Next::Model(purpose) => {
                let tools = if purpose == Purpose::Act { self.tool_specs(run, agent, window, hold).await? } else { Vec::new() };
                let messages = asking::messages(transcript, purpose);
                let key = format!("{}:{index}", run.id);
                let mut request = asking::request(agent, input, purpose, &messages, tools, key);
                // Evaluations and reflections are no answers that anybody reads.
                if purpose == Purpose::Act {
                    request.sink = hold.live;
                }
                let of = run.clone();
                let call = self.call_model(run, request, asking::models(agent, purpose), window, hold);
                let step = hold.live.beside(self.journal.as_ref(), self.clock.as_ref(), &of, call).await?;
                let stream_try = hold.live.told(step.message.content.as_deref()).map(String::from);
                let step = ModelStep { purpose, stream_try, ..step };
                let body = StepBody::Model(asking::judge(agent, step));
                self.finish_step(run, transcript, Step { index, started_at, ended_at: self.clock.now(), body }).await
            }
            Next::Tool(call) if self.is_withheld(run, agent, transcript, &call) => {
                let body = StepBody::Tool(self.withheld(run, transcript, call).await?);
                self.finish_step(run, transcript, Step { index, started_at, ended_at: self.clock.now(), body }).await
            }
            Next::Tool(call) if waits(agent, transcript, &call) && self.refusal(agent, transcript, &call, 0).is_none() => {
                match wait_for(agent, transcript, &call, index, started_at) {
                    Ok(waiting) => Err(Stop::Wait(waiting)),
                    Err(problem) => {
                        let body = StepBody::Tool(ToolStep {
                            call,
                            output: format!("error: {problem}"),
                            is_error: true,
                            full: None,
                            stand_in: None,
                        });
                        self.finish_step(run, transcript, Step { index, started_at, ended_at: started_at, body }).await
                    }
                }
            }
            Next::Tool(_) => self.call_tools(run, agent, transcript, window, hold).await,
        }
    }

    /// Takes a finished step into the run and the journal. With the answer, if it is the last one: then the run has ended.
    pub(super) async fn finish_step(&self, run: &mut Run, transcript: &mut Transcript, step: Step) -> Result<Option<String>, Stop> {
        self.count(run, &step);
        if step.size() > LARGEST_STEP {
            let message = format!("the result of step {} has {} bytes; the journal takes {LARGEST_STEP}", step.index, step.size());
            return Err(Stop::Terminal(self.failure(run, FailureCode::ResultTooLarge, message)));
        }
        transcript.record(&step);
        if let Next::Ended(answer) = transcript.next() {
            if let (Some(_), (_, Some(verdict))) = (transcript.reflexion(), transcript.draft()) {
                let iterations = transcript.iterations();
                tracing::info!(run.id = %run.id, iterations, success = verdict.success, score = verdict.score, "reflexion ended");
            }
            return self.complete(run, Some(step), answer, transcript.answered_at()).await.map(Some);
        }
        let writes = [Write::Progress(run, &step), Write::Step(run, &step)];
        self.insist(run, || async { self.journal.write(&writes).await.map_err(JournalError::from) }).await?;
        run.steps = step.index;
        Ok(None)
    }

    /// What a finished step changes of its run.
    pub(super) fn count(&self, run: &mut Run, step: &Step) {
        if let StepBody::Model(model) = &step.body {
            let cost = self.bundle.cost_micros(&model.provider, &model.model, &model.usage);
            run.cost_micros = run.cost_micros.zip(cost).map(|(so_far, cost)| so_far.saturating_add(cost));
        }
        run.usage += step.body.usage();
        run.updated_at = step.ended_at;
        run.abandoned = false;
        // Progress: this lease is the first of what comes next.
        run.attempts = 1;
    }
}
