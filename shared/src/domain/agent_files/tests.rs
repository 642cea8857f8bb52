use serde_json::json;

use super::super::definition::{Agent, Caps, Sampling, Strategy, ToolUse};
use super::super::event::AGENT_REQUEST;
use super::*;

pub(super) const AGENT: &str = "name: assistant
version: 2
description: Helps.
instructions: Be brief.
tools: [clock]
";
const PRICE: &str = "- provider: openai
  model: gpt
  input_per_million_usd: 0.15
  output_per_million_usd: 1
  as_of: 2026-11-22
  source: https://example.com
";
const TRIGGER: &str = "triggers:
  - name: t
    type: ticket.opened
";

pub(super) fn file(name: &str, text: impl Into<String>) -> SourceFile {
    SourceFile { name: name.into(), text: text.into() }
}

pub(super) fn compiled(text: impl Into<String>) -> Result<Bundle, Vec<Refusal>> {
    let text = text.into();
    let compiled = compile(&[file("assistant.yaml", text.clone())]);
    if compiled.is_ok() {
        schema_tests::agrees_to_take("assistant.yaml", &text);
    }
    compiled
}

/// The one refusal, as a person reads it.
pub(super) fn refused(files: &[SourceFile]) -> String {
    let refusals = compile(files).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals[0].to_string()
}

/// Each text is refused with this place, and says this.
pub(super) fn check<'t>(name: &str, table: impl IntoIterator<Item = (String, &'t str, &'t str)>) {
    for (text, place, says) in table {
        let mut files = vec![file(name, text.clone())];
        if name == PRICES {
            files.push(file("assistant.yaml", AGENT));
        }
        let refusal = refused(&files);
        assert!(refusal.starts_with(&format!("infra/agents/{name}:{place}: ")), "{text}\n{refusal}");
        assert!(refusal.contains(says), "{text}\n{refusal}");
        schema_tests::agrees_to_refuse(name, &text, &refusal);
    }
}

#[test]
fn an_agent_has_defaults_for_what_it_does_not_say() {
    let bundle = compiled(AGENT).unwrap();
    let agent = Agent {
        name: "assistant".into(),
        version: 2,
        description: "Helps.".into(),
        instructions: "Be brief.".into(),
        models: Vec::new(),
        sampling: Sampling::default(),
        effort: None,
        tools: vec![ToolUse::of("clock")],
        parallel_tool_calls: 4,
        strategy: Strategy::React,
        output: None,
        examples: Vec::new(),
        optimized: None,
        caps: Caps { steps: 20, tokens: None, wall_seconds: 86_400, cost_micros: None, identical_tool_calls: 3 },
    };
    assert_eq!((bundle.agents, bundle.triggers.len(), bundle.prices.len()), (vec![agent], 0, 0));
    for field in ["name", "version", "description", "instructions", "tools"] {
        let text: String = AGENT.lines().filter(|line| !line.starts_with(field)).map(|line| format!("{line}\n")).collect();
        assert!(refused(&[file("assistant.yaml", text)]).contains(&format!("missing field `{field}`")));
    }
}

#[test]
fn caps_are_taken_as_they_are_written() {
    let caps = "caps: {steps: 5, tokens: 1000, wall_seconds: 60, cost_usd: 0.000001, identical_tool_calls: 1}";
    let caps = compiled(format!("{AGENT}{caps}")).unwrap().agents[0].caps;
    assert_eq!(caps, Caps { steps: 5, tokens: Some(1000), wall_seconds: 60, cost_micros: Some(1), identical_tool_calls: 1 });
}

#[test]
fn a_trigger_is_taken_as_it_is_written() {
    let rest = "    source: crm/*
    filter: {n: [{numeric: ['>', 1]}]}
    dedupe: {key: /id, window_seconds: 60}
    rate: {limit: 3, window_seconds: 9}
    prompt: 'Look at {{/id}}'
";
    let bundle = compiled(format!("{AGENT}{TRIGGER}{rest}")).unwrap();
    let [trigger] = bundle.triggers.as_slice() else { panic!("{bundle:?}") };
    assert_eq!((trigger.name.as_str(), trigger.agent.as_str(), trigger.kind.as_str()), ("t", "assistant", "ticket.opened"));
    assert!(trigger.matches("ticket.opened", "crm/eu", &json!({"n": 2})));
    assert!(!trigger.matches("ticket.opened", "crm", &json!({"n": 2})) && !trigger.matches("ticket.opened", "crm/eu", &json!({"n": 1})));
    assert_eq!(trigger.dedupe.as_ref().map(|dedupe| (dedupe.key.as_str(), dedupe.window_seconds)), Some(("/id", 60)));
    assert_eq!(trigger.rate.map(|rate| (rate.limit, rate.window_seconds)), Some((3, 9)));
    assert_eq!(trigger.prompt_for("t", "s", &json!({"id": 7})), "Look at 7");
    let plain = compiled(format!("{AGENT}{TRIGGER}")).unwrap();
    assert!(plain.triggers[0].matches("ticket.opened", "", &json!(null)));
}

#[test]
fn a_part_of_an_agent_that_does_not_hold_is_refused_with_its_line_and_field() {
    let with = |from: &str, to: &str| {
        assert!(AGENT.contains(from));
        AGENT.replace(from, to)
    };
    let and = |more: &str| format!("{AGENT}{more}\n");
    check(
        "assistant.yaml",
        [
            (with("name: assistant", "name: helper"), "1: name", "the file's name, `assistant`"),
            (with("version: 2", "version: 0"), "2: version", "from 1 to"),
            (with("version: 2", "version: two"), "2: version", "whole number"),
            (with("Helps.", "' '"), "3: description", "must not be empty"),
            (with("Helps.", &"x".repeat(1001)), "3: description", "1001 bytes; at most 1000"),
            (with("Be brief.", "''"), "4: instructions", "must not be empty"),
            (with("Be brief.", &"x".repeat(32_001)), "4: instructions", "at most 32000"),
            (with("[clock]", "[clock, hammer]"), "5: tools[1]", "no tool is named `hammer`; there are: ask_human, calculator, clock, wait"),
            (with("[clock]", "[clock, clock]"), "5: tools[1]", "listed twice"),
            (with("[clock]", "clock"), "5: tools", "must be a list"),
            (and("colour: red"), "6: colour", "unknown field `colour`"),
            (and("caps: {stps: 5}"), "6: caps.stps", "unknown field `stps`"),
            (and("caps: {steps: 0}"), "6: caps.steps", "from 1 to 1000; it is 0"),
            (and("caps: {steps: 1001}"), "6: caps.steps", "from 1 to 1000"),
            (and("caps: {steps: -1}"), "6: caps.steps", "whole number"),
            (and("caps:\n  steps:"), "7: caps.steps", "whole number"),
            (and("caps: {tokens: 0}"), "6: caps.tokens", "from 1 to"),
            (and("caps: {wall_seconds: 0}"), "6: caps.wall_seconds", "from 1 to 2592000"),
            (and("caps: {wall_seconds: 2592001}"), "6: caps.wall_seconds", "from 1 to 2592000"),
            (and("caps: {identical_tool_calls: 0}"), "6: caps.identical_tool_calls", "from 1 to 100"),
            (and("caps: {cost_usd: 0}"), "6: caps.cost_usd", "above 0"),
            (and("caps: {cost_usd: -1}"), "6: caps.cost_usd", "US dollars"),
            (and("caps: {cost_usd: 1000001}"), "6: caps.cost_usd", "US dollars"),
            (and("caps: {cost_usd: 0.0000001}"), "6: caps.cost_usd", "six decimals"),
            (and("caps: {cost_usd: .nan}"), "6: caps.cost_usd", "US dollars"),
            (and("version: 3"), "6", "`version` stands here twice"),
            (and("caps: []"), "6: caps", "must be a map"),
            (and("caps: {"), "6: caps", "unclosed"),
        ],
    );
    for name in ["Assistant", "1a", "-a", "a_b", "a b", "ä", &"a".repeat(65)] {
        let refusals = compile(&[file(&format!("{name}.yaml"), with("assistant", name))]).unwrap_err();
        assert!(refusals[0].to_string().contains("1: name: must be 1 to 64 of a-z"), "{name}: {refusals:?}");
    }
}

#[test]
fn a_part_of_a_trigger_that_does_not_hold_is_refused_with_its_line_and_field() {
    let with = |from: &str, to: &str| format!("{AGENT}{}", TRIGGER.replace(from, to));
    let and = |more: &str| format!("{AGENT}{TRIGGER}    {more}\n");
    check(
        "assistant.yaml",
        [
            (with("name: t", "name: T"), "7: triggers[0].name", "a-z"),
            (with("ticket.opened", "''"), "8: triggers[0].type", "must not be empty"),
            (with("ticket.opened", "ticket.*"), "8: triggers[0].type", "exactly"),
            (with("ticket.opened", "ticket opened"), "8: triggers[0].type", "exactly"),
            (with("ticket.opened", &"x".repeat(129)), "8: triggers[0].type", "at most 128"),
            (with("ticket.opened", AGENT_REQUEST), "8: triggers[0].type", "starts its run itself"),
            (with("    type: ticket.opened\n", ""), "7: triggers[0]", "missing field `type`"),
            (and("colour: red"), "9: triggers[0].colour", "unknown field `colour`"),
            (and("source: ''"), "9: triggers[0].source", "must not be empty"),
            (and("source: 'a**'"), "9: triggers[0].source", "once"),
            (and("filter: {a: {b: high}}"), "9: triggers[0].filter.a.b", r#"["high"]"#),
            (and("filter: {a: [{begins: x}]}"), "9: triggers[0].filter.a[0].begins", "no operator"),
            (and("filter: {a: [!price 5]}"), "9: triggers[0].filter.a", "unsupported tag"),
            (and("filter:"), "9: triggers[0].filter", "map"),
            (and("filter: {a: [1], a: [2]}"), "9: triggers[0].filter", "`a` stands here twice"),
            (and("dedupe:"), "9: triggers[0].dedupe", "must be a map"),
            (and("dedupe: {key: /id}"), "9: triggers[0].dedupe", "missing field `window_seconds`"),
            (and("dedupe: {key: ticket.id, window_seconds: 60}"), "9: triggers[0].dedupe.key", "write it as /ticket/id"),
            (and("dedupe: {key: /a~b, window_seconds: 60}"), "9: triggers[0].dedupe.key", "~0"),
            (and("dedupe: {key: '', window_seconds: 60}"), "9: triggers[0].dedupe.key", "/ticket/id"),
            (and("dedupe: {key: /id, window_seconds: 0}"), "9: triggers[0].dedupe.window_seconds", "from 1 to 2592000"),
            (and("rate: {limit: 0, window_seconds: 60}"), "9: triggers[0].rate.limit", "from 1 to"),
            (and("rate: {limit: 1, window_seconds: 2592001}"), "9: triggers[0].rate.window_seconds", "from 1 to 2592000"),
            (and("rate: {limit: 1, window_seconds: 60, burst: 2}"), "9: triggers[0].rate.burst", "unknown field `burst`"),
            (and("prompt: ''"), "9: triggers[0].prompt", "must not be empty"),
            (and("prompt: 'Look at {{id}}'"), "9: triggers[0].prompt", "{{/a/json/pointer}}"),
            (and("prompt: 'Look at {{/id'"), "9: triggers[0].prompt", "not closed"),
        ],
    );
}

#[test]
fn a_price_that_does_not_hold_is_refused_with_its_line_and_field() {
    let with = |from: &str, to: &str| {
        assert!(PRICE.contains(from));
        PRICE.replace(from, to)
    };
    check(
        PRICES,
        [
            (with("openai", "''"), "1: [0].provider", "must not be empty"),
            (with("gpt", "'*'"), "2: [0].model", "after a beginning"),
            (with("gpt", "g*t*"), "2: [0].model", "at its end"),
            (with("0.15", "-1"), "3: [0].input_per_million_usd", "from 0"),
            (with("0.15", "cheap"), "3: [0].input_per_million_usd", "must be a number"),
            (with("usd: 1\n", "usd: 0.0000001\n"), "4: [0].output_per_million_usd", "six decimals"),
            (with("2026-11-22", "November"), "5: [0].as_of", "2026-11-22"),
            (with("2026-11-22", "2026-13-01"), "5: [0].as_of", "2026-11-22"),
            (with("2026-11-22", "2026-11"), "5: [0].as_of", "2026-11-22"),
            (with("https://example.com", "a friend"), "6: [0].source", "https://"),
            (with("model: gpt", "model: gpt\n  max_input_tokens: 0"), "3: [0].max_input_tokens", "from 1"),
            (format!("{PRICE}  note: x\n"), "7: [0].note", "unknown field `note`"),
            (with("  source: https://example.com\n", ""), "5: [0]", "missing field `source`"),
            (format!("{PRICE}{PRICE}"), "8: [1].model", "a price already"),
        ],
    );
    let tiers = format!("{PRICE}{}", with("model: gpt", "model: gpt\n  max_input_tokens: 9"));
    let bundle = compile(&[file(PRICES, tiers), file("assistant.yaml", AGENT)]).unwrap();
    assert_eq!((bundle.prices[0].input_micros_per_million, bundle.prices[0].output_micros_per_million), (150_000, 1_000_000));
    assert_eq!(bundle.prices[1].max_input_tokens, Some(9));
}

#[test]
fn a_trigger_name_is_taken_once_among_all_agents() {
    let helper = format!("{AGENT}{TRIGGER}").replace("assistant", "helper");
    let refusal = refused(&[file("helper.yaml", helper), file("assistant.yaml", format!("{AGENT}{TRIGGER}"))]);
    assert!(refusal.contains("helper.yaml:7: triggers[0].name: `t` is taken by a trigger in infra/agents/assistant.yaml"), "{refusal}");
}

#[test]
fn no_more_triggers_share_a_type_than_one_transaction_holds() {
    let triggers = |count: usize| -> String { (0..count).map(|i| format!("  - {{name: t{i}, type: ticket.opened}}\n")).collect() };
    let text = |count| format!("{AGENT}triggers:\n{}", triggers(count));
    assert_eq!(compiled(text(16)).unwrap().triggers.len(), 16);
    let refusals = compiled(text(18)).unwrap_err();
    assert_eq!(refusals.len(), 1, "told once: {refusals:?}");
    assert_eq!((refusals[0].line, refusals[0].field.as_str()), (Some(23), "triggers[16].type"));
    assert!(refusals[0].problem.contains("more than 16"), "{refusals:?}");
}

#[test]
fn a_file_that_would_be_passed_over_is_refused() {
    let refusal = refused(&[file("assistant.yaml", AGENT), file("triage.yml", AGENT)]);
    assert_eq!(refusal, "infra/agents/triage.yml: must end in `.yaml`, or it would be passed over");
}

#[test]
fn the_default_agent_has_to_be_there() {
    let refusal = refused(&[file("helper.yaml", AGENT.replace("assistant", "helper"))]);
    assert!(refusal.starts_with("infra/agents/assistant.yaml: is missing"), "{refusal}");
    assert!(refused(&[]).contains("is missing"));
}

#[test]
fn one_build_shows_all_that_is_wrong() {
    let text = AGENT.replace("version: 2", "version: 0").replace("clock", "hammer");
    let refusals = compile(&[file("helper.yaml", text.replace("assistant", "helper")), file("assistant.yaml", text)]).unwrap_err();
    let places: Vec<_> = refusals.iter().map(|refusal| (refusal.file.as_str(), refusal.field.as_str())).collect();
    assert_eq!(
        places,
        [("assistant.yaml", "version"), ("assistant.yaml", "tools[0]"), ("helper.yaml", "version"), ("helper.yaml", "tools[0]")]
    );
}

#[test]
fn in_a_filter_a_text_that_resembles_something_else_is_a_text() {
    let filter = "    filter: {a: [yes, no, off, 010, 1_000, 2026-11-22, 'true', '7']}\n";
    let trigger = compiled(format!("{AGENT}{TRIGGER}{filter}")).unwrap().triggers.remove(0);
    let fits = |value: serde_json::Value| trigger.matches("ticket.opened", "s", &json!({"a": value}));
    for text in ["yes", "no", "off", "010", "1_000", "2026-11-22", "true", "7"] {
        assert!(fits(json!(text)), "{text}");
    }
    for other in [json!(true), json!(false), json!(10), json!(8), json!(1000), json!(7)] {
        assert!(!fits(other.clone()), "{other}");
    }
    let filter = "    filter: {a: [true, 0x10, 1e2, ~]}\n";
    let trigger = compiled(format!("{AGENT}{TRIGGER}{filter}")).unwrap().triggers.remove(0);
    for value in [json!(true), json!(16), json!(100), json!(null)] {
        assert!(trigger.matches("ticket.opened", "s", &json!({"a": value})), "{value}");
    }
}
