//! Who answers while examples are chosen: the agent on a stack, or a record of what it has answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, Instant};

use agent_files::domain::agent_files::optimized::basis;
use agent_files::domain::canonical::sha256;
use agent_files::domain::definition::{Agent, Example};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::search::Answers;
use super::unreadable;
use crate::args::Optimize;
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::problem;
use crate::run::view::Run;

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// A run that was handed to the queue may use each of its attempts.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(500);

/// One answer, as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Recorded {
    /// Of the agent, the examples and the question.
    key: String,
    input: String,
    answer: String,
    model: String,
}

/// Asks each question once.
pub(super) struct Asked {
    agent: String,
    basis: String,
    known: BTreeMap<String, Recorded>,
    /// None: only what is known is answered.
    stack: Option<Http>,
    record: Option<File>,
    models: BTreeSet<String>,
}

impl Asked {
    pub(super) fn new(optimize: &Optimize, agent: &Agent, version: &str, env: &Env) -> Result<Self> {
        let mut asked = Self {
            agent: agent.name.clone(),
            basis: basis(agent),
            known: BTreeMap::new(),
            stack: None,
            record: None,
            models: BTreeSet::new(),
        };
        if let Some(path) = &optimize.replay {
            let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let recorded: Recorded = serde_json::from_str(line)
                    .map_err(|error| Error::new(format!("{} is no record of answers", path.display())).because(error))?;
                asked.known.insert(recorded.key.clone(), recorded);
            }
            return Ok(asked);
        }
        let stack = Http::to(&optimize.target, env, CALL_LIMIT)?;
        must_run(&stack, version)?;
        asked.stack = Some(stack);
        if let Some(path) = &optimize.record {
            let file = File::create(path).map_err(|error| Error::new(format!("cannot write {}", path.display())).because(error))?;
            asked.record = Some(file);
        }
        Ok(asked)
    }

    /// The models that answered.
    pub(super) fn models(&self) -> String {
        self.models.iter().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl Answers for Asked {
    fn answer(&mut self, examples: &[Example], input: &str) -> Result<String> {
        let key = sha256(json!([self.basis, examples, input]).to_string());
        if let Some(recorded) = self.known.get(&key) {
            self.models.insert(recorded.model.clone());
            return Ok(recorded.answer.clone());
        }
        let Some(stack) = &self.stack else {
            return Err(Error::new("the record has no answer to a question that is asked")
                .because(format!("input: {input}"))
                .with_hint("record again: the agent, the data, the metric, the seed and the numbers must be those of the record"));
        };
        let (answer, model) = ask(stack, &self.agent, examples, input)?;
        let recorded = Recorded { key: key.clone(), input: input.to_owned(), answer, model };
        if let Some(file) = &mut self.record {
            let line = serde_json::to_string(&recorded).unwrap_or_default();
            writeln!(file, "{line}").map_err(|error| Error::new("the record cannot be written").because(error))?;
        }
        self.models.insert(recorded.model.clone());
        Ok(self.known.entry(key).or_insert(recorded).answer.clone())
    }
}

/// Scores of another agent than that of the files would be about nothing.
fn must_run(stack: &Http, version: &str) -> Result<()> {
    let reply = stack.get("/v1/agents")?;
    if !reply.is_success() {
        return Err(problem::explain(&reply));
    }
    let deployed = reply.json()["bundle"].as_str().unwrap_or("unknown").to_owned();
    if deployed != version {
        let (deployed, version) = (super::super::short(&deployed), super::super::short(version));
        return Err(Error::new(format!(
            "the stack runs the definitions {deployed}, and these files without chosen examples are {version}"
        ))
        .with_hint("deploy these files first, without optimized/<agent>.json (`make run`), then optimize"));
    }
    Ok(())
}

/// The examples go before the question as messages, which is what the engine makes of compiled ones.
fn ask(stack: &Http, agent: &str, examples: &[Example], input: &str) -> Result<(String, String)> {
    let messages: Vec<Value> = examples
        .iter()
        .flat_map(|example| [json!({"role": "user", "content": example.input}), json!({"role": "assistant", "content": example.output})])
        .collect();
    let body = json!({"agent": agent, "prompt": input, "messages": messages, "metadata": {"purpose": "optimize"}}).to_string();
    let reply = stack.post("/v1/agent", &[("content-type", "application/json")], body.as_bytes())?;
    if !reply.is_success() {
        return Err(problem::explain(&reply));
    }
    let mut run = Run::from_start(&reply.json());
    let begun = Instant::now();
    while !run.ended() {
        if run.status == "waiting" && run.body["waiting"]["for"] != "turn" || begun.elapsed() > ANSWER_LIMIT {
            return Err(Error::new(format!("the run {} has no answer: it is {}", run.id, run.status)).because(format!("input: {input}")));
        }
        std::thread::sleep(LOOK);
        run = Run::fetch(stack, &run.id)?;
    }
    let answer = run.answer().map_err(|error| error.because(format!("input: {input}")))?;
    let steps = stack.get(&format!("/v1/runs/{}/steps", crate::http::segment(&run.id)))?.json();
    let model = steps["steps"].as_array().into_iter().flatten().rev().find(|step| step["kind"] == "model");
    let part = |name: &str| model.and_then(|step| step[name].as_str()).unwrap_or("unknown").to_owned();
    Ok((answer, format!("{}::{}", part("provider"), part("model"))))
}
