//! The functions of the API in process, over in-memory ports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_api::AgentApi;
use async_trait::async_trait;
use dlq_redrive::{Choices, DlqApi, JobsApi, Replays};
use health::{Check, Checks, Configured, HealthApi, Reach, Sees, Thresholds};
use jiff::Timestamp;
use lambda_http::Body;
use lambda_http::http::HeaderMap;
use operator_api::OperatorApi;
use serde_json::{Value, json};
use shared::config::{ApiAuth, Environment};
use shared::domain::clock::{Clock, after};
use shared::domain::definition::ModelRef;
use shared::domain::failure::{Failure, FailureCode};
use shared::domain::id::TenantId;
use shared::domain::message::ToolCall;
use shared::domain::redact::Redactor;
use shared::domain::run::Run;
use shared::domain::state::RunState;
use shared::domain::waiting::{ASK_HUMAN, Waiting};
use shared::engine::Window;
use shared::engine::ports::{JournalError, Model};
use shared::fakes::{
    CountingHold, FixedClock, MemoryBreakers, MemoryIncidents, MemoryJobs, MemoryLetters, MemoryQueue, MemoryStore, MemoryTable, Scripted,
    ScriptedModel, a_run, an_event, engine, routes_over,
};
use shared::heartbeat::{Arrival, Depth, Found, Marks, Seen};
use shared::http::{Api, respond};
use shared::intake::Intake;
use shared::jobs::Desk;
use shared::letters::LetterDesk;
use shared::metrics::fleet::Sums;
use shared::operate::Redrive;
use shared::replay::Replayer;
use shared::sweep::janitor::{Letter, Letters};

use crate::document::{DOCUMENT, events};
use crate::requests::{Asked, REQUEST_ID};

/// The functions and what they work on.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) switches: Arc<MemoryBreakers>,
    pub(crate) letters: Arc<MemoryLetters>,
    pub(crate) jobs: Arc<MemoryJobs>,
    pub(crate) replayer: Replayer,
    agent: AgentApi,
    pub(crate) incidents: Arc<MemoryIncidents>,
    pub(crate) table: Arc<MemoryTable>,
    dlq: DlqApi,
    operator: OperatorApi,
    health: HealthApi,
}

/// What a function answered, already found to be as the document promises.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The text at a JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}: {:#}", self.body))
    }
}

/// A dead-letter queue on which nothing lies.
struct NoPile;

#[async_trait]
impl Letters for NoPile {
    async fn to_look_at(&self) -> Result<u64, JournalError> {
        Ok(0)
    }

    async fn take(&self, _hidden: Duration) -> Result<Vec<Letter>, JournalError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _letters: &[Letter]) -> Result<(), JournalError> {
        Ok(())
    }

    async fn give_back(&self, _letters: &[Letter]) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Dependencies that all answer, or of which the queue does not.
struct Probed {
    is_well: bool,
    due: Vec<Run>,
    clock: Arc<FixedClock>,
    found: Mutex<Option<Found>>,
}

impl Probed {
    fn api(is_well: bool, due: Vec<Run>, clock: &Arc<FixedClock>) -> HealthApi {
        let env = Environment::of(|name| (name == "API_AUTH").then(|| "iam".to_owned()));
        HealthApi::with(Arc::new(Self { is_well, due, clock: clock.clone(), found: Mutex::default() }), clock.clone(), env)
    }
}

#[async_trait]
impl Checks for Probed {
    fn environment(&self) -> Check<Configured> {
        Ok(Configured { agents: 2, models: Vec::new(), thresholds: Thresholds::DEFAULT })
    }
    fn models(&self) -> Check<Vec<ModelRef>> {
        Ok(vec!["openai::gpt-4o-mini".parse().expect("a model")])
    }
    async fn provider(&self, _name: &str) -> Check<Reach> {
        Ok(Reach::Open)
    }
    async fn table(&self) -> Check<Seen> {
        let at = self.clock.now();
        let marks = Marks { swept_at: Some(at), arrived: Some(Arrival { sent_at: at, at }), ..Marks::default() };
        let found = self.found.lock().expect("nobody panics").clone();
        Ok(Seen { marks, found, ..Seen::default() })
    }
    async fn claim(&self, _now: Timestamp, _before: Timestamp) -> Check<bool> {
        Ok(true)
    }
    async fn keep(&self, found: &Found) -> Check {
        *self.found.lock().expect("nobody panics") = Some(found.clone());
        Ok(())
    }
    async fn tasks(&self) -> Check<Depth> {
        if self.is_well { Ok(Depth::default()) } else { Err("the tasks queue does not answer".into()) }
    }
    async fn dead_letters(&self) -> Check<Depth> {
        Ok(Depth::default())
    }
    async fn jobs(&self) -> Check<Depth> {
        Ok(Depth::default())
    }
    async fn due(&self, late: Timestamp, sees: &Sees<'_>) -> Check<Vec<Run>> {
        let is_looked_at = |run: &&Run| run.due_ms.is_some_and(|at| at < late.as_millisecond()) || sees(&run.tenant);
        Ok(self.due.iter().filter(is_looked_at).cloned().collect())
    }
    async fn sums(&self) -> Check<Vec<Sums>> {
        Ok(Vec::new())
    }
}

/// A world whose model says `done`.
pub(crate) fn world() -> World {
    world_with(ScriptedModel::default())
}

/// A world whose model does what the script says.
pub(crate) fn scripted(script: impl IntoIterator<Item = Scripted>) -> World {
    world_with(ScriptedModel::new(script))
}

pub(crate) fn world_with(model: impl Model + 'static) -> World {
    World::build(Arc::new(MemoryStore::default()), Arc::new(model), ApiAuth::Iam)
}

impl World {
    pub(crate) fn build(store: Arc<MemoryStore>, model: Arc<dyn Model>, auth: ApiAuth) -> Self {
        let (queue, clock) = (Arc::new(MemoryQueue::default()), Arc::new(FixedClock::at("2026-01-02T03:04:05Z")));
        let switches = Arc::new(MemoryBreakers::default());
        let mut engine = engine(store.clone(), queue.clone(), model, clock.clone());
        engine.routes = Arc::new(routes_over(switches.clone()));
        // Shorter than the engine's model calls (20 s), so that one call that hangs is cut and handed over.
        let intake = Intake { engine, records: store.clone(), patience: Duration::from_secs(10) };
        let redrive = Redrive { records: store.clone(), queue: queue.clone(), dead_letters: queue.clone(), clock: clock.clone() };
        let (incidents, table) = (Arc::new(MemoryIncidents::default()), Arc::new(MemoryTable::default()));
        let letters = Arc::new(MemoryLetters::default());
        let pile = Arc::new(NoPile);
        let letter_desk = LetterDesk { book: letters.clone(), queue: letters.clone(), dead_letters: pile, clock: clock.clone() };
        let jobs = Arc::new(MemoryJobs::default());
        let desk = Desk { store: jobs.clone(), queue: jobs.clone(), clock: clock.clone() };
        let replayer = Replayer {
            records: store.clone(),
            events: store.clone(),
            queue: queue.clone(),
            bundle: intake.engine.bundle.clone(),
            clock: clock.clone(),
        };
        let providers = ["openai", "script", "backup"].map(str::to_owned).to_vec();
        let choices = Choices { bundle: replayer.bundle.clone(), providers };
        let replays = Replays { desk: desk.clone(), replayer: replayer.clone(), choices: choices.clone() };
        let (index, switched) = (store.clone(), switches.clone());
        let bulk = JobsApi { desk, redrive: redrive.clone(), index, switches: switched, choices: choices.clone(), auth };
        Self {
            operator: OperatorApi {
                incidents: incidents.clone(),
                backups: table.clone(),
                table: table.clone(),
                clock: clock.clone(),
                auth,
            },
            incidents,
            table,
            agent: AgentApi {
                intake: Arc::new(intake),
                records: store.clone(),
                events: store.clone(),
                contents: store.clone(),
                switches: switches.clone(),
                providers: vec!["script".into(), "backup".into()],
                aliases: [("ollama/llama3".to_owned(), "assistant".to_owned())].into(),
                clock: clock.clone(),
                auth,
            },
            switches,
            health: Probed::api(true, Vec::new(), &clock),
            dlq: DlqApi {
                redrive,
                index: store.clone(),
                letters: letter_desk,
                jobs: bulk,
                replays,
                choices,
                redactor: Redactor::default(),
                auth,
            },
            letters,
            jobs,
            replayer,
            store,
            queue,
            clock,
        }
    }

    /// With probes that fail.
    pub(crate) fn unwell(self) -> Self {
        Self { health: Probed::api(false, Vec::new(), &self.clock), ..self }
    }

    /// With these runs, which somebody has to look at.
    pub(crate) fn due(self, runs: Vec<Run>) -> Self {
        Self { health: Probed::api(true, runs, &self.clock), ..self }
    }

    /// With callers who wait so long.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        Arc::get_mut(&mut self.agent.intake).expect("nobody else has it yet").patience = patience;
        self
    }

    /// The function that `template.yaml` gives a route to: see the test of the routes.
    pub(crate) fn function(&self, folder: &str) -> &dyn Api {
        match folder {
            "agent-api" => &self.agent,
            "dlq-redrive" => &self.dlq,
            "operator-api" => &self.operator,
            "health" => &self.health,
            other => panic!("no function of the API is in functions/{other}"),
        }
    }

    /// Answers a request, and fails if the answer is not one that the document promises.
    pub(crate) async fn call(&self, asked: Asked) -> Answer {
        let operation = DOCUMENT.operation(&asked.method, &asked.route);
        let folder = match asked.route.split('/').nth(1) {
            Some("health" | "healthz" | "live" | "ready" | "readyz" | "metrics" | "api") => "health",
            _ if asked.route.starts_with("/v1/dlq") || asked.route.starts_with("/v1/replays") => "dlq-redrive",
            _ if ["/v1/incidents", "/v1/backup"].iter().any(|start| asked.route.starts_with(start)) => "operator-api",
            _ => "agent-api",
        };
        let response = respond(self.function(folder), asked.into_request()).await;
        let (parts, body) = response.into_parts();
        let Body::Text(text) = body else { panic!("no text") };
        let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
        let is_stream = kind == "text/event-stream";
        let body: Value =
            if kind.starts_with("text/") { Value::String(text) } else { serde_json::from_str(&text).expect("every other answer is JSON") };
        if let Value::String(text) = &body
            && is_stream
            && !operation.is_openai()
        {
            DOCUMENT.check_events(text);
        }
        let status = parts.status.as_u16();
        DOCUMENT.check(&operation, status, &parts.headers, &body);
        assert_eq!(parts.headers["x-request-id"], REQUEST_ID);
        if status >= 400 && body.get("type").is_some() {
            assert_eq!((&body["status"], &body["request_id"]), (&status.into(), &REQUEST_ID.into()));
            let header = parts.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header, body.get("retry_after").map(ToString::to_string), "the header and the body say the same");
        }
        if let Some(location) = parts.headers.get("location") {
            // The fixtures have the domain and the stage that API Gateway gives.
            let run = match &body {
                Value::String(text) => events(text)[0].data["run_id"].as_str().map(str::to_owned),
                body => body["run_id"].as_str().map(str::to_owned),
            };
            let address = match run {
                None if body["job_id"].is_string() => {
                    let base = if body["kind"] == "replay" { "/live/v1/replays" } else { "/live/v1/dlq/jobs" };
                    format!("{base}/{}", body["job_id"].as_str().unwrap())
                }
                Some(run) => format!("/live/v1/runs/{run}"),
                None => match body["incident_id"].as_str() {
                    Some(incident) => format!("/live/v1/incidents/{incident}"),
                    None => format!("/live/v1/events/{}", body["event_id"].as_str().unwrap()),
                },
            };
            assert_eq!(location.to_str().unwrap(), address);
        }
        Answer { operation: operation.id().to_owned(), status, headers: parts.headers, body }
    }

    /// A run of that tenant in that state, which failed once if it ended badly.
    pub(crate) fn run_of(&self, tenant: &str, state: RunState) -> Run {
        let tenant: TenantId = tenant.parse().expect("a tenant");
        let now = self.clock.now();
        let event = an_event(now);
        let mut run = Run { state, event: event.id, ..a_run(&tenant, now) };
        if matches!(state, RunState::Dead | RunState::Failed) {
            run.attempts = 3;
            run.note(Failure::new(FailureCode::ProviderUnavailable, "the provider does not answer", now, 3));
        }
        run.ended_at = state.has_ended().then_some(now);
        self.store.put_event(event);
        self.store.put(run.clone());
        run
    }

    /// What the queue's consumer does: takes up what was sent, until nothing is left.
    pub(crate) async fn work(&self) {
        let engine = &self.agent.intake.engine;
        while let Some((task, _)) = self.queue.take_first() {
            let window = Window { deadline: after(self.clock.now(), Duration::from_secs(300)), cut_calls: false };
            let advance = engine.take_up(&task, &engine.delivery("message", 0, 1), window, &CountingHold::default()).await;
            assert!(advance.is_ok(), "{task:?}: {advance:?}");
        }
    }

    /// A run that has made a step and asked a human `May I?` in the second, for an hour.
    pub(crate) fn asking(&self, tenant: &str) -> Run {
        let call =
            ToolCall { id: "call-1".into(), name: ASK_HUMAN.into(), arguments: json!({"question": "May I?", "expires_in_seconds": 3600}) };
        let mut run = Run { steps: 1, ..self.run_of(tenant, RunState::Waiting) };
        run.waiting = Some(Waiting::of(&call, 2, self.clock.now()).expect("a question"));
        self.store.put(run.clone());
        run
    }

    /// Fails unless nothing was recorded, written or sent.
    pub(crate) fn assert_untouched(&self, what: &str) {
        assert_eq!((self.store.len(), self.store.writes()), (0, 0), "{what} left something in the store");
        assert!(self.queue.take().is_empty(), "{what} left something on the queue");
    }
}
