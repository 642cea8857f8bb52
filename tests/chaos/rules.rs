//! Turns a plan into rules for the emulator and the witness, and counts what they have done.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::Stack;
use tests::client::{list, number, text};

use crate::plan::{By, Kind, Plan};

const PATH: &str = "/__reprise/faults";
const MODEL_PATH: &str = "/reprise/faults";
/// Most milliseconds that an answer of the model takes without a fault: a time to be killed in.
const LATENCY_MS: u32 = 500;

/// Rates high enough that faults meet each other in one run, low enough that most runs live.
fn rules_of(kind: Kind) -> Vec<(&'static str, f64, Value)> {
    let dynamodb = json!({"service": "dynamodb"});
    let sqs = json!({"service": "sqs"});
    match kind {
        Kind::Throttle => vec![("throttle", 0.04, dynamodb)],
        Kind::Error => vec![("error", 0.03, dynamodb)],
        Kind::LostReply => vec![("lost_reply", 0.04, dynamodb)],
        Kind::Delay => vec![("delay", 0.02, json!({"service": "dynamodb", "delay_ms": 2500}))],
        Kind::SendRefused => vec![("error", 0.08, sqs.clone()), ("throttle", 0.08, sqs)],
        Kind::SendReplyLost => vec![("lost_reply", 0.08, sqs)],
        Kind::Duplicate => vec![("duplicate", 0.15, json!({"delay_ms": 1500}))],
        Kind::Late => vec![("late", 0.1, json!({"delay_ms": 5000}))],
        Kind::Undeleted => vec![("undeleted", 0.08, json!({}))],
        Kind::ModelLimited => vec![("limited", 0.06, json!({}))],
        Kind::ModelError => vec![("error", 0.06, json!({}))],
        Kind::ModelHang => vec![("hang", 0.04, json!({}))],
        Kind::ModelGarbage => vec![("garbage", 0.05, json!({}))],
        Kind::ModelCut => vec![("cut", 0.05, json!({}))],
        Kind::KillConsumer | Kind::KillApi | Kind::PauseConsumer | Kind::PauseApi => Vec::new(),
    }
}

/// The rules of a plan, in force until they are ended.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    stack: &'a Stack,
    /// Which kind the nth rule of each side is of.
    emulator: Vec<Kind>,
    model: Vec<Kind>,
}

impl<'a> Rules<'a> {
    /// Puts them in force.
    pub(crate) fn begin(stack: &'a Stack, plan: &Plan, seed: u64) -> Self {
        let mut rules = Self { stack, emulator: Vec::new(), model: Vec::new() };
        let (mut of_emulator, mut of_model) = (Vec::new(), Vec::new());
        for (kind, count) in &plan.counts {
            let split = rules_of(*kind);
            let shares = u32::try_from(split.len()).unwrap_or(1);
            for (place, (word, rate, more)) in split.into_iter().enumerate() {
                // What does not divide evenly goes to the first.
                let budget = count / shares + if place == 0 { count % shares } else { 0 };
                let mut rule = more;
                rule["kind"] = json!(word);
                rule["rate"] = json!(rate);
                rule["budget"] = json!(budget);
                match kind.by() {
                    By::Emulator => (rules.emulator.push(*kind), of_emulator.push(rule)).0,
                    By::Model => (rules.model.push(*kind), of_model.push(rule)).0,
                    By::Signal => {}
                }
            }
        }
        let seed = seed % (1 << 32);
        put(&stack.emulator, PATH, &json!({"seed": seed, "rules": of_emulator}));
        put(&stack.model, MODEL_PATH, &json!({"seed": seed, "latency_ms": LATENCY_MS, "rules": of_model}));
        rules
    }

    /// What was done so far, by kind.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, u32> {
        self.read("GET")
    }

    /// Ends them; what was done in all.
    pub(crate) fn end(&self) -> BTreeMap<Kind, u32> {
        self.read("DELETE")
    }

    fn read(&self, method: &str) -> BTreeMap<Kind, u32> {
        let mut counts = BTreeMap::new();
        for (client, path, kinds) in [(&self.stack.emulator, PATH, &self.emulator), (&self.stack.model, MODEL_PATH, &self.model)] {
            let report = client.send(method, path, &[], Vec::new()).must(200);
            for (kind, rule) in kinds.iter().zip(list(&report, "rules")) {
                *counts.entry(*kind).or_default() += u32::try_from(number(rule, "injected")).unwrap_or(u32::MAX);
            }
        }
        counts
    }
}

fn put(client: &tests::client::Client, path: &str, body: &Value) {
    let answer = client.send("PUT", path, &[("content-type", "application/json")], body.to_string().into_bytes());
    assert_eq!(answer.status, 200, "{}", text(&answer.json(), "error"));
}
