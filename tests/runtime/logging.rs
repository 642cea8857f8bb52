//! What a function writes on its log: objects for machines, or text for people.

use serde_json::Value;

use crate::function::{Function, get};

/// The lines about one request, as a function writes them that is deployed with this `LogJson`.
#[track_caller]
fn lines(log_json: &str) -> Vec<String> {
    let function = Function::start("agent-api", &[("LOG_JSON", Some(log_json))]);
    let _ = function.api.must_hear("next");
    function.api.invoke(get("/openapi.json"));
    let _ = function.api.must_hear("response");
    // It has written all of it before it asks for more.
    let _ = function.api.must_hear("next");
    // What it measured is for CloudWatch, which takes it from JSON only.
    function.printed().lines().filter(|line| !line.contains(r#""_aws""#)).map(str::to_owned).collect()
}

#[test]
fn a_function_writes_text_where_log_json_is_0_and_objects_where_it_is_1() {
    let of_request = |lines: &[String]| lines.iter().find(|line| line.contains("/openapi.json")).cloned();
    let text = lines("0");
    let Some(line) = of_request(&text) else { panic!("nothing of the request: {text:?}") };
    assert!(line.contains(" INFO  request  ") && line.contains("  status=200"), "{line}");
    assert!(text.iter().all(|line| serde_json::from_str::<Value>(line).is_err()), "{text:?}");

    let json = lines("1");
    let Some(line) = of_request(&json) else { panic!("nothing of the request: {json:?}") };
    let object: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((&object["level"], &object["message"], &object["status"]), (&"INFO".into(), &"request".into(), &200.into()));
    assert!(json.iter().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object())), "{json:?}");
}
