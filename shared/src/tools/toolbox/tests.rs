//! What all calls have in common, with tools and servers that a test plays.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::Secret;
use crate::fakes::FixedClock;
use crate::tools::secrets::SecretSource;
use crate::tools::testing::in_a_run;

/// Says its arguments, or what it is told to.
struct Plays {
    says: Result<String, String>,
    traits: ToolTraits,
    schema: Value,
    calls: AtomicU32,
}

impl Plays {
    fn says(says: Result<&str, &str>) -> Self {
        let schema = json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
            "additionalProperties": false,
        });
        let says = says.map(str::to_owned).map_err(str::to_owned);
        Self { says, traits: ToolTraits::harmless(Duration::from_secs(1)), schema, calls: AtomicU32::new(0) }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Tool for Plays {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "weather".into(), description: "the weather".into(), parameters: self.schema.clone() }
    }

    fn traits(&self) -> ToolTraits {
        self.traits
    }

    async fn call(&self, _arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.says.clone()
    }
}

async fn ask(tool: Arc<Plays>, arguments: Value) -> ToolResult {
    Toolbox::of(vec![tool]).call("weather", &arguments, &in_a_run()).await
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_with_their_path_and_nothing_is_called() {
    for (arguments, parts) in [
        (json!({"city": 7}), vec!["arguments/city", "string"]),
        (json!({}), vec!["arguments:", "city"]),
        (Value::Null, vec!["arguments:", "city"]),
        (json!({"city": "Rome", "days": 0}), vec!["arguments/days", "1"]),
        (json!({"city": "Rome", "dayz": 1}), vec!["dayz"]),
        (json!("Rome"), vec!["object"]),
        (json!({"city": 7, "days": "x"}), vec!["arguments/city", "arguments/days"]),
    ] {
        let tool = Arc::new(Plays::says(Ok("sun")));
        let result = ask(tool.clone(), arguments.clone()).await;
        assert!(result.is_error && result.output.starts_with("error: arguments"), "{arguments}: {}", result.output);
        assert!(parts.iter().all(|part| result.output.contains(part)), "{arguments}: {}", result.output);
        assert_eq!(tool.calls(), 0, "{arguments}");
    }
    let long = ask(Arc::new(Plays::says(Ok("sun"))), json!({"city": "Rome", "days": "x".repeat(100_000)})).await;
    assert!(long.output.len() < 2_000, "a problem does not repeat all that was wrong");
    let tool = Arc::new(Plays::says(Ok("sun")));
    assert_eq!(
        ask(tool.clone(), json!({"city": "Rome", "days": 2})).await,
        ToolResult { output: "sun".into(), is_error: false, is_uncertain: false, full: None }
    );
    assert_eq!(tool.calls(), 1);
}

#[tokio::test]
async fn a_schema_that_is_none_or_asks_for_files_stops_the_call_and_not_the_run() {
    for schema in [json!({"type": "nonsense"}), json!({"$ref": "file:///etc/passwd"}), json!({"$ref": "http://169.254.169.254/"})] {
        let tool = Arc::new(Plays { schema, ..Plays::says(Ok("sun")) });
        let result = ask(tool.clone(), json!({"city": "Rome"})).await;
        assert!(result.is_error && result.output.contains("schema"), "{}", result.output);
        assert_eq!(tool.calls(), 0);
    }
}

#[tokio::test]
async fn errors_are_texts_for_the_model() {
    let result = ask(Arc::new(Plays::says(Err("no such city"))), json!({"city": "Atlantis"})).await;
    assert_eq!(result, ToolResult { output: "error: no such city".into(), is_error: true, is_uncertain: false, full: None });
    let unknown = Toolbox::default().call("weather", &json!({}), &in_a_run()).await;
    assert_eq!(unknown.output, "error: no tool is named `weather`");
}

#[tokio::test]
async fn a_long_result_is_cut_with_a_mark_and_kept_whole() {
    // Two bytes each: the cut falls into the middle of one.
    let text = format!("x{}", "é".repeat(DEFAULT_RESULT_BYTES));
    let result = ask(Arc::new(Plays::says(Ok(&text))), json!({"city": "Rome"})).await;
    let (begin, mark) = result.output.split_once('\n').unwrap();
    assert_eq!(begin.len(), DEFAULT_RESULT_BYTES - 1);
    assert!(text.starts_with(begin));
    assert_eq!(mark, "[cut here: 100002 of 200001 bytes are missing; the whole result is kept with this step]");
    assert_eq!(result.full.as_deref(), Some(text.as_str()));
    let exact = "x".repeat(DEFAULT_RESULT_BYTES);
    assert_eq!(ask(Arc::new(Plays::says(Ok(&exact))), json!({"city": "Rome"})).await.full, None);
    // What is kept is bounded as well, and says so.
    let huge = ask(Arc::new(Plays::says(Ok(&"x".repeat(MOST_KEPT + 5)))), json!({"city": "Rome"})).await;
    assert!(huge.full.unwrap().ends_with("[cut here: 5 bytes are missing]"));
    let controls = ask(Arc::new(Plays::says(Ok(&"\u{1}".repeat(MOST_KEPT)))), json!({"city": "Rome"})).await;
    assert!(serde_json::to_string(&controls.full).unwrap().len() <= MOST_KEPT + 100, "as the journal writes it");
    // So are errors.
    assert!(ask(Arc::new(Plays::says(Err(&text))), json!({"city": "Rome"})).await.full.is_some());
}

/// Counts how many calls are under way.
struct Counts {
    now: AtomicU32,
    most: AtomicU32,
}

#[async_trait]
impl Tool for Counts {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "counts".into(), description: "counts".into(), parameters: json!({}) }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits { concurrency: Some(2), ..ToolTraits::harmless(Duration::from_secs(1)) }
    }

    async fn call(&self, _arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok("done".into())
    }
}

#[tokio::test]
async fn calls_of_one_tool_take_turns() {
    let tool = Arc::new(Counts { now: AtomicU32::new(0), most: AtomicU32::new(0) });
    let tools = Toolbox::of(vec![tool.clone()]);
    let (arguments, context) = (json!({}), in_a_run());
    let calls = futures_util::future::join_all((0..8).map(|_| tools.call("counts", &arguments, &context))).await;
    assert!(calls.iter().all(|result| !result.is_error));
    assert_eq!(tool.most.load(Ordering::SeqCst), 2);
    assert_eq!(tools.traits("counts").unwrap().timeout, Duration::from_secs(1) + LONGEST_QUEUE, "the wait is part of the time-out");
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_an_error_and_nothing_was_done() {
    let tool = Arc::new(Counts { now: AtomicU32::new(0), most: AtomicU32::new(0) });
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let tools = Toolbox { clock: Some(clock), ..Toolbox::of(vec![tool.clone()]) };
    // Both turns are taken for good.
    let taken = tools.tools[0].shared.slots.as_ref().unwrap().acquire_many(2).await.unwrap();
    let result = tools.call("counts", &json!({}), &in_a_run()).await;
    assert!(result.is_error && result.output.contains("nothing was done"), "{}", result.output);
    assert_eq!(tool.most.load(Ordering::SeqCst), 0);
    drop(taken);
    assert!(!tools.call("counts", &json!({}), &in_a_run()).await.is_error);
}

/// A server whose list a test changes.
struct Serves {
    list: Mutex<Result<Vec<&'static str>, String>>,
    lists: AtomicU32,
    optional: bool,
}

#[async_trait]
impl ToolServer for Serves {
    fn name(&self) -> &'static str {
        "files"
    }

    fn is_optional(&self) -> bool {
        self.optional
    }

    async fn list(&self) -> Result<Vec<ServedTool>, String> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        let names = self.list.lock().unwrap().clone()?;
        let spec =
            |name: &str| ToolSpec { name: format!("files__{name}"), description: name.into(), parameters: json!({"type": "object"}) };
        Ok(names.into_iter().map(|name| ServedTool { own_name: name.into(), spec: spec(name) }).collect())
    }

    async fn call(&self, tool: &str, _arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        Ok(format!("{tool} did it"))
    }
}

fn served(optional: bool) -> (Arc<Serves>, Arc<FixedClock>, Toolbox) {
    let server = Arc::new(Serves { list: Mutex::new(Ok(vec!["read", "write"])), lists: AtomicU32::new(0), optional });
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let bounds = Bounds { traits: ToolTraits::harmless(Duration::from_secs(5)), most_bytes: 1_000 };
    let secrets = Arc::new(Secrets::of(Arc::new(crate::tools::NoSecrets), clock.clone()));
    let tools = Toolbox::built_in(clock.clone()).with(Vec::new(), vec![(server.clone() as Arc<dyn ToolServer>, bounds)], secrets);
    (server, clock, tools)
}

async fn names(tools: &Toolbox, listed: &[&str]) -> Result<Vec<String>, ToolsUnavailable> {
    let listed: Vec<String> = listed.iter().map(|&name| name.to_owned()).collect();
    Ok(tools.specs(&listed).await?.into_iter().map(|spec| spec.name).collect())
}

#[tokio::test]
async fn the_tools_of_a_server_are_listed_once_for_a_while() {
    let (server, clock, tools) = served(false);
    assert_eq!(names(&tools, &["clock", "files"]).await.unwrap(), ["clock", "files__read", "files__write"]);
    assert_eq!(names(&tools, &["files__write"]).await.unwrap(), ["files__write"]);
    assert_eq!(names(&tools, &["clock"]).await.unwrap(), ["clock"]);
    assert_eq!(server.lists.load(Ordering::SeqCst), 1);
    clock.advance(LIST_LIFE);
    *server.list.lock().unwrap() = Ok(vec!["read"]);
    assert_eq!(names(&tools, &["files"]).await.unwrap(), ["files__read"]);
    assert_eq!(server.lists.load(Ordering::SeqCst), 2);
    // A server that is away for a while takes nothing away.
    clock.advance(LIST_LIFE);
    *server.list.lock().unwrap() = Err("away".into());
    assert_eq!(names(&tools, &["files"]).await.unwrap(), ["files__read"]);
}

#[tokio::test]
async fn a_tool_that_is_not_known_makes_the_list_be_read_again_but_not_each_time() {
    let (server, clock, tools) = served(false);
    assert_eq!(names(&tools, &["files"]).await.unwrap().len(), 2);
    *server.list.lock().unwrap() = Ok(vec!["read", "search"]);
    let call = |name: &'static str| {
        let tools = tools.clone();
        async move { tools.call(name, &json!({}), &in_a_run()).await.output }
    };
    assert_eq!(call("files__search").await, "error: no tool is named `files__search`");
    assert_eq!(server.lists.load(Ordering::SeqCst), 1, "the list is fresh");
    clock.advance(LIST_AGAIN);
    assert_eq!(call("files__search").await, "search did it");
    assert_eq!(call("files__invented").await, "error: no tool is named `files__invented`");
    assert_eq!(server.lists.load(Ordering::SeqCst), 2);
    assert_eq!(tools.traits("files__search").unwrap().timeout, Duration::from_secs(5));
    assert!(tools.traits("mail__send").is_none());
}

#[tokio::test]
async fn a_server_that_was_never_there_fails_the_attempt_unless_it_is_optional() {
    let (server, _, tools) = served(false);
    *server.list.lock().unwrap() = Err("away".into());
    assert_eq!(names(&tools, &["clock", "files"]).await.unwrap_err().to_string(), "the tools of `files` could not be listed: away");
    assert_eq!(names(&tools, &["clock"]).await.unwrap(), ["clock"], "agents that do not use it do not notice");
    let (server, _, tools) = served(true);
    *server.list.lock().unwrap() = Err("away".into());
    assert_eq!(names(&tools, &["clock", "files"]).await.unwrap(), ["clock"]);
}

/// One secret.
struct One(Mutex<&'static str>, AtomicU32);

#[async_trait]
impl SecretSource for One {
    async fn read(&self, _name: &str) -> Result<Secret, String> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Secret::new((*self.0.lock().unwrap()).to_owned()))
    }
}

#[tokio::test]
async fn a_result_that_repeats_a_secret_loses_it() {
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let secrets = Arc::new(Secrets::of(Arc::new(One(Mutex::new("tvly-0123456789\n"), AtomicU32::new(0))), clock.clone()));
    assert_eq!(secrets.get("key").await.unwrap().reveal(), "tvly-0123456789");
    let tool: Arc<dyn Tool> = Arc::new(Plays::says(Err("refused: authorization: Bearer tvly-0123456789!")));
    let bounds = Bounds { traits: tool.traits(), most_bytes: 1_000 };
    let tools = Toolbox::built_in(clock).with(vec![(tool, bounds)], Vec::new(), secrets);
    let result = tools.call("weather", &json!({"city": "Rome"}), &in_a_run()).await;
    assert_eq!(result.output, "error: refused: authorization: Bearer [secret]!");
}

#[tokio::test]
async fn a_secret_is_read_once_and_again_when_it_is_refused_but_not_in_a_flood() {
    let clock = Arc::new(FixedClock::at("2026-01-02T03:04:05Z"));
    let source = Arc::new(One(Mutex::new("old-secret"), AtomicU32::new(0)));
    let secrets = Secrets::of(source.clone(), clock.clone());
    let reads = || source.1.load(Ordering::SeqCst);
    secrets.get("key").await.unwrap();
    secrets.get("key").await.unwrap();
    assert_eq!(reads(), 1);
    *source.0.lock().unwrap() = "new-secret";
    assert!(!secrets.is_renewed("key").await, "it was read just now");
    assert_eq!(reads(), 1);
    clock.advance(Duration::from_secs(30));
    assert!(secrets.is_renewed("key").await);
    assert_eq!(secrets.get("key").await.unwrap().reveal(), "new-secret");
    clock.advance(Duration::from_secs(30));
    assert!(!secrets.is_renewed("key").await, "it is the same");
    assert_eq!(reads(), 3);
}
