//! What the deep probes ask, and of whom.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, join_all, select, try_join_all};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::aws::{DeadLetters, Table, TaskQueue, sdk_config};
use shared::config::{ConfigError, Environment, ModelsConfig, variables};
use shared::definitions;
use shared::domain::clock::Clock;
use shared::domain::definition::ModelRef;
use shared::domain::id::TenantId;
use shared::domain::run::Run;
use shared::engine::ports::{Journal, JournalError};
use shared::heartbeat::{Depth, Found, Seen};
use shared::metrics::fleet::{Fleet, Sums};
use shared::sweep::{DueEntry, DueIndex, SHARDS};
use shared::telemetry::chain;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::survey::Thresholds;

/// Entries that are read of each shard of the index of what is due.
const LOOKED_AT: usize = 25;
/// Runs that are looked at of those that are overdue. More of them are told as so many, no less alarming.
const MOST_OVERDUE: usize = 40;
/// Runs that are looked at of those that are not, for their leases.
const MOST_LEASES: usize = 20;

/// What a check found, or what is wrong, for the operator; no internals.
pub type Check<T = ()> = Result<T, String>;

/// What the configuration says that probes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// How many agents the packed definitions have.
    pub agents: usize,
    /// The models that agents name for themselves.
    pub models: Vec<ModelRef>,
    /// From when on something counts as degraded.
    pub thresholds: Thresholds,
}

/// What asking for a provider's address came to, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It takes connections.
    Open,
    /// Nobody was asked: the address is the protocol's own, a public service.
    NotAsked,
}

/// Of which tenants a caller may see runs.
pub type Sees<'a> = dyn Fn(&TenantId) -> bool + Sync + 'a;

/// The dependencies, as the probes ask about them.
#[async_trait]
pub trait Checks: Send + Sync {
    /// Whether all variables are there and make sense. No call.
    fn environment(&self) -> Check<Configured>;
    /// The models that are asked by default, if they make sense. No call.
    fn models(&self) -> Check<Vec<ModelRef>>;
    /// Whether the address of a provider takes connections, if it has one of its own. No token is spent.
    async fn provider(&self, name: &str) -> Check<Reach>;
    /// Whether the table answers: what it has for probes.
    async fn table(&self) -> Check<Seen>;
    /// Whether this probe is the one that asks the queues and the providers: none has since `before`.
    async fn claim(&self, now: Timestamp, before: Timestamp) -> Check<bool>;
    /// Keeps what it found for the others.
    async fn keep(&self, found: &Found) -> Check;
    /// Whether the tasks queue answers: what stands on it.
    async fn tasks(&self) -> Check<Depth>;
    /// Whether the dead-letter queue answers: what stands on it.
    async fn dead_letters(&self) -> Check<Depth>;
    /// What stands on the queue of bulk actions.
    async fn jobs(&self) -> Check<Depth>;
    /// Runs that somebody has to look at, the earliest first: those of all tenants that nobody has looked at though they were due before
    /// `late`, and of the others those of tenants that `sees` lets through. Not all of them if there are many.
    async fn due(&self, late: Timestamp, sees: &Sees<'_>) -> Check<Vec<Run>>;
    /// What the fleet has counted.
    async fn sums(&self) -> Check<Vec<Sums>>;
}

/// `check`, or what to say when it is not there after `limit`.
pub(crate) async fn limited<T>(check: impl Future<Output = Check<T>>, limit: Duration, clock: &dyn Clock) -> Check<T> {
    match select(std::pin::pin!(check), clock.sleep(limit)).await {
        Either::Left((check, _)) => check,
        Either::Right(_) => Err(format!("no answer within {} ms", limit.as_millis())),
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
    /// The queue of bulk actions.
    jobs: TaskQueue,
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
            let jobs = self.env.required(variables::JOBS_QUEUE_URL)?;
            let config = sdk_config("health").await;
            Ok::<_, ConfigError>(Clients {
                table: Table::new(&config, table),
                tasks: TaskQueue::new(&config, tasks),
                // Only its depth is asked for, which needs no ARN.
                dead_letters: DeadLetters::new(&config, dlq, String::new()),
                jobs: TaskQueue::new(&config, jobs),
            })
        });
        built.await.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Checks for RealChecks {
    fn environment(&self) -> Check<Configured> {
        ModelsConfig::without_key(&self.env).map_err(|error| error.to_string())?;
        let bundle = definitions::check(&self.env).map_err(|error| error.to_string())?;
        for name in variables::HEALTH {
            self.env.optional(name).map_err(|error| error.to_string())?;
        }
        for name in [variables::TABLE_NAME, variables::TASK_QUEUE_URL, variables::JOBS_QUEUE_URL, variables::DLQ_URL] {
            self.env.required(name).map_err(|error| error.to_string())?;
        }
        let thresholds = Thresholds::read(&self.env).map_err(|error| error.to_string())?;
        Ok(Configured { agents: bundle.agents.len(), models: bundle.models(), thresholds })
    }

    fn models(&self) -> Check<Vec<ModelRef>> {
        ModelsConfig::without_key(&self.env).map(|models| models.chain).map_err(|error| error.to_string())
    }

    async fn provider(&self, name: &str) -> Check<Reach> {
        let models = ModelsConfig::without_key(&self.env).map_err(|error| error.to_string())?;
        // Without an address of its own the provider is a public service: what calls meet there is what can be known for free.
        let Some(address) = models.provider(name).base_url.as_deref().and_then(host_and_port) else { return Ok(Reach::NotAsked) };
        // The address is for the log: every tenant may read what probes say.
        TcpStream::connect(&address).await.map(|_| Reach::Open).map_err(|error| {
            tracing::warn!(provider = name, address, %error, "a provider's address takes no connections");
            "its address takes no connections".to_owned()
        })
    }

    async fn table(&self) -> Check<Seen> {
        self.clients().await?.table.seen().await.map_err(unanswered("the table"))
    }

    async fn claim(&self, now: Timestamp, before: Timestamp) -> Check<bool> {
        self.clients().await?.table.claim_probe(now, before).await.map_err(unanswered("the table"))
    }

    async fn keep(&self, found: &Found) -> Check {
        self.clients().await?.table.keep_found(found).await.map_err(unanswered("the table"))
    }

    async fn tasks(&self) -> Check<Depth> {
        self.clients().await?.tasks.depth_in_full().await.map_err(unanswered("the tasks queue"))
    }

    async fn dead_letters(&self) -> Check<Depth> {
        self.clients().await?.dead_letters.depth_in_full().await.map_err(unanswered("the dead-letter queue"))
    }

    async fn jobs(&self) -> Check<Depth> {
        self.clients().await?.jobs.depth_in_full().await.map_err(unanswered("the queue of bulk actions"))
    }

    async fn sums(&self) -> Check<Vec<Sums>> {
        self.clients().await?.table.sums().await.map_err(|_| "the table does not answer".to_owned())
    }

    async fn due(&self, late: Timestamp, sees: &Sees<'_>) -> Check<Vec<Run>> {
        let table = &self.clients().await?.table;
        let unread = unanswered("the index of what is due");
        let shards = join_all((0..SHARDS).map(|shard| table.due(shard, None, LOOKED_AT))).await;
        let entries = shards.into_iter().collect::<Result<Vec<_>, _>>().map_err(&unread)?.into_iter().flatten().collect();
        let runs = to_look_at(entries, late, sees).into_iter().map(|entry| async move { table.run(&entry.tenant, entry.run).await });
        Ok(try_join_all(runs).await.map_err(unread)?.into_iter().flatten().collect())
    }
}

/// Which of these entries' records are read, the earliest first.
fn to_look_at(mut entries: Vec<DueEntry>, late: Timestamp, sees: &Sees<'_>) -> Vec<DueEntry> {
    entries.sort_by_key(|entry| (entry.at, entry.run));
    let (overdue, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.at < late);
    let others = others.into_iter().filter(|entry| sees(&entry.tenant)).take(MOST_LEASES);
    overdue.into_iter().take(MOST_OVERDUE).chain(others).collect()
}

/// What a probe says of somebody who does not answer; why is for the log.
fn unanswered(who: &'static str) -> impl Fn(JournalError) -> String {
    move |error| {
        tracing::warn!(who, error = %chain(&error), "no answer to a probe");
        format!("{who} does not answer")
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
    use shared::domain::clock::after;
    use shared::domain::id::RunId;

    use super::*;

    #[test]
    fn all_that_is_overdue_is_looked_at_and_of_the_rest_what_the_caller_may_see_and_neither_without_end() {
        let late = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1_000);
        let entry = |tenant: &str, second: u64| {
            let at = after(Timestamp::UNIX_EPOCH, Duration::from_secs(second));
            DueEntry { at, tenant: tenant.parse().unwrap(), run: RunId::new(at) }
        };
        let entries: Vec<_> = [1_030, 1_010, 990, 970].into_iter().flat_map(|at| [entry("acme", at), entry("other", at)]).collect();
        let looked = |entries, sees: &Sees<'_>| {
            let looked: Vec<DueEntry> = to_look_at(entries, late, sees);
            looked.into_iter().map(|entry| entry.at.as_second()).collect::<Vec<_>>()
        };
        assert_eq!(looked(entries.clone(), &|_| true), [970, 970, 990, 990, 1_010, 1_010, 1_030, 1_030]);
        assert_eq!(looked(entries.clone(), &|tenant| tenant.as_str() == "acme"), [970, 970, 990, 990, 1_010, 1_030]);
        assert_eq!(looked(entries, &|_| false), [970, 970, 990, 990]);
        let many: Vec<_> = (0..2_000).map(|second| entry("acme", second)).collect();
        let looked = looked(many, &|_| true);
        assert_eq!((looked.len(), looked[0], looked[MOST_OVERDUE]), (MOST_OVERDUE + MOST_LEASES, 0, 1_000));
    }

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
