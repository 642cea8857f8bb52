//! All tools of a deployment, as the engine sees them: what each call has in common, whatever tool it is of.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::arguments::ArgumentSchema;
use super::clock::ClockTool;
use super::secrets::Secrets;
use super::{Tool, ToolContext, ToolResult, ToolTraits, ToolsUnavailable, covers, waits};
use crate::domain::clock::{Clock, between};
use crate::domain::tool_definition::DEFAULT_RESULT_BYTES;
use crate::engine::ports::ToolSpec;

/// How long a call waits for others of the same tool to end.
const LONGEST_QUEUE: Duration = Duration::from_secs(10);
/// Bytes of a result that are kept with the step, though the model is told less; as JSON, where a control character has six.
const MOST_KEPT: usize = 2_000_000;
/// How long the list of a server's tools is good.
const LIST_LIFE: Duration = Duration::from_secs(300);
/// An unknown tool makes the list be read again, but not more often than this: models invent names.
const LIST_AGAIN: Duration = Duration::from_secs(30);

/// A server that brings tools of its own. What it says of them is not ours: names, texts and schemas are bounded by it.
#[async_trait]
pub(super) trait ToolServer: Send + Sync {
    /// Its name in agents' files; its tools are `<name>__<tool>`.
    fn name(&self) -> &str;
    /// Whether agents work without it when it cannot be asked.
    fn is_optional(&self) -> bool;
    /// Its tools, under their own names and under those that models are told.
    async fn list(&self) -> Result<Vec<ServedTool>, String>;
    /// Calls one of them by its own name.
    async fn call(&self, tool: &str, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String>;
}

/// A tool of a server.
pub(super) struct ServedTool {
    /// As the server calls it.
    pub(super) own_name: String,
    /// As the model is told of it.
    pub(super) spec: ToolSpec,
}

/// The tools of this deployment, by name.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: Arc<Vec<Listed>>,
    servers: Arc<Vec<Server>>,
    secrets: Option<Arc<Secrets>>,
    clock: Option<Arc<dyn Clock>>,
}

/// What calls of one tool, or of the tools of one server, share.
pub(super) struct Bounds {
    /// What the engine must know.
    pub(super) traits: ToolTraits,
    /// Bytes that the model is told.
    pub(super) most_bytes: usize,
}

struct Listed {
    tool: Arc<dyn Tool>,
    known: Known,
    shared: Shared,
}

struct Known {
    spec: ToolSpec,
    schema: OnceLock<Option<ArgumentSchema>>,
}

struct Shared {
    bounds: Bounds,
    slots: Option<Semaphore>,
}

/// Tools by their servers' names for them.
type List = Arc<Vec<(String, Known)>>;

struct Server {
    server: Arc<dyn ToolServer>,
    shared: Shared,
    /// When it was read, and what it said.
    list: Mutex<Option<(Timestamp, List)>>,
}

impl Toolbox {
    /// The tools that need no definition.
    #[must_use]
    pub fn built_in(clock: Arc<dyn Clock>) -> Self {
        let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(ClockTool(clock.clone())), Arc::new(waits::AskHuman), Arc::new(waits::Wait)];
        #[cfg(feature = "tools")]
        tools.push(Arc::new(super::calculator::Calculator));
        tools.shrink_to_fit();
        Self { clock: Some(clock), ..Self::of(tools) }
    }

    /// These tools.
    #[must_use]
    pub fn of(tools: Vec<Arc<dyn Tool>>) -> Self {
        let listed = |tool: Arc<dyn Tool>| {
            let bounds = Bounds { traits: tool.traits(), most_bytes: DEFAULT_RESULT_BYTES };
            Listed { known: Known::of(tool.spec()), shared: Shared::of(bounds), tool }
        };
        Self { tools: Arc::new(tools.into_iter().map(listed).collect()), ..Self::default() }
    }

    /// The same, with tools and servers of definitions.
    #[cfg(feature = "tools")]
    pub(super) fn with(
        self,
        tools: Vec<(Arc<dyn Tool>, Bounds)>,
        servers: Vec<(Arc<dyn ToolServer>, Bounds)>,
        secrets: Arc<Secrets>,
    ) -> Self {
        let more = tools.into_iter().map(|(tool, bounds)| Listed { known: Known::of(tool.spec()), shared: Shared::of(bounds), tool });
        let mine = Arc::try_unwrap(self.tools).unwrap_or_default();
        let servers = servers.into_iter().map(|(server, bounds)| Server { server, shared: Shared::of(bounds), list: Mutex::default() });
        Self {
            tools: Arc::new(mine.into_iter().chain(more).collect()),
            servers: Arc::new(servers.collect()),
            secrets: Some(secrets),
            clock: self.clock,
        }
    }

    /// What the engine must know of the tool with that name; nothing if there is none. Its time-out holds the wait for its turn.
    #[must_use]
    pub fn traits(&self, name: &str) -> Option<ToolTraits> {
        let listed = self.tools.iter().find(|listed| listed.known.spec.name == name).map(|listed| &listed.shared);
        let shared = listed.or_else(|| self.server(name).map(|(server, _)| &server.shared))?;
        let traits = shared.bounds.traits;
        let wait = if shared.slots.is_some() { LONGEST_QUEUE } else { Duration::ZERO };
        Some(ToolTraits { timeout: traits.timeout + wait, ..traits })
    }

    /// Whether a call of `name` may be repeated. A tool that does not exist has no effect.
    #[must_use]
    pub fn is_idempotent(&self, name: &str) -> bool {
        self.traits(name).is_none_or(|traits| traits.idempotent)
    }

    /// What a model is told of the tools with these names.
    ///
    /// # Errors
    /// When a server that brings tools cannot be asked for them.
    pub async fn specs(&self, names: &[String]) -> Result<Vec<ToolSpec>, ToolsUnavailable> {
        let is_used = |spec: &ToolSpec| names.iter().any(|name| covers(name, &spec.name));
        let mut specs: Vec<ToolSpec> = self.tools.iter().map(|listed| &listed.known.spec).filter(|spec| is_used(spec)).cloned().collect();
        for server in self.servers.iter() {
            let name = server.server.name();
            if !names.iter().any(|listed| listed == name || covers(name, listed)) {
                continue;
            }
            match self.list_of(server, LIST_LIFE).await {
                Ok(list) => specs.extend(list.iter().map(|(_, known)| &known.spec).filter(|spec| is_used(spec)).cloned()),
                Err(problem) if server.server.is_optional() => {
                    tracing::warn!(server = %name, %problem, "agents work without an optional server of tools");
                }
                Err(problem) => return Err(ToolsUnavailable { server: name.to_owned(), problem }),
            }
        }
        Ok(specs)
    }

    /// Calls the tool with that name. Whether the run's agent may is for the caller to say.
    pub async fn call(&self, name: &str, arguments: &Value, context: &ToolContext<'_>) -> ToolResult {
        let (most, result) = match self.tools.iter().find(|listed| listed.known.spec.name == name) {
            Some(listed) => (listed.shared.bounds.most_bytes, self.call_listed(listed, arguments, context).await),
            None => match self.server(name) {
                Some((server, _)) => (server.shared.bounds.most_bytes, self.call_served(server, name, arguments, context).await),
                None => (DEFAULT_RESULT_BYTES, Err(format!("no tool is named `{name}`"))),
            },
        };
        let (text, is_error) = match result {
            Ok(output) => (output, false),
            Err(problem) => (format!("error: {problem}"), true),
        };
        let text = self.secrets.as_ref().map_or_else(|| text.clone(), |secrets| secrets.taken_out_of(text.clone()));
        ToolResult { is_uncertain: is_error && context.doubt.is_noted(), ..bounded(text, is_error, most) }
    }

    async fn call_listed(&self, listed: &Listed, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let arguments = listed.known.checked(arguments)?;
        let _slot = self.slot(&listed.shared, &listed.known.spec.name).await?;
        listed.tool.call(&arguments, context).await
    }

    async fn call_served(&self, server: &Server, name: &str, arguments: &Value, context: &ToolContext<'_>) -> Result<String, String> {
        let slot = self.slot(&server.shared, name).await?;
        let mut list = self.list_of(server, LIST_LIFE).await?;
        if !list.iter().any(|(_, known)| known.spec.name == name) {
            list = self.list_of(server, LIST_AGAIN).await?;
        }
        let Some((own_name, known)) = list.iter().find(|(_, known)| known.spec.name == name) else {
            return Err(format!("no tool is named `{name}`"));
        };
        let arguments = known.checked(arguments)?;
        let result = server.server.call(own_name, &arguments, context).await;
        drop(slot);
        result
    }

    /// Its turn, if calls of the tool take turns.
    async fn slot<'a>(&self, shared: &'a Shared, name: &str) -> Result<Option<SemaphorePermit<'a>>, String> {
        let Some(slots) = &shared.slots else { return Ok(None) };
        let busy = || format!("too many calls of `{name}` are under way; nothing was done; try again later");
        let acquired = match &self.clock {
            None => slots.acquire().await.ok(),
            Some(clock) => match select(std::pin::pin!(slots.acquire()), clock.sleep(LONGEST_QUEUE)).await {
                Either::Left((slot, _)) => slot.ok(),
                Either::Right(_) => None,
            },
        };
        acquired.map(Some).ok_or_else(busy)
    }

    /// The server of a tool's name, and the rest of it.
    fn server<'a>(&self, name: &'a str) -> Option<(&Server, &'a str)> {
        let (server, tool) = name.split_once("__")?;
        self.servers.iter().find(|known| known.server.name() == server).map(|known| (known, tool))
    }

    /// What a server offers, read again if it was read longer ago than `life`. What is known counts on if the server does not answer.
    async fn list_of(&self, server: &Server, life: Duration) -> Result<List, String> {
        let now = self.clock.as_ref().map_or(Timestamp::UNIX_EPOCH, |clock| clock.now());
        let known = server.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, list)) = known.as_ref().filter(|(read_at, _)| between(*read_at, now) < life) {
            return Ok(list.clone());
        }
        match (server.server.list().await, known) {
            (Ok(tools), _) => {
                let list = Arc::new(tools.into_iter().map(|tool| (tool.own_name, Known::of(tool.spec))).collect::<Vec<_>>());
                *server.list.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, list.clone()));
                Ok(list)
            }
            (Err(problem), Some((_, list))) => {
                tracing::warn!(server = %server.server.name(), %problem, "the tools of a server could not be listed again");
                Ok(list)
            }
            (Err(problem), None) => Err(problem),
        }
    }
}

impl Known {
    const fn of(spec: ToolSpec) -> Self {
        Self { spec, schema: OnceLock::new() }
    }

    /// The arguments, if they are what the tool takes; none are an empty object.
    fn checked(&self, arguments: &Value) -> Result<Value, String> {
        let arguments = if arguments.is_null() { json!({}) } else { arguments.clone() };
        let schema = self.schema.get_or_init(|| {
            let read = ArgumentSchema::of(&self.spec.parameters);
            read.inspect_err(|problem| tracing::warn!(tool = %self.spec.name, %problem, "a tool's schema cannot be used")).ok()
        });
        match schema {
            Some(schema) => schema.check(&arguments).map(|()| arguments),
            None => Err("the tool's schema cannot be used, so it cannot be called; its operator must see to it".into()),
        }
    }
}

impl Shared {
    fn of(bounds: Bounds) -> Self {
        let slots = bounds.traits.concurrency.map(|most| Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Self { bounds, slots }
    }
}

/// The result as the model is told it, and the whole of it if that is more.
fn bounded(text: String, is_error: bool, most: usize) -> ToolResult {
    if text.len() <= most {
        return ToolResult { output: text, is_error, is_uncertain: false, full: None };
    }
    let begin = beginning(&text, most);
    let output = format!(
        "{begin}\n[cut here: {} of {} bytes are missing; the whole result is kept with this step]",
        text.len() - begin.len(),
        text.len()
    );
    let kept = kept(&text);
    let full = if kept.len() < text.len() { format!("{kept}\n[cut here: {} bytes are missing]", text.len() - kept.len()) } else { text };
    ToolResult { output, is_error, is_uncertain: false, full: Some(full) }
}

/// What fits into a step.
fn kept(text: &str) -> &str {
    let mut size = 0;
    let end = text.char_indices().find(|(_, c)| {
        size += match c {
            '"' | '\\' => 2,
            c if c.is_ascii_control() => 6,
            c => c.len_utf8(),
        };
        size > MOST_KEPT
    });
    end.map_or(text, |(end, _)| &text[..end])
}

fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
