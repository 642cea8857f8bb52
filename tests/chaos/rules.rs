//! Turns a plan into rules for the emulator and the witness, and counts what they have done.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::Stack;
use tests::client::{Client, list, number, text};

use crate::plan::{By, Kind, Plan};

const PATH: &str = "/__reprise/faults";
const MODEL_PATH: &str = "/reprise/faults";
/// Most milliseconds that an answer of the model takes without a fault: a time to be killed in.
const LATENCY_MS: u32 = 1_200;
/// Oftener than this, and no run would live to be judged.
const HIGHEST_RATE: f64 = 0.3;

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
        Kind::KillConsumer | Kind::KillApi | Kind::KillSweeper | Kind::PauseConsumer | Kind::PauseApi => Vec::new(),
    }
}

/// The rules of a plan, in force until they are ended.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    stack: &'a Stack,
    seed: u64,
    /// What is still to strike.
    left: BTreeMap<Kind, u32>,
    /// What earlier rules have done.
    done: BTreeMap<Kind, u32>,
    /// How much oftener than at first.
    pressure: f64,
    /// Which kind the nth rule of each side is of.
    emulator: Vec<Kind>,
    model: Vec<Kind>,
}

impl<'a> Rules<'a> {
    /// Puts them in force.
    pub(crate) fn begin(stack: &'a Stack, plan: &Plan, seed: u64) -> Self {
        let (left, none) = (plan.counts.clone(), BTreeMap::new());
        let mut rules = Self { stack, seed, left, done: none, pressure: 1.0, emulator: Vec::new(), model: Vec::new() };
        rules.put();
        rules
    }

    /// Lets what has not struck yet strike oftener, so that rare kinds do not hold up the end.
    pub(crate) fn press(&mut self) {
        let struck = self.read("DELETE");
        for (kind, count) in struck {
            *self.done.entry(kind).or_default() += count;
            if let Some(left) = self.left.get_mut(&kind) {
                *left = left.saturating_sub(count);
            }
        }
        self.pressure *= 2.0;
        self.seed = self.seed.wrapping_add(1);
        self.put();
    }

    /// What was done so far, by kind.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, u32> {
        self.in_all(self.read("GET"))
    }

    /// Ends them; what was done in all.
    pub(crate) fn end(&self) -> BTreeMap<Kind, u32> {
        self.in_all(self.read("DELETE"))
    }

    fn put(&mut self) {
        let (mut of_emulator, mut of_model) = (Vec::new(), Vec::new());
        self.emulator.clear();
        self.model.clear();
        for (kind, count) in &self.left {
            let split = rules_of(*kind);
            let shares = u32::try_from(split.len()).unwrap_or(1);
            for (place, (word, rate, more)) in split.into_iter().enumerate() {
                // What does not divide evenly goes to the first.
                let budget = count / shares + if place == 0 { count % shares } else { 0 };
                let mut rule = more;
                rule["kind"] = json!(word);
                rule["rate"] = json!((rate * self.pressure).min(HIGHEST_RATE));
                rule["budget"] = json!(budget);
                match kind.by() {
                    By::Emulator => (self.emulator.push(*kind), of_emulator.push(rule)).0,
                    By::Model => (self.model.push(*kind), of_model.push(rule)).0,
                    By::Signal => {}
                }
            }
        }
        let seed = self.seed % (1 << 32);
        put(&self.stack.emulator, PATH, &json!({"seed": seed, "rules": of_emulator}));
        put(&self.stack.model, MODEL_PATH, &json!({"seed": seed, "latency_ms": LATENCY_MS, "rules": of_model}));
    }

    fn in_all(&self, now: BTreeMap<Kind, u32>) -> BTreeMap<Kind, u32> {
        let mut all = self.done.clone();
        for (kind, count) in now {
            *all.entry(kind).or_default() += count;
        }
        all
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

fn put(client: &Client, path: &str, body: &Value) {
    let answer = client.send("PUT", path, &[("content-type", "application/json")], body.to_string().into_bytes());
    assert_eq!(answer.status, 200, "{}", text(&answer.json(), "error"));
}
