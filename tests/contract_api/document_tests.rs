//! The document holds together by itself: references, operations, schemas, examples, words.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::domain::conversation::{LONGEST_LINE, WhenBusy};
use shared::domain::event::MatchOutcome;
use shared::domain::failure::FailureCode;
use shared::domain::state::RunState;
use shared::domain::turn::TurnEnd;

use crate::document::DOCUMENT;

/// Every object in the document, depth first, with where it is.
fn objects<'a>(at: &str, value: &'a Value, visit: &mut impl FnMut(&str, &'a Value)) {
    match value {
        Value::Object(fields) => {
            visit(at, value);
            for (name, field) in fields {
                objects(&format!("{at}/{}", name.replace('/', "~1")), field, visit);
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| objects(&format!("{at}/{i}"), item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    let mut referred = BTreeSet::from(["#/components/securitySchemes/sigv4".to_owned()]);
    objects("#", &DOCUMENT.0, &mut |_, object| {
        if object["$ref"].is_string() {
            DOCUMENT.resolve(object);
            referred.insert(object["$ref"].as_str().unwrap().to_owned());
        }
    });
    for (kind, components) in DOCUMENT.0["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(referred.contains(&reference), "nothing refers to {reference}");
        }
    }
}

#[test]
fn every_operation_says_what_a_client_needs() {
    let mut ids = BTreeSet::new();
    let tags: Vec<_> = DOCUMENT.0["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for operation in DOCUMENT.operations() {
        let (name, body) = (format!("{} {}", operation.method, operation.path), operation.body);
        assert!(ids.insert(operation.id().to_owned()), "{name}: operationId is taken");
        assert!(!body["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(body["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{name}");
        let in_path: Vec<_> = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = body["parameters"].as_array().into_iter().flatten().map(|parameter| DOCUMENT.resolve(parameter));
        let declared: Vec<_> = parameters.filter(|it| it["in"] == "path" && it["required"] == true).collect();
        assert_eq!(declared.iter().map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>(), in_path, "{name}");
        let responses = body["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} promises no success");
        for (status, response) in responses {
            let response = DOCUMENT.resolve(response);
            assert!(response["description"].is_string() && response["headers"]["x-request-id"].is_object(), "{name} {status}");
            // A probe that fails says so in its own words.
            let is_problem = !status.starts_with('2')
                && (!operation.is_probe() || status != "503" || operation.id() == "showMetrics")
                && (!operation.is_openai() || response["x-answered-by"] == "gateway");
            let kind = match status.as_str() {
                _ if is_problem => "application/problem+json",
                "200" if operation.id() == "streamRun" => "text/event-stream",
                "200" if operation.id() == "showMetrics" => "text/plain; version=0.0.4; charset=utf-8",
                _ => "application/json",
            };
            assert!(response["content"][kind]["schema"].is_object(), "{name} {status}: {kind}");
        }
    }
}

#[test]
fn every_schema_compiles_and_every_example_fits_its_schema() {
    for (name, schema) in DOCUMENT.0["components"]["schemas"].as_object().unwrap() {
        let meta = jsonschema::draft202012::meta::validate(schema);
        assert!(meta.is_ok(), "{name}: {}", meta.unwrap_err());
        DOCUMENT.validator(schema);
    }
    let mut seen = 0;
    objects("#", &DOCUMENT.0, &mut |at, object| {
        let examples = object["examples"].as_object().into_iter().flat_map(|named| named.values().map(|example| &example["value"]));
        for example in examples.chain(object.get("example")).filter(|_| object["schema"].is_object()) {
            let errors: Vec<_> = DOCUMENT.validator(&object["schema"]).iter_errors(example).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{at}: {errors:#?}");
            seen += 1;
        }
    });
    assert!(seen > 20, "only {seen} examples were looked at");
}

#[test]
fn the_words_and_the_version_are_those_of_the_code() {
    let words = |schema: &str| DOCUMENT.0.pointer(&format!("/components/schemas/{schema}/enum")).cloned();
    assert_eq!(DOCUMENT.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(words("RunStatus"), Some(json!(RunState::ALL.map(RunState::as_str))));
    assert_eq!(words("Failure/properties/code"), Some(json!(failure_codes().into_iter().map(FailureCode::as_str).collect::<Vec<_>>())));
    let strategies = [WhenBusy::Enqueue, WhenBusy::Reject, WhenBusy::Interrupt, WhenBusy::Rollback];
    assert_eq!(words("AgentRequest/properties/multitask_strategy"), Some(json!(strategies)));
    // Null stands last there: a turn that goes on.
    let ends = [TurnEnd::Completed, TurnEnd::Failed, TurnEnd::Dead, TurnEnd::Cancelled, TurnEnd::Interrupted, TurnEnd::RolledBack];
    assert_eq!(words("Turn/properties/status"), Some(json!(ends.map(Some).into_iter().chain([None]).collect::<Vec<_>>())));
    let outcomes = [MatchOutcome::Started, MatchOutcome::Duplicate, MatchOutcome::RateLimited];
    assert_eq!(words("Match/properties/outcome"), Some(json!(outcomes)));
    assert_eq!(DOCUMENT.0.pointer("/components/schemas/Conversation/properties/line/maxItems"), Some(&json!(LONGEST_LINE)));
}

/// All of them: a new one does not compile here before it is in the list, and fails above before it is in the document.
fn failure_codes() -> Vec<FailureCode> {
    use FailureCode as F;
    let after = |code| match code {
        F::ProviderTimeout => Some(F::ProviderRateLimited),
        F::ProviderRateLimited => Some(F::ProviderUnavailable),
        F::ProviderUnavailable => Some(F::ProviderAuth),
        F::ProviderAuth => Some(F::ProviderRejected),
        F::ProviderRejected => Some(F::NoProvider),
        F::NoProvider => Some(F::InvalidAnswer),
        F::InvalidAnswer => Some(F::AnswerCutOff),
        F::AnswerCutOff => Some(F::AnswerRefused),
        F::AnswerRefused => Some(F::InvalidOutput),
        F::InvalidOutput => Some(F::ResultTooLarge),
        F::ResultTooLarge => Some(F::StepLimit),
        F::StepLimit => Some(F::TokenLimit),
        F::TokenLimit => Some(F::TimeLimit),
        F::TimeLimit => Some(F::CostLimit),
        F::CostLimit => Some(F::RepeatedToolCall),
        F::RepeatedToolCall => Some(F::ToolsUnavailable),
        F::ToolsUnavailable => Some(F::UnknownAgent),
        F::UnknownAgent => Some(F::UncertainToolCall),
        F::UncertainToolCall => Some(F::WorkerLost),
        F::WorkerLost => Some(F::NoTime),
        F::NoTime => Some(F::JournalUnavailable),
        F::JournalUnavailable => Some(F::WorkerPanicked),
        F::WorkerPanicked => Some(F::CancelRequested),
        F::CancelRequested => None,
    };
    std::iter::successors(Some(F::ProviderTimeout), |code| after(*code)).collect()
}
