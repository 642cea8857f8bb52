//! Between the Lambda runtime and an [`Api`]: an event in, an answer out, whole or as it comes.
//!
//! A function may be woken by a queue as well, see [`Deliveries`]: one deployment, one role, one place to look for what it does.
//!
//! API Gateway takes an answer of a function in one of two forms, and which one is said in the template, by route: a JSON object
//! that holds all of it, or a stream that begins with a prelude. A function is not told, so its [`Api::streams`] says it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use futures_util::future::{join, join_all};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::lambda_runtime::layers::TracingLayer;
use lambda_http::lambda_runtime::{FunctionResponse, LambdaEvent, MetadataPrelude, Runtime, StreamResponse};
use lambda_http::request::LambdaRequest;
use lambda_http::tower::util::MapFutureLayer;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

use super::reply::{Payload, Work};
use super::{Api, Call, Problem, Reply};
use crate::domain::task::TRACEPARENT;
#[cfg(feature = "metrics")]
use crate::metrics::Reporter;
use crate::telemetry::{self, span};

/// A function that links no metrics measures nothing: there is never one of these.
#[cfg(not(feature = "metrics"))]
enum Reporter {}

#[cfg(not(feature = "metrics"))]
impl Reporter {
    fn request(&self, _status: u16, _took: std::time::Duration) {
        match *self {}
    }

    async fn report(&self) {
        match *self {}
    }
}

/// An answer as the runtime takes it.
type Answer = FunctionResponse<Whole, BoxStream<'static, Result<String, Infallible>>>;

/// An answer that is not streamed, as whoever woke the function takes it.
#[derive(Serialize)]
#[serde(untagged)]
enum Whole {
    Request(ApiGatewayProxyResponse),
    Delivery(Value),
}

/// What a function does with messages that a queue hands to it.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Works through a batch and says which of it is not done, in the words of the service that delivers. `deadline_ms` is when the
    /// invocation ends, in milliseconds since 1970; it may be long past where the runtime does not know it.
    ///
    /// # Errors
    /// When the batch cannot be read: the invocation fails, so that its messages come back.
    async fn deliver(&self, batch: Value, deadline_ms: u64) -> Result<Value, lambda_http::Error>;
}

/// Serves `api` until the sandbox ends.
///
/// # Errors
/// When the Lambda runtime cannot be reached.
pub async fn serve(api: Arc<dyn Api>) -> Result<(), lambda_http::Error> {
    run(api, None, None).await
}

/// The same, measured.
///
/// # Errors
/// When the Lambda runtime cannot be reached.
#[cfg(feature = "metrics")]
pub async fn serve_measured(api: Arc<dyn Api>, reporter: Reporter) -> Result<(), lambda_http::Error> {
    run(api, None, Some(Arc::new(reporter))).await
}

/// The same, and what a queue delivers.
///
/// # Errors
/// When the Lambda runtime cannot be reached.
#[cfg(feature = "metrics")]
pub async fn serve_with(api: Arc<dyn Api>, deliveries: Arc<dyn Deliveries>, reporter: Reporter) -> Result<(), lambda_http::Error> {
    run(api, Some(deliveries), Some(Arc::new(reporter))).await
}

async fn run(
    api: Arc<dyn Api>,
    deliveries: Option<Arc<dyn Deliveries>>,
    reporter: Option<Arc<Reporter>>,
) -> Result<(), lambda_http::Error> {
    let beside = Beside::default();
    let (begun, told) = (beside.clone(), reporter.clone());
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let (api, begun, deliveries, told) = (Arc::clone(&api), begun.clone(), deliveries.clone(), told.clone());
        async move {
            if let Some(deliveries) = deliveries.filter(|_| is_batch(event.payload.get())) {
                let done = deliveries.deliver(serde_json::from_str(event.payload.get())?, event.context.deadline).await?;
                return Ok(FunctionResponse::BufferedResponse(Whole::Delivery(done)));
            }
            let request: LambdaRequest = serde_json::from_str(event.payload.get())?;
            let request = Request::from(request).with_lambda_context(event.context);
            let asked_at = Instant::now();
            let (is_streamed, mut reply) = handle(api.as_ref(), request).await;
            if let Some(told) = told {
                told.request(reply.status.as_u16(), asked_at.elapsed());
            }
            api.answered(reply.status.as_u16());
            begun.begin(reply.work.take());
            Ok::<_, lambda_http::Error>(if is_streamed { streamed(reply) } else { whole(reply).await })
        }
    });
    // Outside all else: the answer was sent, or could not be. Nothing may be left when the runtime asks for the next event.
    let done = MapFutureLayer::new(move |invocation| {
        let (beside, reporter) = (beside.clone(), reporter.clone());
        async move {
            let sent = invocation.await;
            beside.end().await;
            // The caller has the answer already. Each of the two has its bound; beside each other they take the longer one.
            let report = async {
                if let Some(reporter) = reporter {
                    reporter.report().await;
                }
            };
            join(report, telemetry::flush()).await;
            sent
        }
    });
    Runtime::new(handler).layer(TracingLayer::new()).layer(done).run().await
}

/// Whether an event is a batch of messages: what no request has is `Records`.
fn is_batch(event: &str) -> bool {
    #[derive(Deserialize)]
    struct Batch {
        #[serde(rename = "Records")]
        _records: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Batch>(event).is_ok()
}

/// Answers one request: whatever happens, a response with a request id. It is there when all of it is there, and the work beside it
/// done: what a client has that waits for the end.
pub async fn respond(api: &dyn Api, request: Request) -> Response<Body> {
    let (_, mut reply) = handle(api, request).await;
    let beside = Beside::default();
    beside.begin(reply.work.take());
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = reply.status;
    response.headers_mut().extend(reply.headers());
    *response.body_mut() = Body::Text(text_of(reply.body).await);
    beside.end().await;
    response
}

/// Whether the answer has to be a stream, and the answer.
async fn handle(api: &dyn Api, request: Request) -> (bool, Reply) {
    let call = Call::from(request);
    let around = span::request(&call.method, &call.route, &call.request_id, call.header(TRACEPARENT).and_then(|place| place.parse().ok()));
    let is_streamed = api.streams(&call.method, &call.route);
    let reply = answer(api, &call).instrument(around.clone()).await;
    (is_streamed, inside(around, reply))
}

async fn answer(api: &dyn Api, call: &Call) -> Reply {
    if let Ok(run) = call.id("id") {
        span::is_about_run(run);
    }
    let handled = AssertUnwindSafe(api.handle(call)).catch_unwind().await;
    let handled = handled.unwrap_or_else(|_| Err(Problem::internal(&"the handler panicked")));
    let reply = Reply::of(handled, api.error_shape(call), &call.request_id);
    span::is_answered(reply.status.as_u16());
    tracing::info!(method = %call.method, route = %call.route, status = reply.status.as_u16(), "request");
    reply
}

/// What goes on after the handler belongs to the request as well: the work beside it, and the pieces that are still to come.
fn inside(around: Span, reply: Reply) -> Reply {
    let work = reply.work.map(|work| work.instrument(around.clone()).boxed());
    let body = match reply.body {
        Payload::Pieces(mut pieces) => {
            Payload::Pieces(stream::poll_fn(move |context| around.in_scope(|| pieces.poll_next_unpin(context))).boxed())
        }
        whole @ Payload::Whole(_) => whole,
    };
    Reply { work, body, ..reply }
}

fn streamed(reply: Reply) -> Answer {
    let headers = reply.headers().collect();
    let stream = match reply.body {
        Payload::Whole(text) => stream::iter([text]).boxed(),
        Payload::Pieces(pieces) => pieces,
    };
    FunctionResponse::StreamingResponse(StreamResponse {
        metadata_prelude: MetadataPrelude { status_code: reply.status, headers, cookies: Vec::new() },
        stream: stream.map(Ok).boxed(),
    })
}

async fn whole(reply: Reply) -> Answer {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = reply.status.as_u16().into();
    // Not in `headers` as well: API Gateway merges the two.
    response.multi_value_headers = reply.headers().collect();
    response.body = Some(Body::Text(text_of(reply.body).await));
    FunctionResponse::BufferedResponse(Whole::Request(response))
}

async fn text_of(body: Payload) -> String {
    match body {
        Payload::Whole(text) => text,
        Payload::Pieces(pieces) => pieces.collect().await,
    }
}

/// The work that goes on beside answers of this function, until it is ended.
#[derive(Clone, Default)]
struct Beside(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Beside {
    #[expect(clippy::disallowed_methods, reason = "the function takes no event before `end` has waited for it: it never freezes over it")]
    fn begin(&self, work: Option<Work>) {
        let begun = work.map(tokio::spawn);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(begun);
    }

    async fn end(&self) {
        let begun = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for ended in join_all(begun).await {
            if let Err(error) = ended {
                tracing::error!(%error, "work beside an answer failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use lambda_http::http::StatusCode;
    use tokio::sync::mpsc;

    use super::*;

    struct Panics;

    #[async_trait]
    impl Api for Panics {
        async fn handle(&self, call: &Call) -> Result<Reply, Problem> {
            if call.method == "GET" { panic!("secret detail") } else { Reply::json(StatusCode::OK, &1) }
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_internals() {
        let response = respond(&Panics, Request::new(Body::Empty)).await;
        assert_eq!(response.status(), 500);
        let Body::Text(text) = response.into_body() else { panic!("no text") };
        assert!(text.contains(r#""code":"internal""#) && !text.contains("secret"), "{text}");
    }

    #[test]
    fn what_a_queue_delivers_is_no_request() {
        assert!(is_batch(r#"{"Records": [{"messageId": "m", "body": "{}", "eventSource": "aws:sqs"}]}"#));
        for request in [r#"{"resource": "/v1/dlq", "body": "{\"Records\": []}"}"#, r#"{"Records": null}"#, "{}", ""] {
            assert!(!is_batch(request), "{request}");
        }
    }

    /// Its work is done only when nobody reads its pieces any more.
    struct Works(mpsc::UnboundedSender<&'static str>);

    #[async_trait]
    impl Api for Works {
        async fn handle(&self, _call: &Call) -> Result<Reply, Problem> {
            let (pieces, mut unread) = mpsc::channel::<String>(1);
            let done = self.0.clone();
            let body = stream::poll_fn(move |context| unread.poll_recv(context));
            Ok(Reply::events(body).beside(async move {
                while pieces.send("piece".to_owned()).await.is_ok() {}
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = done.send("done");
            }))
        }

        fn streams(&self, _method: &str, _route: &str) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn work_goes_on_when_the_reader_leaves_and_is_waited_for() {
        let (done, mut heard) = mpsc::unbounded_channel();
        let (is_streamed, mut reply) = handle(&Works(done), Request::new(Body::Empty)).await;
        assert!(is_streamed);
        let beside = Beside::default();
        beside.begin(reply.work.take());
        let FunctionResponse::StreamingResponse(mut answer) = streamed(reply) else { panic!("no stream") };
        assert_eq!(answer.metadata_prelude.headers["content-type"], "text/event-stream");
        assert_eq!(answer.stream.next().await, Some(Ok("piece".to_owned())));
        drop(answer);
        beside.end().await;
        assert_eq!(heard.try_recv(), Ok("done"));
    }
}
