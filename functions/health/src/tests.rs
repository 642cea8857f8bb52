//! The probes over scripted dependencies.

use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext;
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request};
use serde_json::Value;
use shared::fakes::FixedClock;
use shared::http::respond;

use super::*;

#[derive(Default)]
struct Scripted {
    broken: Option<&'static str>,
    hanging: Option<&'static str>,
    asked: AtomicUsize,
}

impl Scripted {
    async fn check(&self, name: &'static str) -> Check {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hanging == Some(name) {
            std::future::pending::<()>().await;
        }
        if self.broken == Some(name) { Err("broken".into()) } else { Ok(()) }
    }
}

#[async_trait]
impl Checks for Scripted {
    fn environment(&self) -> Check {
        if self.broken == Some("environment") { Err("broken".into()) } else { Ok(()) }
    }
    async fn llm(&self) -> Check {
        self.check("llm").await
    }
    async fn table(&self) -> Check {
        self.check("dependencies").await
    }
    async fn queue(&self) -> Check {
        self.check("queue").await
    }
}

async fn get(checks: Arc<Scripted>, route: &str) -> (u16, Value) {
    let api = HealthApi::with(checks, Arc::new(FixedClock::at("2026-01-02T03:04:05Z")));
    let mut context = ApiGatewayProxyRequestContext::default();
    context.resource_path = Some(route.to_owned());
    let mut request = Request::new(Body::Empty);
    request.extensions_mut().insert(RequestContext::ApiGatewayV1(context));
    let response = respond(&api, request).await;
    let Body::Text(text) = response.body() else { panic!("no text") };
    (response.status().as_u16(), serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn liveness_is_a_constant_and_asks_nothing() {
    let checks = Arc::new(Scripted { broken: Some("queue"), ..Scripted::default() });
    assert_eq!(get(checks.clone(), "/health").await, (200, serde_json::json!({"status": "healthy"})));
    assert_eq!(get(checks.clone(), "/healthz").await, (200, serde_json::json!({"status": "ok"})));
    assert_eq!(checks.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn ready_is_200_only_if_every_check_is_true() {
    let (status, body) = get(Arc::default(), "/api/production/ready").await;
    assert_eq!((status, &body["ready"], &body["queueHealth"]["status"]), (200, &Value::Bool(true), &Value::from("pass")));
    for name in ["llm", "environment", "dependencies", "queue"] {
        let (status, body) = get(Arc::new(Scripted { broken: Some(name), ..Scripted::default() }), "/api/production/ready").await;
        assert_eq!((status, &body["ready"], &body["checks"][name]), (503, &Value::Bool(false), &Value::Bool(false)), "{name}");
        assert!(body["problems"][0].as_str().unwrap().starts_with(name));
    }
}

#[tokio::test]
async fn a_hanging_dependency_is_a_failed_check_and_not_a_hanging_probe() {
    for name in ["llm", "dependencies", "queue"] {
        let (status, body) = get(Arc::new(Scripted { hanging: Some(name), ..Scripted::default() }), "/api/production/ready").await;
        assert_eq!((status, &body["checks"][name]), (503, &Value::Bool(false)), "{name}");
    }
}
