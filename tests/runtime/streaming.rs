//! In which form a function answers: as a stream where API Gateway wants one, as one JSON object elsewhere.

use serde_json::{Value, json};

use crate::function::{Function, get};

#[test]
fn a_route_that_streams_answers_with_a_prelude_and_others_with_an_object() {
    let function = Function::start("agent-api", &[]);
    let _ = function.api.must_hear("next");
    let mut asked = get("/v1/agent");
    (asked["httpMethod"], asked["requestContext"]["httpMethod"]) = (json!("POST"), json!("POST"));
    // The store is not there: what is wrong before a run begins has a status, streamed or not.
    for body in [r#"{"prompt":"why?","stream":true}"#, r#"{"prompt":"why?"}"#] {
        asked["body"] = body.into();
        function.api.invoke(asked.clone());
        let said = function.api.hear();
        assert_eq!((said.what.as_str(), said.is_streamed), ("response", true), "{}", said.body);
        let (prelude, problem) = said.body.split_once("\0\0\0\0\0\0\0\0").unwrap();
        let prelude: Value = serde_json::from_str(prelude).unwrap();
        let problem: Value = serde_json::from_str(problem).unwrap();
        assert_eq!((&prelude["statusCode"], &prelude["headers"]["content-type"]), (&json!(503), &json!("application/problem+json")));
        assert_eq!((&problem["status"], &problem["request_id"]), (&json!(503), &prelude["headers"]["x-request-id"]));
        let _ = function.api.must_hear("next");
    }
    function.api.invoke(get("/openapi.json"));
    let said = function.api.hear();
    assert_eq!((said.what.as_str(), said.is_streamed), ("response", false));
    let answer: Value = serde_json::from_str(&said.body).unwrap();
    assert_eq!((&answer["statusCode"], &answer["multiValueHeaders"]["content-type"]), (&json!(200), &json!(["application/json"])));
}
