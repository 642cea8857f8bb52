//! What operators see and say of providers.

use serde_json::{Value, json};
use shared::domain::breaker::{Breaker, BreakerConfig};
use shared::domain::clock::Clock;
use shared::domain::failure::FailureCode;

use crate::requests::{ANA, Asked, OWNER, ask, get, post};
use crate::world::{Answer, World, world};

fn command(name: &str, body: &Value) -> Asked {
    post(&format!("/v1/providers/{name}")).body(body.to_string()).from(OWNER)
}

/// One answer of each command.
pub(crate) async fn all() -> Vec<Answer> {
    let world = world();
    let mut answers = vec![world.call(get("/v1/providers").from(OWNER)).await];
    for name in ["disable", "enable", "pin"] {
        answers.push(world.call(command(name, &json!({"name": "script", "reason": "a test"}))).await);
        answers.push(world.call(command(name, &json!({"name": "nobody"}))).await);
        assert_eq!(answers.last().unwrap().text("/field"), "name");
    }
    answers.push(world.call(command("unpin", &json!({}))).await);
    answers.push(world.call(command("unpin", &json!({"name": "script"}))).await);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 400, 200, 400, 200, 400, 200, 400]);
    *world.switches.is_down.lock().unwrap() = true;
    answers.push(world.call(get("/v1/providers").from(OWNER)).await);
    for name in ["disable", "enable", "pin"] {
        answers.push(world.call(command(name, &json!({"name": "script"}))).await);
    }
    answers.push(world.call(command("unpin", &json!({}))).await);
    answers
}

async fn asked_after_a_while(world: &World) -> Answer {
    world.clock.advance(std::time::Duration::from_secs(2));
    world.call(ask(&json!({"prompt": "why?"}))).await
}

#[tokio::test]
async fn a_provider_that_is_switched_off_is_asked_no_more_and_the_operators_word_is_kept() {
    let world = world();
    let off = world.call(command("disable", &json!({"name": "script::m", "reason": "incident 4711"}))).await;
    assert_eq!(off.body["providers"][1]["models"][0]["disabled"]["reason"], "incident 4711");
    assert_eq!(off.body["providers"][1]["models"][0]["disabled"]["by"], "arn:aws:iam::123456789012:user/ops");
    assert_eq!(asked_after_a_while(&world).await.status, 202, "the run waits");
    world.call(command("enable", &json!({"name": "script::m"}))).await;
    assert_eq!(asked_after_a_while(&world).await.status, 200);
}

#[tokio::test]
async fn a_pin_to_a_provider_is_one_to_its_models_in_the_chain_and_another_needs_a_model() {
    let world = world();
    let pinned = world.call(command("pin", &json!({"name": "script", "reason": "quota"}))).await;
    assert_eq!((&pinned.body["pinned"]["to"], pinned.text("/pinned/reason")), (&json!(["script::m"]), "quota"));
    assert_eq!(world.call(command("pin", &json!({"name": "backup"}))).await.text("/field"), "name");
    let pinned = world.call(command("pin", &json!({"name": "backup::big"}))).await;
    assert_eq!(pinned.body["pinned"]["to"], json!(["backup::big"]));
    assert_eq!(world.call(command("unpin", &json!({"reason": "over"}))).await.body["pinned"], json!(null));
}

#[tokio::test]
async fn only_the_account_that_owns_the_api_sees_and_steers_providers() {
    let world = world();
    assert_eq!(world.call(get("/v1/providers").from(ANA)).await.status, 403);
    for name in ["disable", "enable", "pin", "unpin"] {
        assert_eq!(world.call(command(name, &json!({"name": "script"})).from(ANA)).await.status, 403);
    }
    assert_eq!(*world.switches.calls.lock().unwrap(), [0, 0, 0]);
}

#[tokio::test]
async fn a_breaker_that_is_open_is_seen_with_its_cause() {
    let world = world();
    let now = world.clock.now();
    let open = Breaker::closed("script::m".parse().unwrap(), now).tripped(&BreakerConfig::default(), FailureCode::ProviderTimeout, now);
    world.switches.board.lock().unwrap().breakers.insert("script::m".parse().unwrap(), open.unwrap());
    let shown = world.call(get("/v1/providers").from(OWNER)).await;
    let breaker = &shown.body["providers"][1]["models"][0]["breaker"];
    assert_eq!((&breaker["state"], &breaker["cause"], &breaker["opened"]), (&json!("open"), &json!("provider_timeout"), &json!(1)));
}

#[tokio::test]
async fn a_reason_is_as_long_as_it_may_be_and_no_longer() {
    let world = world();
    let with = |length: usize| command("disable", &json!({"name": "backup", "reason": "x".repeat(length)}));
    assert_eq!(world.call(with(500)).await.status, 200);
    assert_eq!(world.call(with(501)).await.text("/field"), "reason");
}
