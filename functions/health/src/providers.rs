//! How the model providers are: what the shared breakers and the operators say of them, and whether their addresses take connections, if
//! they have addresses of their own. No token is spent. A provider that is down degrades the system as long as another one of the chain can be asked.

use std::time::Duration;

use jiff::Timestamp;
use shared::domain::board::Board;
use shared::domain::breaker::State;
use shared::domain::clock::rfc3339_millis;
use shared::domain::definition::ModelRef;

use crate::checks::Reach;
use crate::indicator::{Health, Indicator, worst};
use crate::survey::{Survey, Timed};

/// What is said of a provider that is not asked. Its breaker decides, which calls open.
const NOT_ASKED: &str = "not asked: known from calls only";

/// What is known of one model.
enum Known {
    Well,
    /// It may be asked, and is not trusted.
    OnTrial(String),
    /// Nobody asks it.
    Down(String),
}

/// The models that calls go to: those of a pin first, those of the default chain, and those that agents name for themselves. Each once.
pub(crate) fn models<'a>(chain: &'a [ModelRef], agents: &'a [ModelRef], board: Option<&'a Board>) -> Vec<&'a ModelRef> {
    let mut models: Vec<&ModelRef> = board.map_or(chain, |board| board.chain(chain)).iter().collect();
    for model in chain.iter().chain(agents) {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

/// The names of the providers of some models, each once, in order.
pub(crate) fn names(models: &[&ModelRef]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for model in models {
        if !names.contains(&model.provider) {
            names.push(model.provider.clone());
        }
    }
    names
}

/// One indicator for each provider.
pub(crate) fn indicators(survey: &Survey) -> Vec<Indicator> {
    let Ok(chain) = &survey.models else { return Vec::new() };
    let agents = survey.environment.as_ref().map(|configured| configured.models.as_slice()).unwrap_or_default();
    let models = models(chain, agents, survey.board.as_ref());
    let nobody = problem(survey).is_some();
    names(&models).into_iter().map(|name| indicator(survey, &models, name, nobody)).collect()
}

/// Why no model of the chain can be asked, if none can.
pub(crate) fn problem(survey: &Survey) -> Option<String> {
    let chain = match &survey.models {
        Ok(chain) => chain,
        Err(problem) => return Some(problem.clone()),
    };
    let asked = survey.board.as_ref().map_or(chain.as_slice(), |board| board.chain(chain));
    let mut problems = Vec::new();
    for model in asked {
        match known(survey, model) {
            Known::Well | Known::OnTrial(_) => return None,
            Known::Down(problem) => problems.push(problem),
        }
    }
    problems.dedup();
    Some(problems.join("; "))
}

/// What all of it comes to: the worst state, and what is said of those that are not well.
pub(crate) fn summary(survey: &Survey) -> (Health, String) {
    if let Some(problem) = problem(survey) {
        return (Health::Unhealthy, problem);
    }
    let indicators = indicators(survey);
    let unwell: Vec<String> = indicators.iter().filter(|it| it.status > Health::Healthy).filter_map(|it| it.message.clone()).collect();
    let said = match (unwell.is_empty(), longest(survey)) {
        (false, _) => unwell.join("; "),
        (true, Some(_)) => "a model can be asked".to_owned(),
        (true, None) => NOT_ASKED.to_owned(),
    };
    (worst(indicators.iter().map(|it| it.status)), said)
}

/// What asking the slowest of them took; `None` if none was asked.
pub(crate) fn longest(survey: &Survey) -> Option<Duration> {
    survey.providers.iter().filter(|(_, check)| check.found != Ok(Reach::NotAsked)).map(|(_, check)| check.took).max()
}

fn indicator(survey: &Survey, models: &[&ModelRef], name: String, nobody: bool) -> Indicator {
    let mut said: Vec<String> = Vec::new();
    let mut is_down = true;
    for model in models.iter().filter(|model| model.provider == name) {
        match known(survey, model) {
            Known::Well => is_down = false,
            Known::OnTrial(problem) => {
                is_down = false;
                said.push(problem);
            }
            Known::Down(problem) => said.push(problem),
        }
    }
    said.dedup();
    let status = match (said.is_empty(), is_down && nobody) {
        (true, _) => Health::Healthy,
        (false, true) => Health::Unhealthy,
        (false, false) => Health::Degraded,
    };
    let check = connection(survey, &name);
    if said.is_empty() && check.is_some_and(|check| check.found == Ok(Reach::NotAsked)) {
        said.push(NOT_ASKED.to_owned());
    }
    let latency_ms = check.filter(|check| check.found == Ok(Reach::Open)).map(Timed::millis);
    Indicator { name: format!("provider:{name}"), status, message: (!said.is_empty()).then(|| said.join("; ")), latency_ms }
}

fn known(survey: &Survey, model: &ModelRef) -> Known {
    let Some(board) = &survey.board else { return connected(survey, model) };
    // Who did it and why is for operators: `GET /v1/providers`.
    if let Some(disabled) = board.disabled(model) {
        return Known::Down(format!("{} is switched off by an operator", disabled.name));
    }
    match connected(survey, model) {
        Known::Well => tried(board, model, survey.at),
        other => other,
    }
}

fn tried(board: &Board, model: &ModelRef, now: Timestamp) -> Known {
    let breaker = board.breaker(model, now);
    let cause = breaker.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    if !breaker.is_in_trouble(now) {
        return Known::Well;
    }
    match breaker.state {
        State::Closed => Known::Well,
        State::Open { until } if now < until => {
            Known::Down(format!("the breaker of {model} is open until {}{cause}", rfc3339_millis::format(until)))
        }
        // Nobody has tried yet, and whoever comes next may: it would be a trap to wait for that before work is sent here.
        State::Open { .. } => Known::OnTrial(format!("the breaker of {model} was open{cause}; the next call tries it")),
        State::HalfOpen { .. } => Known::OnTrial(format!("the breaker of {model} is half open{cause}: calls try it one by one")),
    }
}

fn connected(survey: &Survey, model: &ModelRef) -> Known {
    match connection(survey, &model.provider).map(|check| &check.found) {
        Some(Err(problem)) => Known::Down(format!("{}: {problem}", model.provider)),
        Some(Ok(Reach::Open | Reach::NotAsked)) | None => Known::Well,
    }
}

fn connection<'a>(survey: &'a Survey, name: &str) -> Option<&'a Timed<Reach>> {
    survey.providers.iter().find(|(provider, _)| provider == name).map(|(_, check)| check)
}
