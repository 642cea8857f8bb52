//! What the template gives each function, against what the function reads and needs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::config::variables;

use crate::template_document::{Template, function_folders, referenced, text};

/// Read by the crate `lambda_http`, not by us: paths come without the stage, on AWS and locally.
const OF_LAMBDA_HTTP: &str = "AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH";
/// What API Gateway waits for an answer.
const GATEWAY_SECONDS: u64 = 29;
/// What it streams at most.
const LONGEST_STREAM_SECONDS: u64 = 900;

fn variables_read() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("health", variables::HEALTH),
        ("agent-api", variables::AGENT_API),
        ("queue-consumer", variables::QUEUE_CONSUMER),
        ("dlq-redrive", variables::DLQ_REDRIVE),
        ("operator-api", variables::OPERATOR_API),
        ("sweeper", variables::SWEEPER),
    ])
}

#[test]
fn every_folder_under_functions_is_deployed_and_nothing_else() {
    let deployed: Vec<_> = Template::read("template.yaml").functions().into_keys().collect();
    assert_eq!(deployed, function_folders());
}

#[test]
fn each_function_gets_exactly_the_variables_it_reads() {
    let template = Template::read("template.yaml");
    let has_routes: BTreeSet<_> = template.events("Api").into_iter().map(|(function, ..)| function).collect();
    for (folder, function) in template.functions() {
        let set: BTreeSet<_> = function["Environment"]["Variables"].as_object().unwrap().keys().cloned().collect();
        let read = variables_read().remove(folder.as_str()).unwrap_or_else(|| panic!("no list of variables for {folder}"));
        let mut expected: BTreeSet<_> = read.iter().map(|name| (*name).to_owned()).collect();
        if has_routes.contains(&folder) {
            expected.insert(OF_LAMBDA_HTTP.to_owned());
        }
        assert_eq!(set, expected, "the variables of {folder} in template.yaml and in shared::config");
    }
}

#[test]
fn a_function_that_answers_the_gateway_gives_up_no_later_than_the_gateway() {
    let template = Template::read("template.yaml");
    let functions = template.functions();
    let streamed = template.events("Api").into_iter().filter(|(.., event)| event.get("ResponseTransferMode").is_some());
    let streams: BTreeSet<String> = streamed.map(|(folder, ..)| folder).collect();
    for (folder, ..) in template.events("Api") {
        let timeout = functions[&folder]["Timeout"].as_u64().unwrap();
        // What is streamed is read for as long as the function runs: see the contract tests of the API.
        let most = if streams.contains(&folder) { LONGEST_STREAM_SECONDS } else { GATEWAY_SECONDS };
        assert!(timeout <= most, "{folder} runs for {timeout} s after which nobody reads its answer");
    }
    let longest_inline = template.0["Parameters"]["InlineSeconds"]["MaxValue"].as_u64().unwrap();
    let timeout = GATEWAY_SECONDS;
    assert!(longest_inline + 2 < timeout, "InlineSeconds up to {longest_inline} leaves no time to hand over within {timeout} s");
}

#[test]
fn a_lease_outlives_a_model_call_and_an_invocation_outlives_a_lease() {
    let template = Template::read("template.yaml");
    let default = |name: &str| template.0["Parameters"][name]["Default"].as_u64().unwrap();
    assert!(default("LeaseSeconds") > default("ModelTimeoutSeconds"));
    let longest_lease = template.0["Parameters"]["LeaseSeconds"]["MaxValue"].as_u64().unwrap();
    let longest_call = template.0["Parameters"]["ModelTimeoutSeconds"]["MaxValue"].as_u64().unwrap();
    assert!(longest_lease > longest_call, "the longest model call allowed fits no lease that is allowed");
    assert!(template.functions()["queue-consumer"]["Timeout"].as_u64().unwrap() > longest_lease);
}

#[test]
fn each_function_logs_to_a_group_of_its_own_that_forgets() {
    let template = Template::read("template.yaml");
    let groups: BTreeMap<_, _> = template.of_type("AWS::Logs::LogGroup").into_iter().collect();
    let mut used = BTreeSet::new();
    for (folder, function) in template.functions() {
        let group = referenced(&function["LoggingConfig"]["LogGroup"]).unwrap_or_else(|| panic!("{folder} names no log group"));
        assert_eq!(groups[group]["LogGroupName"]["Fn::Sub"], format!("/aws/lambda/${{AWS::StackName}}-{folder}"));
        assert!(used.insert(group.to_owned()), "{folder} shares {group}");
    }
    for (name, group) in groups {
        assert_eq!(group["RetentionInDays"]["Ref"], "LogRetentionDays", "{name} keeps its lines for ever");
    }
}

#[test]
fn each_function_is_named_after_its_folder_built_as_told_and_traced() {
    for (folder, function) in Template::read("template.yaml").functions() {
        assert_eq!(function["FunctionName"]["Fn::Sub"], format!("${{AWS::StackName}}-{folder}"));
        assert_eq!(function["CodeUri"], format!("target/lambda/{folder}/bootstrap.zip"));
        assert_eq!(function["Runtime"], "provided.al2023", "{folder}");
        assert_eq!(function["Architectures"][0]["Ref"], "Architecture", "{folder}");
        assert_eq!(function["Tracing"], "Active", "{folder}");
    }
}

#[test]
fn the_key_of_a_model_is_a_secret_and_never_a_parameter() {
    let template = Template::read("template.yaml");
    for (folder, function) in template.functions() {
        let variables = function["Environment"]["Variables"].as_object().unwrap();
        assert!(!variables.contains_key("MODEL_API_KEY"), "{folder} gets a key; it reads it by the name of its secret");
        let resolved = serde_json::to_string(variables).unwrap();
        assert!(!resolved.contains("{{resolve:secretsmanager"), "{folder}: a variable can be read by whoever may see the function");
    }
    for (name, parameter) in template.0["Parameters"].as_object().unwrap() {
        let described = text(parameter.get("Description").unwrap_or(&Value::Null)).to_lowercase();
        assert!(!described.starts_with("key ") && !described.starts_with("password"), "{name} looks like a secret in plain text");
    }
}

#[test]
fn who_sends_traces_is_told_where_and_nobody_else_links_what_sends_them() {
    for (folder, read) in variables_read() {
        let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../functions/{folder}/Cargo.toml"));
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert_eq!(manifest.contains("\"traces\""), read.contains(&variables::OTEL_EXPORTER_OTLP_ENDPOINT), "{folder}");
    }
    assert!(!variables_read()["health"].contains(&variables::OTEL_EXPORTER_OTLP_ENDPOINT), "the probes stay lean");
}
