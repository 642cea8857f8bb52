//! A function as a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tests::runtime_api::RuntimeApi;
use tests::wait_for;

/// Every function, and the variables that it must have; dependencies are closed ports unless a test says otherwise.
pub(crate) const FUNCTIONS: [(&str, &[&str]); 6] = [
    ("health", shared::config::variables::HEALTH),
    ("agent-api", shared::config::variables::AGENT_API),
    ("queue-consumer", shared::config::variables::QUEUE_CONSUMER),
    ("dlq-redrive", shared::config::variables::DLQ_REDRIVE),
    ("operator-api", shared::config::variables::OPERATOR_API),
    ("sweeper", shared::config::variables::SWEEPER),
];

/// A running function; dropped, it is killed.
pub(crate) struct Function {
    process: Child,
    pub(crate) api: RuntimeApi,
    output: PathBuf,
}

impl Function {
    /// Starts `name` with working variables, changed by `changes`: a value of `None` removes the variable.
    #[track_caller]
    pub(crate) fn start(name: &str, changes: &[(&str, Option<&str>)]) -> Self {
        Self::start_program(&binary(name), name, changes)
    }

    /// The same from a program that was put elsewhere.
    #[track_caller]
    pub(crate) fn start_program(program: &Path, name: &str, changes: &[(&str, Option<&str>)]) -> Self {
        let api = RuntimeApi::start();
        let mut variables: Vec<(&str, String)> = of_lambda(name, &api.address);
        variables.extend(of_the_template(name));
        for (variable, value) in changes {
            variables.retain(|(known, _)| known != variable);
            variables.extend(value.map(|value| (*variable, value.to_owned())));
        }
        let output = std::env::temp_dir().join(tests::fresh(name));
        let file = fs::File::create(&output).unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let stderr = file.try_clone().unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let mut command = Command::new(program);
        command.env_clear().envs(variables).stdin(Stdio::null()).stdout(file).stderr(stderr);
        let process = command.spawn().unwrap_or_else(|error| panic!("{} (`cargo build` makes it): {error}", program.display()));
        Self { process, api, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it printed so far.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// How it ended.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let process = &mut self.process;
        wait_for("the function to end", limit, || process.try_wait().ok().flatten().ok_or("it runs"))
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.output);
    }
}

/// What Lambda itself sets.
fn of_lambda(name: &str, api: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", api.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".into()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/02/[$LATEST]test".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "test".into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ("AWS_ENDPOINT_URL", format!("http://{}", tests::runtime_api::closed())),
    ]
}

fn of_the_template(name: &str) -> Vec<(&'static str, String)> {
    let values = [
        ("TABLE_NAME", "runs"),
        ("TASK_QUEUE_URL", "http://127.0.0.1:1/000000000000/tasks"),
        ("DLQ_URL", "http://127.0.0.1:1/000000000000/tasks-dlq"),
        ("JOBS_QUEUE_URL", "http://127.0.0.1:1/000000000000/jobs"),
        ("DLQ_ARN", "arn:aws:sqs:us-east-1:000000000000:tasks-dlq"),
        ("API_AUTH", "none"),
        ("MODEL", "openai::demo"),
        ("MODEL_BASE_URL", "http://127.0.0.1:1/v1/"),
        ("MODEL_API_KEY_SECRET", ""),
        ("PROVIDERS", "[]"),
        ("TOOLS", "{}"),
        ("MODEL_ALIASES", "{}"),
        ("MODEL_TIMEOUT_SECONDS", "10"),
        ("LEASE_SECONDS", "16"),
        ("MAX_ATTEMPTS", "2"),
        ("INLINE_SECONDS", "3"),
        ("REQUIRE_COMPILED", "false"),
        ("BACKLOG_THRESHOLD", "10000"),
        ("BACKLOG_AGE_SECONDS", "300"),
        ("DEAD_LETTER_THRESHOLD", "100"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "120"),
        ("PROBE_CACHE_SECONDS", "3"),
        ("REDACT_KEYS", ""),
        ("LOG_LEVEL", "info"),
        ("LOG_JSON", "1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("OTEL_EXPORTER_OTLP_HEADERS_SECRET", ""),
        ("OTEL_CAPTURE_CONTENT", "false"),
    ];
    let Some((_, read)) = FUNCTIONS.iter().find(|(function, _)| *function == name) else { panic!("no function is named {name}") };
    values.into_iter().filter(|(variable, _)| read.contains(variable)).map(|(variable, value)| (variable, value.to_owned())).collect()
}

/// `target/<profile>/<name>`: this test's own binary is in `target/<profile>/deps/`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("where is this test? {error}"));
    own.ancestors().nth(2).unwrap_or_else(|| panic!("{} is in no target folder", own.display())).join(name)
}

/// The event that API Gateway sends for a GET of `route`.
pub(crate) fn get(route: &str) -> serde_json::Value {
    serde_json::json!({
        "resource": route, "path": route, "httpMethod": "GET", "headers": {"host": "localhost"}, "multiValueHeaders": {},
        "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "resourcePath": route, "httpMethod": "GET", "path": route, "stage": "live", "requestId": tests::fresh("request"),
            "accountId": "000000000000", "apiId": "test", "resourceId": "test", "protocol": "HTTP/1.1",
            "identity": {"sourceIp": "127.0.0.1", "userAgent": "test"},
        },
        "body": null, "isBase64Encoded": false,
    })
}
