//! `/api/production/ready`: four checks side by side, each with its own time limit.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, join3, select};
use jiff::Timestamp;
use serde::Serialize;
use shared::aws::{DeadLetters, Table, TaskQueue, sdk_config};
use shared::config::{ConfigError, Environment, ModelsConfig, variables};
use shared::definitions;
use shared::domain::clock::{Clock, between, rfc3339_millis};
use shared::operate::DeadLetterQueue;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

/// What each check may take. All run at once, so the answer is there within 2 s whatever hangs.
const TIME_LIMIT: Duration = Duration::from_millis(1500);

/// One check: `Ok`, or what is wrong, for the operator; no internals.
pub type Check = Result<(), String>;

/// The dependencies, as the probes ask about them.
#[async_trait]
pub trait Checks: Send + Sync {
    /// Whether all variables are there and make sense. No call.
    fn environment(&self) -> Check;
    /// Whether a model is configured and its address takes connections. No token is spent.
    async fn llm(&self) -> Check;
    /// Whether the table answers.
    async fn table(&self) -> Check;
    /// Whether the tasks queue and the dead-letter queue answer.
    async fn queue(&self) -> Check;
}

/// The answer, in the monitoring manual's field names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Whether every check is true.
    pub ready: bool,
    /// The checks.
    pub checks: Probe,
    /// More about the queue.
    queue_health: QueueHealth,
    /// What is wrong, check by check; empty when all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    #[serde(with = "rfc3339_millis")]
    timestamp: Timestamp,
}

/// The checks, true when all is well.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Probe {
    /// The model.
    pub llm: bool,
    /// The configuration.
    pub environment: bool,
    /// The table.
    pub dependencies: bool,
    /// The queues.
    pub queue: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueHealth {
    status: &'static str,
    durable: bool,
    message: String,
    latency_ms: Option<u64>,
    #[serde(with = "rfc3339_millis")]
    checked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Asks everything at once.
pub(crate) async fn ask(checks: &dyn Checks, clock: &dyn Clock) -> Ready {
    let timed_queue = async {
        let begun = clock.now();
        let check = limited(checks.queue(), clock).await;
        (check, between(begun, clock.now()))
    };
    let (llm, table, (queue, latency)) = join3(limited(checks.llm(), clock), limited(checks.table(), clock), timed_queue).await;
    let environment = checks.environment();
    let probe = Probe { llm: llm.is_ok(), environment: environment.is_ok(), dependencies: table.is_ok(), queue: queue.is_ok() };
    let named = [("llm", &llm), ("environment", &environment), ("dependencies", &table), ("queue", &queue)];
    let now = clock.now();
    Ready {
        ready: probe.llm && probe.environment && probe.dependencies && probe.queue,
        checks: probe,
        queue_health: QueueHealth {
            status: if probe.queue { "pass" } else { "fail" },
            // SQS keeps what it has taken, reachable or not.
            durable: true,
            message: if probe.queue { "SQS connection healthy".into() } else { "SQS connection failed".into() },
            latency_ms: probe.queue.then_some(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            checked_at: now,
            error: queue.clone().err(),
        },
        problems: named.into_iter().filter_map(|(name, check)| Some(format!("{name}: {}", check.as_ref().err()?))).collect(),
        timestamp: now,
    }
}

/// `check`, or what to say when it hangs.
async fn limited(check: impl Future<Output = Check>, clock: &dyn Clock) -> Check {
    match select(std::pin::pin!(check), clock.sleep(TIME_LIMIT)).await {
        Either::Left((check, _)) => check,
        Either::Right(_) => Err(format!("no answer within {} ms", TIME_LIMIT.as_millis())),
    }
}

/// The real dependencies. Clients are built by the first probe that needs them and kept.
pub struct RealChecks {
    env: Environment,
    clients: OnceCell<Clients>,
}

struct Clients {
    table: Table,
    tasks: TaskQueue,
    dead_letters: DeadLetters,
}

impl RealChecks {
    /// Nothing is built yet.
    #[must_use]
    pub fn new(env: Environment) -> Self {
        Self { env, clients: OnceCell::new() }
    }

    async fn clients(&self) -> Result<&Clients, String> {
        let built = self.clients.get_or_try_init(|| async {
            let table = self.env.required(variables::TABLE_NAME)?;
            let (tasks, dlq) = (self.env.required(variables::TASK_QUEUE_URL)?, self.env.required(variables::DLQ_URL)?);
            let config = sdk_config("health").await;
            Ok::<_, ConfigError>(Clients {
                table: Table::new(&config, table),
                tasks: TaskQueue::new(&config, tasks),
                // Only its depth is asked for, which needs no ARN.
                dead_letters: DeadLetters::new(&config, dlq, String::new()),
            })
        });
        built.await.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Checks for RealChecks {
    fn environment(&self) -> Check {
        ModelsConfig::without_key(&self.env).map_err(|error| error.to_string())?;
        definitions::check(&self.env).map_err(|error| error.to_string())?;
        for name in variables::HEALTH {
            self.env.optional(name).map_err(|error| error.to_string())?;
        }
        for name in [variables::TABLE_NAME, variables::TASK_QUEUE_URL, variables::DLQ_URL] {
            self.env.required(name).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn llm(&self) -> Check {
        let model = ModelsConfig::without_key(&self.env).map_err(|error| error.to_string())?;
        // Without an address of its own the provider is a public service: that it is configured is what can be known for free.
        let Some(address) = model.first_base_url().as_deref().and_then(host_and_port) else { return Ok(()) };
        TcpStream::connect(&address).await.map(|_| ()).map_err(|_| format!("{address} takes no connections"))
    }

    async fn table(&self) -> Check {
        self.clients().await?.table.ping().await.map_err(|_| "the table does not answer".to_owned())
    }

    async fn queue(&self) -> Check {
        let clients = self.clients().await?;
        clients.tasks.ping().await.map_err(|_| "the tasks queue does not answer".to_owned())?;
        clients.dead_letters.depth().await.map(|_| ()).map_err(|_| "the dead-letter queue does not answer".to_owned())
    }
}

/// `host:port` of an http or https address.
fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { host.to_owned() } else { format!("{host}:{}", if scheme == "https" { 443 } else { 80 }) })
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn an_address_has_a_port() {
        for (url, address) in [
            ("http://127.0.0.1:4010/v1/", "127.0.0.1:4010"),
            ("https://api.example.com/v1", "api.example.com:443"),
            ("http://[::1]:80/x", "[::1]:80"),
            ("https://user@host", "host:443"),
        ] {
            assert_eq!(host_and_port(url).as_deref(), Some(address));
        }
    }
}
