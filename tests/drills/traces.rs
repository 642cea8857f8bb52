//! One trace for each run, as a receiver of OTLP sees it: Arize Phoenix, started here where the stack sends its spans
//! (`infra/local/install.sh traces` installs it).

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Client, list, text};
use tests::runs::LONG;
use tests::{Stack, address, fresh, wait_for};

/// Its first start makes a database of a hundred migrations.
const START: Duration = Duration::from_secs(240);
/// A collector that did not answer is left alone for half a minute at most.
const ARRIVAL: Duration = Duration::from_secs(120);
/// Every so many looks something is done, because spans are sent at the end of invocations.
const LOOKS: u32 = 20;

/// The receiver; dropped, it is killed.
struct Phoenix {
    process: Child,
    client: Client,
    folder: std::path::PathBuf,
}

impl Phoenix {
    #[track_caller]
    fn start(at: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let port: u16 = at.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{at} has no port"));
        let folder = std::env::temp_dir().join(fresh("phoenix"));
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let log = std::fs::File::create(folder.join("log")).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut command = Command::new(root.join(".local/traces-venv/bin/phoenix"));
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.env_clear().env("HOME", &folder).env("PHOENIX_WORKING_DIR", &folder).env("PHOENIX_TELEMETRY_ENABLED", "false");
        command.env("PHOENIX_HOST", "127.0.0.1").env("PHOENIX_PORT", port.to_string()).env("PHOENIX_GRPC_PORT", (port + 1).to_string());
        let process = command.spawn().unwrap_or_else(|error| panic!("Phoenix (`infra/local/install.sh traces` installs it): {error}"));
        let mut this = Self { process, client: Client::new(at), folder };
        wait_for("Phoenix to answer", START, || {
            if let Ok(Some(status)) = this.process.try_wait() {
                panic!("Phoenix has ended: {status}; {}", std::fs::read_to_string(this.folder.join("log")).unwrap_or_default());
            }
            this.client.try_send("GET", "/healthz", &[], Vec::new()).map(|_| ())
        });
        this
    }

    /// The spans of a trace that have arrived.
    fn spans(&self, trace: &str) -> Vec<Value> {
        // The project is made by the first spans.
        let Ok(answer) = self.client.try_send("GET", "/v1/projects/default/spans?limit=1000", &[], Vec::new()) else { return Vec::new() };
        let all: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let spans = all["data"].as_array().cloned().unwrap_or_default();
        spans.into_iter().filter(|span| span["context"]["trace_id"] == trace).collect()
    }

    /// The spans of a trace, once as many of these names have arrived.
    #[track_caller]
    fn wait_for(&self, stack: &Stack, trace: &str, names: &[(&str, usize)]) -> Vec<Value> {
        let mut looks = 0;
        wait_for(&format!("the spans of {trace}"), ARRIVAL, || {
            looks += 1;
            if looks % LOOKS == 0 {
                stack.start(&fresh("another"));
            }
            let spans = self.spans(trace);
            let has = |(name, count): &(&str, usize)| named(&spans, name).len() == *count;
            if names.iter().all(has) { Ok(spans) } else { Err(spans.iter().map(|span| text(span, "name")).collect::<Vec<_>>().join(", ")) }
        })
    }
}

impl Drop for Phoenix {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    let mut named: Vec<_> = spans.iter().filter(|span| span["name"] == name).collect();
    named.sort_by_key(|span| text(span, "start_time"));
    named
}

#[track_caller]
fn is_behind(child: &Value, parent: &Value) {
    assert_eq!(child["parent_id"], parent["context"]["span_id"], "{} is behind {}", child["name"], parent["name"]);
}

#[track_caller]
fn says(span: &Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span["attributes"][*name].to_string().trim_matches('"'), *value, "{name} of {span}");
    }
}

/// A background run of a caller with a trace of its own; the run and the trace.
#[track_caller]
fn start(stack: &Stack, prompt: &str) -> (String, String) {
    let trace = fresh("t").rsplit('-').next().unwrap_or_default().repeat(2);
    let headers = [("content-type", "application/json"), ("traceparent", &*format!("00-{trace}-00f067aa0ba902b7-01"))];
    let body = json!({"prompt": prompt, "background": true}).to_string().into_bytes();
    (text(&stack.api.send("POST", "/v1/agent", &headers, body).must(202), "run_id"), trace)
}

#[test]
fn a_receiver_sees_each_run_as_one_trace_and_one_that_hangs_costs_nobody_an_answer() {
    let (stack, at) = (Stack::beside(), address("REPRISE_TEST_TRACES"));
    // It takes connections and never answers.
    let hangs = TcpListener::bind(at.trim_start_matches("http://")).unwrap_or_else(|error| panic!("{at}: {error}"));
    for _ in 0..3 {
        let answered = stack.ask(&json!({"prompt": fresh("What time is it in Berlin?")})).must(200);
        assert!(text(&answered, "response").contains("Europe/Berlin"), "{answered}");
    }
    drop(hangs);

    let phoenix = Phoenix::start(&at);
    let word = fresh("patient");
    let (timely, first) = start(&stack, &fresh("What time is it in Berlin?"));
    let (patient, second) = start(&stack, &format!("fails until healed {word}"));
    wait_for("the first attempt to fail", LONG, || {
        let run = stack.run(&patient);
        if list(&run, "failures").is_empty() { Err(run) } else { Ok(()) }
    });
    stack.heal(&word);
    for (run, trace) in [(&timely, &first), (&patient, &second)] {
        assert_eq!(stack.wait_until(run, "completed")["trace_id"], **trace);
    }

    let wanted = [("POST /v1/agent", 1), ("send tasks", 1), ("process tasks", 1), ("invoke_agent assistant", 1), ("execute_tool clock", 1)];
    let spans = phoenix.wait_for(&stack, &first, &wanted);
    let one = |name: &str| named(&spans, name)[0];
    assert_eq!(one("POST /v1/agent")["parent_id"], "00f067aa0ba902b7");
    for chain in ["POST /v1/agent", "send tasks", "process tasks", "invoke_agent assistant", "execute_tool clock"].windows(2) {
        is_behind(one(chain[1]), one(chain[0]));
    }
    says(one("POST /v1/agent"), &[("http.response.status_code", "202")]);
    for name in ["POST /v1/agent", "process tasks"] {
        let xray = text(&one(name)["attributes"], "aws.xray.trace_id");
        assert!(xray.starts_with("1-") && xray.len() == 35, "{name}: {xray}");
    }
    says(one("invoke_agent assistant"), &[("gen_ai.agent.name", "assistant"), ("run.id", &timely), ("reprise.run.outcome", "completed")]);
    says(one("execute_tool clock"), &[("gen_ai.tool.name", "clock"), ("step", "2")]);
    let chats: Vec<_> = spans.iter().filter(|span| text(span, "name").starts_with("chat ")).collect();
    assert_eq!(chats.len(), 2);
    for chat in chats {
        is_behind(chat, one("invoke_agent assistant"));
        says(chat, &[("gen_ai.operation.name", "chat"), ("gen_ai.provider.name", "openai")]);
        assert!(chat["attributes"]["gen_ai.usage.input_tokens"].is_number(), "{chat}");
    }
    assert!(spans.iter().all(|span| !span["attributes"].to_string().contains("Berlin")), "no content unless it is asked for");

    let wanted = [("POST /v1/agent", 1), ("invoke_agent assistant", 2)];
    let spans = phoenix.wait_for(&stack, &second, &wanted);
    let attempts = named(&spans, "invoke_agent assistant");
    says(attempts[0], &[("error.type", "provider_unavailable")]);
    says(attempts[1], &[("reprise.run.outcome", "completed")]);
    assert_eq!((&attempts[0]["status_code"], &attempts[1]["status_code"]), (&json!("ERROR"), &json!("UNSET")));
    for (attempt, message) in attempts.iter().zip(named(&spans, "process tasks")) {
        is_behind(attempt, message);
    }
}
