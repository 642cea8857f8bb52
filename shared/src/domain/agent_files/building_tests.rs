//! Tests of what an agent's file says of models, tools, strategies and answers.

use serde_json::json;

use super::super::definition::{Agent, Effort, Evaluation, Example, OutputSchema, Reflexion, Rule, Sampling, Scale, Strategy, ToolUse};
use super::tests::{AGENT, check, compiled, file, refused};
use super::*;

const ALL: &str = r#"name: assistant
version: 7
description: Everything that can be said.
instructions: {file: prompts/assistant.md}
models: ["openai::gpt-4o-mini", "bedrock_sigv4::amazon.nova-lite-v1:0"]
sampling: {temperature: 0.2, top_p: 0.9, max_output_tokens: 800, stop: ["\n\n", END], seed: 42}
reasoning_effort: low
tools:
  - clock
  - {name: ask_human, max_calls: 2}
  - {name: wait, approval: true}
parallel_tool_calls: 2
strategy:
  reflexion:
    max_iterations: 4
    threshold: 0.75
    scale: structured
    evaluation:
      rule: {contains: [Berlin], any_of: [noon, midday], none_of: [sorry], min_chars: 10, max_chars: 400}
output:
  name: report
  repairs: 1
  schema: {type: object, properties: {time: {type: string}}, required: [time]}
examples:
  - {input: When?, output: {time: noon}}
  - {input: And now?, output: '{"time": "later"}'}
caps: {steps: 30, cost_usd: 0.5}
"#;

fn agent(text: impl Into<String>) -> Agent {
    let files = [file("assistant.yaml", text), file("prompts/assistant.md", "Tell the time.\n")];
    // The prompt is not for every agent here.
    let needed = if files[0].text.contains("prompts/") { &files[..] } else { &files[..1] };
    schema_tests::agrees_to_take("assistant.yaml", &files[0].text);
    compile(needed).unwrap().agents.remove(0)
}

#[test]
fn everything_that_a_file_can_say_is_in_the_agent() {
    let agent = agent(ALL);
    assert_eq!(agent.instructions, "Tell the time.");
    assert_eq!(
        agent.models.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["openai::gpt-4o-mini", "bedrock_sigv4::amazon.nova-lite-v1:0"]
    );
    let stop = vec!["\n\n".into(), "END".into()];
    assert_eq!(agent.sampling, Sampling { temperature: Some(0.2), top_p: Some(0.9), max_output_tokens: Some(800), stop, seed: Some(42) });
    assert_eq!((agent.effort, agent.parallel_tool_calls, agent.caps.steps), (Some(Effort::Low), 2, 30));
    let tools = [
        ToolUse::of("clock"),
        ToolUse { max_calls: Some(2), ..ToolUse::of("ask_human") },
        ToolUse { approval: true, ..ToolUse::of("wait") },
    ];
    assert_eq!(agent.tools, tools);
    let rule = Rule {
        contains: vec!["Berlin".into()],
        any_of: vec!["noon".into(), "midday".into()],
        none_of: vec!["sorry".into()],
        min_chars: Some(10),
        max_chars: Some(400),
    };
    let evaluation = Evaluation::Rule(rule);
    assert_eq!(agent.strategy, Strategy::Reflexion(Reflexion { max_iterations: 4, threshold: 0.75, scale: Scale::Structured, evaluation }));
    let schema = json!({"type": "object", "properties": {"time": {"type": "string"}}, "required": ["time"]});
    assert_eq!(agent.output, Some(OutputSchema { name: "report".into(), schema, repairs: 1 }));
    let examples = [("When?", r#"{"time":"noon"}"#), ("And now?", r#"{"time": "later"}"#)];
    assert_eq!(agent.examples, examples.map(|(input, output)| Example { input: input.into(), output: output.into() }));
}

#[test]
fn a_strategy_has_a_short_form_and_defaults() {
    let strategy = |text: &str| {
        agent(format!("{AGENT}strategy: {text}\n").replace("[clock]", if text == "single" { "[]" } else { "[clock]" })).strategy
    };
    let judged = |instructions: Option<&str>, model: Option<&str>| Reflexion {
        max_iterations: 3,
        threshold: 0.8,
        scale: Scale::Scalar,
        evaluation: Evaluation::Model { instructions: instructions.map(str::to_owned), model: model.map(|model| model.parse().unwrap()) },
    };
    assert_eq!(strategy("single"), Strategy::Single);
    assert_eq!(strategy("react"), Strategy::React);
    for text in ["reflexion", "{reflexion: {}}", "{reflexion: {evaluation: model}}", "{reflexion: {evaluation: {model: {}}}}"] {
        assert_eq!(strategy(text), Strategy::Reflexion(judged(None, None)), "{text}");
    }
    let model = "{reflexion: {evaluation: {model: {instructions: Be strict., model: 'openai::gpt-4.1'}}}}";
    assert_eq!(strategy(model), Strategy::Reflexion(judged(Some("Be strict."), Some("openai::gpt-4.1"))));
    let schema = Evaluation::Schema(json!({"type": "object"}));
    assert_eq!(
        strategy("{reflexion: {scale: binary, evaluation: {schema: {type: object}}}}"),
        Strategy::Reflexion(Reflexion { scale: Scale::Binary, evaluation: schema, ..judged(None, None) })
    );
    assert_eq!(agent(AGENT).strategy, Strategy::React);
}

#[test]
fn a_part_that_does_not_hold_is_refused_with_its_line_and_field() {
    let and = |more: &str| format!("{AGENT}{more}\n");
    let with = |from: &str, to: &str| AGENT.replace(from, to);
    let rule = |rule: &str| and(&format!("strategy: {{reflexion: {{evaluation: {{rule: {rule}}}}}}}"));
    check(
        "assistant.yaml",
        [
            (with("Be brief.", "{file: prompts/none.md}"), "4: instructions.file", "there is no `prompts/none.md`"),
            (with("Be brief.", "{file: assistant.yaml}"), "4: instructions.file", "must be a file of infra/agents/prompts/"),
            (with("Be brief.", "{path: x}"), "4: instructions.path", "unknown field `path`"),
            (with("Be brief.", "[a]"), "4: instructions", "a text or a map"),
            (with("Be brief.", "7"), "4: instructions", "a text or a map"),
            (and("models: [gpt-4o-mini]"), "6: models[0]", "`<provider>::<model>`"),
            (and("models: ['Open AI::gpt']"), "6: models[0]", "provider"),
            (and("models: ['openai::gpt 4']"), "6: models[0]", "spaces"),
            (and("models: ['a::b', 'a::b']"), "6: models[1]", "listed twice"),
            (
                and(&format!("models: [{}]", (0..9).map(|i| format!("'a::{i}'")).collect::<Vec<_>>().join(", "))),
                "6: models[8]",
                "at most 8",
            ),
            (and("models: 'a::b'"), "6: models", "must be a list"),
            (and("sampling: {temperature: 2.1}"), "6: sampling.temperature", "from 0 to 2; it is 2.1"),
            (and("sampling: {temperature: -0.1}"), "6: sampling.temperature", "from 0 to 2"),
            (and("sampling: {temperature: .nan}"), "6: sampling.temperature", "from 0 to 2"),
            (and("sampling: {temperature: hot}"), "6: sampling.temperature", "must be a number"),
            (and("sampling: {temperature: }"), "6: sampling.temperature", "must be a number"),
            (and("sampling: {top_p: 0}"), "6: sampling.top_p", "above 0"),
            (and("sampling: {top_p: 1.5}"), "6: sampling.top_p", "from 0 to 1"),
            (and("sampling: {max_output_tokens: 0}"), "6: sampling.max_output_tokens", "from 1 to"),
            (and("sampling: {stop: [a, b, c, d, e]}"), "6: sampling.stop", "more than 4"),
            (and("sampling: {stop: ['']}"), "6: sampling.stop[0]", "1 to 256 bytes"),
            (and("sampling: {seed: -1}"), "6: sampling.seed", "whole number"),
            (and("sampling: {top_k: 5}"), "6: sampling.top_k", "unknown field `top_k`"),
            (and("reasoning_effort: most"), "6: reasoning_effort", "unknown variant `most`"),
            (and("reasoning_effort:"), "6: reasoning_effort", ""),
            (with("[clock]", "[{name: hammer}]"), "5: tools[0]", "no tool is named `hammer`"),
            (with("[clock]", "[clock, {name: clock}]"), "5: tools[1]", "listed twice"),
            (with("[clock]", "[{name: clock, max_calls: 0}]"), "5: tools[0].max_calls", "from 1 to 1000"),
            (with("[clock]", "[{name: clock, aproval: true}]"), "5: tools[0].aproval", "unknown field `aproval`"),
            (with("[clock]", "[{approval: true}]"), "5: tools[0]", "missing field `name`"),
            (with("[clock]", "[[clock]]"), "5: tools[0]", "a text or a map"),
            (and("parallel_tool_calls: 0"), "6: parallel_tool_calls", "from 1 to 16"),
            (and("parallel_tool_calls: 17"), "6: parallel_tool_calls", "from 1 to 16"),
            (and("strategy: think"), "6: strategy", "must be single, react, reflexion"),
            (and("strategy: {react: {}}"), "6: strategy.react", "unknown field `react`"),
            (and("strategy: single"), "6: strategy", "calls no tools"),
            (and("strategy: {reflexion: {max_iterations: 0}}"), "6: strategy.reflexion.max_iterations", "from 1 to 10"),
            (and("strategy: {reflexion: {max_iterations: 11}}"), "6: strategy.reflexion.max_iterations", "from 1 to 10"),
            (and("strategy: {reflexion: {threshold: 80}}"), "6: strategy.reflexion.threshold", "from 0 to 1; it is 80"),
            (and("strategy: {reflexion: {scale: stars}}"), "6: strategy.reflexion.scale", "unknown variant `stars`"),
            (and("strategy: {reflexion: {evaluation: rule}}"), "6: strategy.reflexion.evaluation", "one of rule, model and schema"),
            (and("strategy: {reflexion: {evaluation: {}}}"), "6: strategy.reflexion.evaluation", "one of rule, model and schema"),
            (
                and("strategy: {reflexion: {evaluation: {model: {}, rule: {min_chars: 1}}}}"),
                "6: strategy.reflexion.evaluation",
                "one of rule, model and schema",
            ),
            (
                and("strategy: {reflexion: {evaluation: {schema: {type: text}}}}"),
                "6: strategy.reflexion.evaluation.schema",
                "no valid JSON Schema",
            ),
            (rule("{}"), "6: strategy.reflexion.evaluation.rule", "demands nothing"),
            (rule("{contains: ['']}"), "6: strategy.reflexion.evaluation.rule.contains[0]", "must not be empty"),
            (rule("{min_chars: 9, max_chars: 8}"), "6: strategy.reflexion.evaluation.rule.max_chars", "not be below min_chars, 9; it is 8"),
            (rule("{matches: x}"), "6: strategy.reflexion.evaluation.rule.matches", "unknown field `matches`"),
            (and("output: {name: report}"), "6: output", "missing field `schema`"),
            (and("output: {name: a report, schema: {}}"), "6: output.name", "1 to 64 of"),
            (and("output: {schema: text}"), "6: output.schema", "as a map"),
            (and("output: {schema: {type: strin}}"), "6: output.schema", "no valid JSON Schema"),
            (and("output: {schema: {properties: {a: {minimum: low}}}}"), "6: output.schema", "/properties/a/minimum"),
            (and("output: {schema: {$ref: 'https://example.com/x'}}"), "6: output.schema", "example.com"),
            (and("output: {schema: {}, repairs: 6}"), "6: output.repairs", "from 0 to 5"),
            (and("output: {schema: {}, strict: true}"), "6: output.strict", "unknown field `strict`"),
            (and("examples: [{input: a}]"), "6: examples[0]", "missing field `output`"),
            (and("examples: [{input: '', output: b}]"), "6: examples[0].input", "must not be empty"),
            (and("examples: [{input: a, output: }]"), "6: examples[0].output", "must not be empty"),
            (and("examples: [{input: a, output: ''}]"), "6: examples[0].output", "must not be empty"),
            (
                and("output: {schema: {type: object}}\nexamples: [{input: a, output: b}]"),
                "7: examples[0].output",
                "does not satisfy the agent's output.schema: it is no JSON",
            ),
            (
                and("output: {schema: {type: object}}\nexamples: [{input: a, output: [b]}]"),
                "7: examples[0].output",
                "does not satisfy the agent's output.schema",
            ),
        ],
    );
}

#[test]
fn as_many_examples_are_taken_as_can_be_sent_along() {
    let with = |count: usize, bytes: usize| {
        let examples: String = (0..count).map(|i| format!("  - {{input: q{i}, output: {}}}\n", "x".repeat(bytes))).collect();
        compiled(format!("{AGENT}examples:\n{examples}"))
    };
    assert_eq!(with(32, 10).unwrap().agents[0].examples.len(), 32);
    let told = |refusals: Vec<Refusal>| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let refusal = told(with(34, 10).unwrap_err());
    assert_eq!(refusal, "infra/agents/assistant.yaml:39: examples[32]: is one too many; at most 32 are sent along");
    let refusal = told(with(4, 20_000).unwrap_err());
    assert!(refusal.starts_with("infra/agents/assistant.yaml:10: examples[3]: makes more than 64000 bytes"), "{refusal}");
}

#[test]
fn a_prompt_that_no_agent_names_is_refused() {
    let refusal = refused(&[file("prompts/old.md", "x"), file("assistant.yaml", AGENT)]);
    assert!(refusal.starts_with("infra/agents/prompts/old.md: no file names it"), "{refusal}");
    let empty =
        refused(&[file("prompts/assistant.md", " \n"), file("assistant.yaml", AGENT.replace("Be brief.", "{file: prompts/assistant.md}"))]);
    assert_eq!(empty, "infra/agents/assistant.yaml:4: instructions.file: must not be empty");
}

#[test]
fn chosen_examples_go_first_and_hold_only_for_the_agent_that_they_were_chosen_for() {
    let own = format!("{AGENT}examples: [{{input: own, output: own}}]\n");
    let before = agent(&*own);
    let optimized = |basis: &str, name: &str, count: u32| {
        let found = json!({"examples": count, "metric": "exact", "before": 0.25, "after": 0.75, "model": "m", "seed": 1, "data_sha256": "d",
            "training_rows": 8, "scored_rows": 8});
        json!({"agent": name, "basis": basis, "found": found, "examples": [{"input": "q", "output": "a"}]}).to_string()
    };
    let files = |yaml: &str, chosen: String| [file("assistant.yaml", yaml), file("optimized/assistant.json", chosen)];
    let basis = optimized::basis(&before);
    let compiled = compile(&files(&own, optimized(&basis, "assistant", 1))).unwrap().agents.remove(0);
    assert_eq!(compiled.examples.iter().map(|example| example.input.as_str()).collect::<Vec<_>>(), ["q", "own"]);
    assert_eq!(compiled.optimized.as_ref().map(|found| (found.before, found.after)), Some((0.25, 0.75)));
    assert_eq!(optimized::basis(&compiled), basis, "what was chosen does not count");

    let reworded = own.replace("version: 2", "version: 3").replace("Helps.", "Helps people.");
    assert!(compile(&files(&reworded, optimized(&basis, "assistant", 1))).is_ok(), "the model sees neither");
    for (yaml, chosen, says) in [
        (
            own.replace("brief", "long"),
            optimized(&basis, "assistant", 1),
            "basis: `assistant` has changed since these examples were chosen",
        ),
        (own.clone(), optimized(&basis, "triage", 1), "agent: is for `triage`"),
        (own.clone(), optimized(&basis, "assistant", 2), "found.examples: must be how many there are, 1"),
        (own.clone(), "{}".into(), "is not what `reprise agents optimize` writes"),
    ] {
        let refusal = refused(&files(&yaml, chosen));
        assert!(refusal.starts_with("infra/agents/optimized/assistant.json: ") && refusal.contains(says), "{refusal}");
    }
    let nobodys = refused(&[file("assistant.yaml", own), file("optimized/old.json", optimized(&basis, "old", 1))]);
    assert!(nobodys.contains("no agent is named `old`"), "{nobodys}");
}

#[test]
fn a_sealed_bundle_has_the_hash_of_every_file() {
    let files = [file("assistant.yaml", ALL), file("prompts/assistant.md", "Tell the time.")];
    let sealed = seal(&files).unwrap();
    assert_eq!(sealed.sources.keys().collect::<Vec<_>>(), ["assistant.yaml", "prompts/assistant.md"]);
    assert_eq!(sealed.sources["prompts/assistant.md"], sha256("Tell the time."));
    let again = seal(&files).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&sealed).unwrap(), "the same files make the same bytes");
    assert!(seal(&files[1..]).is_err());
}
