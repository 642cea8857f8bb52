//! Who calls: the tenant and the principal come from what API Gateway says, and a tenant finds only what is its own.

use std::sync::Arc;

use serde_json::json;
use shared::config::ApiAuth;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::engine::ports::Journal;
use shared::fakes::{MemoryStore, ScriptedModel};

use crate::document::DOCUMENT;
use crate::requests::{ANA, Asked, Caller, OWNER, ask, asked, get, good, post};
use crate::world::{Answer, World, world};

const EVE: Caller = Caller::Authorized("evil", "eve");

async fn principal_of(world: &World, answer: &Answer) -> (String, String) {
    let run: Run = world.store.get(answer.text("/run_id").parse().unwrap()).unwrap();
    let event = Journal::event(world.store.as_ref(), &run.tenant, run.event).await.unwrap().unwrap();
    (run.tenant.to_string(), event.principal)
}

#[tokio::test]
async fn the_tenant_and_the_principal_come_from_the_authorizer_or_from_the_signature() {
    let body = json!({"prompt": "why?", "background": true});
    let arn = "arn:aws:iam::123456789012:user/ana";
    for (auth, caller, tenant, name) in [
        (ApiAuth::Iam, ANA, "acme", "ana"),
        (ApiAuth::Iam, Caller::Signed("123456789012", arn), "123456789012", arn),
        (ApiAuth::None, Caller::Nobody, "local", "anonymous"),
        (ApiAuth::None, ANA, "local", "anonymous"),
    ] {
        let world = World::build(Arc::new(MemoryStore::default()), Arc::new(ScriptedModel::default()), auth);
        let answer = world.call(ask(&body).from(caller)).await;
        assert_eq!(principal_of(&world, &answer).await, (tenant.to_owned(), name.to_owned()));
        assert_eq!(world.queue.take()[0].0.tenant.as_str(), tenant);
    }
}

#[tokio::test]
async fn a_request_without_an_identity_is_refused_on_every_route_that_needs_one() {
    let callers = [Caller::Nobody, Caller::Authorized("a#b", "ana"), Caller::Authorized("", "ana"), Caller::Signed("a b", "arn:x")];
    for operation in DOCUMENT.operations() {
        let is_promised = DOCUMENT.promised().contains(&(operation.id().to_owned(), 403));
        for caller in callers.iter().filter(|_| is_promised) {
            let world = world();
            let dead = world.run_of("acme", RunState::Dead);
            let answer = world.call(good(&operation, dead.id.to_string()).from(*caller)).await;
            assert_eq!((answer.status, answer.text("/code")), (403, "forbidden"), "{}", operation.id());
            assert_eq!((world.store.get(dead.id), world.store.writes(), world.queue.take().len()), (Some(dead), 0, 0));
        }
    }
}

#[tokio::test]
async fn another_tenants_run_is_not_found_on_any_route_and_cannot_be_touched() {
    for state in RunState::ALL {
        let world = world();
        let run = world.run_of("acme", state);
        let routes: [fn(&str) -> Asked; 8] = [
            |id| get("/v1/runs/{id}").id(id),
            |id| get("/v1/runs/{id}/steps").id(id),
            |id| get("/v1/runs/{id}/steps/{index}/result").id(id),
            |id| post("/v1/runs/{id}/cancel").id(id),
            |id| post("/v1/runs/{id}/answer").id(id).body(r#"{"question_id": "q2", "answer": "yes"}"#),
            |id| post("/v1/dlq/{id}/retry").id(id),
            |id| post("/v1/dlq/{id}/discard").id(id).body(r#"{"reason": "spam"}"#),
            |id| get("/v1/dlq/{id}").id(id),
        ];
        for route in routes {
            let theirs = world.call(route(&run.id.to_string()).from(EVE)).await;
            let nobodys = world.call(route("run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H").from(EVE)).await;
            assert_eq!((theirs.status, &theirs.body), (404, &nobodys.body), "{state:?}: the two cannot be told apart");
        }
        for list in ["/v1/runs", "/v1/dlq"] {
            let answer = world.call(get(list).from(EVE)).await;
            assert!(!answer.body.to_string().contains(&run.id.to_string()), "{state:?}: {list}");
        }
        assert_eq!(world.call(get("/v1/dlq").from(EVE)).await.body["count"], 0);
        assert_eq!(world.store.get(run.id), Some(run), "{state:?}");
        assert_eq!((world.store.writes(), world.queue.take().len()), (0, 0));
    }
}

#[tokio::test]
async fn another_tenants_conversation_is_not_found_and_cannot_be_continued() {
    let world = world();
    let first = world.call(ask(&json!({"prompt": "our secret"}))).await;
    let conversation = first.text("/conversation_id");
    let sizes = || {
        let tables = world.store.tables();
        (tables.runs.len(), tables.events.len(), tables.turns.len(), tables.conversations.into_values().collect::<Vec<_>>())
    };
    let before = sizes();
    for method in ["GET", "DELETE"] {
        let refused = world.call(asked(method, "/v1/conversations/{id}").id(conversation).from(EVE)).await;
        assert_eq!((refused.status, refused.text("/field")), (404, "id"), "{method}");
    }
    for background in [true, false] {
        let body = json!({"prompt": "tell me", "conversation_id": conversation, "background": background});
        let answer = world.call(ask(&body).from(EVE)).await;
        assert_eq!((answer.status, answer.text("/field")), (404, "conversation_id"));
        assert!(!answer.body.to_string().contains("secret"));
    }
    assert_eq!((sizes(), world.queue.take().len()), (before, 0));
    let turns = world.call(get("/v1/conversations/{id}").id(conversation)).await;
    assert_eq!(turns.body["turns"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn only_the_account_that_owns_the_api_acts_on_all_tenants_at_once() {
    let world = world();
    let other = Caller::Signed("999999999999", "arn:aws:iam::999999999999:user/else");
    for caller in [ANA, other] {
        for body in [r#"{"native": true}"#, r#"{"tenant": "*"}"#, r#"{"tenant": "else"}"#] {
            assert_eq!(world.call(post("/v1/dlq/retry-all").body(body).from(caller)).await.status, 403, "{body}");
        }
        assert!(world.call(get("/v1/dlq").from(caller)).await.body["queue"].is_null(), "the depth is that of all tenants");
    }
    for (field, value) in [
        ("dry_run", json!(true)),
        ("tenant", json!("acme")),
        ("from", json!("start")),
        ("model", json!("script::m")),
        ("agent", json!("triage")),
        ("concurrency", json!(1)),
        ("canary", json!(5)),
        ("force", json!(true)),
    ] {
        let mut body = json!({"native": true, "reason": "the provider is back"});
        body[field] = value;
        let refused = world.call(post("/v1/dlq/retry-all").body(body.to_string()).from(OWNER)).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field), "the queue's own move knows nothing of it");
    }
    assert_eq!(*world.queue.moves.lock().unwrap(), 0);
    for body in [r#"{"native": true, "reason": "INC-7"}"#, r#"{"tenant": "*"}"#] {
        assert_eq!(world.call(post("/v1/dlq/retry-all").body(body).from(OWNER)).await.status, 202, "{body}");
    }
    assert!(world.call(get("/v1/dlq").from(OWNER)).await.body["queue"].is_object());
}
