//! `reprise agents`.

use crate::support::{Checkout, Request, Stub, stderr, stdout};

const AGENT: &str = "name: assistant\nversion: 2\ndescription: Helps.\ninstructions: Be brief.\ntools: [clock]\n";

/// A checkout with one agent.
fn with_agent(test: &str, text: &str) -> Checkout {
    let checkout = Checkout::new(test);
    std::fs::create_dir_all(checkout.0.join("infra/agents")).unwrap();
    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), text).unwrap();
    checkout
}

#[test]
fn a_mistake_in_an_agents_file_is_told_with_its_place_and_exits_with_1() {
    let checkout = with_agent("validate", &AGENT.replace("clock", "hammer").replace("version: 2", "version: 0"));
    let output = checkout.reprise(&["agents", "validate"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for part in
        ["infra/agents/assistant.yaml:2: version: must be from 1", "infra/agents/assistant.yaml:5: tools[0]: no tool is named `hammer`"]
    {
        assert!(stdout(&output).contains(part), "{part} is missing in {}", stdout(&output));
    }
    let json = checkout.reprise(&["agents", "validate", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &report["valid"], &report["problems"][1]["line"]), (Some(1), &false.into(), &5.into()));
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(1));
    assert!(!checkout.0.join("target").exists(), "what does not hold is not compiled");
    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), AGENT).unwrap();
    assert_eq!(checkout.reprise(&["agents", "validate"]).status.code(), Some(0));
}

#[test]
fn a_bundle_is_compiled_the_same_each_time_checked_and_compared() {
    let checkout = with_agent("compile", AGENT);
    let bundle = checkout.0.join("target/agents/bundle.json");
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(1), "nothing is there");
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(0));
    let first = std::fs::read(&bundle).unwrap();
    std::fs::write(checkout.0.join("target/agents/old.yaml"), "x").unwrap();
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(1), "a file does not belong there");
    assert_eq!(checkout.reprise(&["agents", "compile"]).status.code(), Some(0));
    assert_eq!(std::fs::read(&bundle).unwrap(), first);
    assert_eq!(checkout.reprise(&["agents", "compile", "--check"]).status.code(), Some(0));
    assert_eq!(checkout.reprise(&["agents", "diff"]).status.code(), Some(0));

    std::fs::write(checkout.0.join("infra/agents/assistant.yaml"), AGENT.replace("brief", "long")).unwrap();
    let diff = checkout.reprise(&["agents", "diff"]);
    assert_eq!(diff.status.code(), Some(1), "{}", stdout(&diff));
    assert!(stdout(&diff).contains("~ agents.assistant.instructions: \"Be brief.\" → \"Be long.\""), "{}", stdout(&diff));
    assert!(stdout(&diff).contains("its version is still 2; raise it to 3"), "{}", stdout(&diff));

    let altered = String::from_utf8(first).unwrap().replacen("Be brief.", "Be rude.", 1);
    std::fs::write(&bundle, altered).unwrap();
    let refused = checkout.reprise(&["agents", "diff"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("bundle.json was altered"), "{}", stderr(&refused));

    let foreign = checkout.0.join("other");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("precious.txt"), "x").unwrap();
    assert_eq!(checkout.reprise(&["agents", "compile", "--out", foreign.to_str().unwrap()]).status.code(), Some(1));
    assert!(foreign.join("precious.txt").exists());
}

#[test]
fn an_agent_is_shown_with_its_defaults() {
    let checkout = with_agent("show", AGENT);
    let shown = checkout.reprise(&["agents", "show", "assistant", "--format", "json"]);
    let agent: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&agent["caps"]["steps"], &agent["strategy"]), (&20.into(), &"react".into()));
    let unknown = checkout.reprise(&["agents", "show", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("there are: assistant"), "{}", stderr(&unknown));
}

/// A stack whose agent answers in capitals once an example does. It runs the definitions of that version.
fn imitator(version: &str) -> Stub {
    let agents = format!(r#"{{"bundle":"{version}","agents":[]}}"#);
    Stub::answering(move |request| (200, imitate(request, &agents)))
}

fn imitate(request: &Request, agents: &str) -> String {
    if request.line == "GET /v1/agents" {
        return agents.to_owned();
    }
    if request.line != "POST /v1/agent" {
        return r#"{"steps":[{"kind":"model","provider":"openai","model":"demo"}],"next_cursor":null}"#.to_owned();
    }
    let asked = request.json();
    let prompt = asked["prompt"].as_str().unwrap();
    let is_led = asked["messages"].as_array().unwrap().iter().any(|message| message["content"].as_str().unwrap().starts_with("LOUD "));
    let said = if is_led { format!("LOUD {}", prompt.to_uppercase()) } else { prompt.to_owned() };
    serde_json::json!({"run_id": "run_1", "status": "completed", "response": said}).to_string()
}

#[test]
fn examples_are_chosen_by_what_the_agent_answers_compiled_with_their_scores_and_found_again_from_the_record() {
    let checkout = with_agent("optimize", AGENT);
    let validated = checkout.reprise(&["agents", "validate", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&validated.stdout).unwrap();
    let version = report["version"].as_str().unwrap();
    let rows: String = (0..8).map(|i| format!("{{\"input\":\"word {i}\",\"output\":\"LOUD WORD {i}\"}}\n")).collect();
    std::fs::write(checkout.0.join("set.jsonl"), rows).unwrap();
    let command = ["agents", "optimize", "assistant", "--data", "set.jsonl", "--metric", "f1", "--threshold", "0.9", "--seed", "3"];
    let with = |more: &[&str]| checkout.reprise(&[&command[..], more].concat());

    let other = with(&["--url", &imitator("another").url]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("the stack runs the definitions another"), "{}", stderr(&other));

    let done = with(&["--url", &imitator(version).url, "--record", "answers.jsonl"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let path = checkout.0.join("infra/agents/optimized/assistant.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let chosen: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&chosen["found"]["after"], &chosen["found"]["model"]), (&1.0.into(), &"openai::demo".into()), "{}", stdout(&done));
    assert!(chosen["found"]["before"].as_f64().unwrap() < 1.0);
    let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(checkout.0.join("target/agents/bundle.json")).unwrap()).unwrap();
    let agent = &bundle["bundle"]["agents"][0];
    assert_eq!((&agent["examples"], &agent["optimized"]), (&chosen["examples"], &chosen["found"]), "compiled with its scores");

    std::fs::remove_file(&path).unwrap();
    let replayed = with(&["--replay", "answers.jsonl"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", stderr(&replayed));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written, "the same, with nobody asked");

    let another = with(&["--replay", "answers.jsonl", "--max-examples", "1"]);
    assert_eq!(another.status.code(), Some(1));
    assert!(stderr(&another).contains("the record has no answer"), "{}", stderr(&another));
}
