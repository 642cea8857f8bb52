//! The document and `template.yaml` name the same routes, and each function answers those that the template gives it.

use std::collections::BTreeMap;

use shared::http::respond;

use crate::document::DOCUMENT;
use crate::requests::asked;
use crate::template_document::{Template, text};
use crate::world::world;

/// Verb and path of each API event in the template: the function's folder, and whether it is open to everybody.
fn routes() -> BTreeMap<(String, String), (String, bool)> {
    let events = Template::read("template.yaml").events("Api").into_iter();
    let routes = events.map(|(folder, _, event)| {
        let is_open = event["Auth"]["Authorizer"] == "NONE";
        ((text(&event["Method"]).to_uppercase(), text(&event["Path"])), (folder, is_open))
    });
    routes.collect()
}

#[test]
fn the_document_and_the_template_name_the_same_routes() {
    let documented: BTreeMap<_, _> = DOCUMENT
        .operations()
        .into_iter()
        .map(|it| ((it.method.clone(), it.path.to_owned()), it.body["security"] == serde_json::json!([])))
        .collect();
    let deployed: BTreeMap<_, _> = routes().into_iter().map(|(route, (_, is_open))| (route, is_open)).collect();
    assert_eq!(documented, deployed, "left: openapi.json, right: template.yaml; true is open to everybody");
}

#[test]
fn the_gateway_streams_what_the_functions_stream_for_as_long_as_they_run() {
    let template = Template::read("template.yaml");
    let (functions, world) = (template.functions(), world());
    for (folder, name, event) in template.events("Api") {
        let (method, path) = (text(&event["Method"]).to_uppercase(), text(&event["Path"]));
        let is_streamed = event["ResponseTransferMode"] == "RESPONSE_STREAM";
        assert_eq!(world.function(&folder).streams(&method, &path), is_streamed, "{name}: left the function, right the template");
        let waits = event["TimeoutInMillis"].as_u64();
        let runs = functions[&folder]["Timeout"].as_u64().unwrap() * 1000;
        assert_eq!(waits, is_streamed.then_some(runs), "{name}: how long the gateway waits, if not 29 s");
    }
}

#[tokio::test]
async fn each_function_answers_the_routes_that_the_template_gives_it_and_no_others() {
    let folders = ["agent-api", "dlq-redrive", "operator-api", "health"];
    for ((method, path), (folder, _)) in routes() {
        for candidate in folders {
            let world = world();
            let response = respond(world.function(candidate), asked(&method, &path).id("x").into_request()).await;
            let lambda_http::Body::Text(body) = response.body() else { panic!("no text") };
            let is_known = !(response.status() == 404 && body.contains(r#""field":"route""#));
            assert_eq!(is_known, candidate == folder, "{method} {path} at {candidate}: {body}");
        }
    }
}
