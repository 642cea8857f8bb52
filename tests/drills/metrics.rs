//! What Prometheus reads off the fleet: the real one, scraping the stack's `/metrics`, with our rules and with the manual's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::{Client, list, text};
use tests::{Stack, fresh, wait_for};

const LONG: Duration = Duration::from_secs(90);

/// The seven rules as the manual prints them, with our prefix in the place of its own.
const OF_THE_MANUAL: &str = r#"
groups:
  - name: as_printed
    rules:
      - {alert: HighErrorRate, expr: 'rate(reprise_requests_total{status=~"5.."}[5m]) / rate(reprise_requests_total[5m]) > 0.1', for: 5m}
      - {alert: HighReflectionFailureRate, expr: 'rate(reprise_reflection_failures_total[5m]) / rate(reprise_reflections_total[5m]) > 0.2', for: 10m}
      - {alert: HighMemoryUsage, expr: 'reprise_memory_usage_bytes / reprise_memory_limit_bytes > 0.8', for: 15m}
      - {alert: HighResponseTime, expr: 'histogram_quantile(0.95, rate(reprise_request_duration_seconds_bucket[5m])) > 5', for: 5m}
      - {alert: LLMAPIErrors, expr: 'rate(reprise_llm_api_errors_total[5m]) > 0.1', for: 5m}
      - {alert: DatabaseConnectionFailures, expr: 'rate(reprise_db_connection_errors_total[5m]) > 0', for: 2m}
      - {alert: ServiceDown, expr: 'up{job="reprise"} == 0', for: 1m}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn tool(name: &str) -> PathBuf {
    let path = root().join(".local/prometheus/bin").join(name);
    assert!(path.exists(), "{name} is not there: infra/local/install.sh observe");
    path
}

/// A Prometheus that scrapes the stack every second. It ends with the test.
struct Prometheus {
    process: Child,
    api: Client,
    folder: PathBuf,
}

impl Prometheus {
    fn of(stack: &Stack) -> Self {
        let folder = std::env::temp_dir().join(fresh("prometheus"));
        fs::create_dir_all(folder.join("manual")).unwrap();
        fs::write(folder.join("manual/as_printed.yml"), OF_THE_MANUAL).unwrap();
        let ours = root().join("infra/prometheus");
        let target = stack.api.base().trim_start_matches("http://").to_owned();
        let mut config = fs::read_to_string(ours.join("prometheus.yml")).unwrap();
        // Rules are found beside the configuration, wherever that is.
        for (from, to) in [
            ("localhost:8000", target.as_str()),
            ("interval: 10s", "interval: 1s"),
            ("scrape_timeout: 5s", "scrape_timeout: 1s"),
            ("  - rules/*.yml", &format!("  - {}/rules/*.yml\n  - {}/manual/*.yml", ours.display(), folder.display())),
        ] {
            assert!(config.contains(from), "{from} is not in prometheus.yml");
            config = config.replace(from, to);
        }
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self { process, api: Client::new(&format!("http://127.0.0.1:{port}")), folder };
        wait_for("the first scrape", LONG, || {
            // Nobody listens at first, which is no answer.
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                return Err(fs::read_to_string(prometheus.folder.join("log")).unwrap_or_default());
            }
            let up = prometheus.query(r#"up{job="reprise"} == 1"#)?;
            if up.is_empty() { Err("no target is up".to_owned()) } else { Ok(()) }
        });
        prometheus
    }

    /// The values of a query, by their labels.
    fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let answer = self.api.send("POST", "/api/v1/query", &[FORM], format!("query={}", encoded(query)).into_bytes());
        let body: Value = serde_json::from_str(&answer.body).map_err(|_| answer.body.clone())?;
        if body["status"] != "success" {
            return Err(format!("{query}: {body}"));
        }
        let values = body["data"]["result"].as_array().cloned().unwrap_or_default().into_iter();
        let value =
            |sample: Value| (sample["metric"].clone(), sample["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN));
        Ok(values.map(value).collect())
    }

    /// The sum of a query that has one.
    fn sum(&self, query: &str) -> f64 {
        self.query(&format!("sum({query})")).unwrap().first().map_or(0.0, |(_, value)| *value)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What stands behind the names of `/metrics`, by name with labels.
fn samples(stack: &Stack) -> BTreeMap<String, f64> {
    let answer = stack.api.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// All samples whose name begins so and whose labels have that.
fn total(samples: &BTreeMap<String, f64>, name: &str, has: &str) -> f64 {
    samples.iter().filter(|(sample, _)| sample.starts_with(name) && sample.contains(has)).map(|(_, value)| value).sum()
}

const COMPLETED: (&str, &str) = ("reprise_runs_total{", r#"function="agent-api",agent="assistant",outcome="completed""#);
const TOKENS: (&str, &str) = ("reprise_llm_tokens_total{", "agent-api");

#[test]
fn what_was_done_is_what_the_fleet_counts_and_a_real_prometheus_reads_it_with_all_rules() {
    let stack = Stack::alone();
    let prometheus = Prometheus::of(&stack);
    let (since, begun) = (stack.log_position(), Instant::now());
    // Whatever was counted before and not told yet is told first: by what is asked ten seconds later.
    let settled = || {
        let _ = stack.api.get("/v1/runs?limit=1").must(200);
        samples(&stack)
    };
    let before = wait_for("a function to tell its sums", LONG, || {
        let samples = settled();
        if total(&samples, "reprise_requests_total{", "agent-api") > 0.0 { Ok(samples) } else { Err("it has told nothing") }
    });
    // Of a worker: it tells of this one when it works on the next, ten seconds later.
    let in_background = || stack.wait_until(&stack.start(&fresh("healthy")), "completed");
    in_background();
    let mut tokens = 0.0;
    for _ in 0..3 {
        let answer = stack.ask(&json!({"prompt": fresh("healthy")})).must(200);
        let run = stack.run(&text(&answer, "run_id"));
        let used = |name: &str| run["usage"][name].as_f64().unwrap_or_default();
        tokens += used("input_tokens") + used("output_tokens");
    }
    let (completed_before, tokens_before) = (total(&before, COMPLETED.0, COMPLETED.1), total(&before, TOKENS.0, TOKENS.1));
    wait_for("three runs more", LONG, || {
        let now = settled();
        let counted = (total(&now, COMPLETED.0, COMPLETED.1) - completed_before, total(&now, TOKENS.0, TOKENS.1) - tokens_before);
        if counted == (3.0, tokens) { Ok(()) } else { Err(format!("{counted:?} and not (3, {tokens})")) }
    });
    wait_for("Prometheus to have read them", LONG, || {
        let read = prometheus.sum(r#"reprise_runs_total{function="agent-api",outcome="completed"}"#);
        if read == completed_before + 3.0 { Ok(()) } else { Err(format!("{read}")) }
    });
    told_seldom(&stack, since, begun.elapsed());
    rules_are_well(&prometheus);
    in_background();
    dashboard_has_data(&prometheus);
    lints(&stack);
}

/// One call in ten seconds for each sandbox, however much it is asked.
fn told_seldom(stack: &Stack, since: u64, elapsed: Duration) {
    let calls = stack.bookkeeping(since).into_iter().filter(|call| call.function == "agent-api").count() as u64;
    let most = (elapsed.as_secs() / 10 + 1) * stack.processes_of("agent-api").len() as u64;
    assert!((1..=most).contains(&calls), "{calls} calls and not at most {most}");
}

/// Those of infra/prometheus/rules, and the seven of the manual as it prints them.
const RULES: usize = 33;

/// Every rule was evaluated without an error; none fires on a stack that is well.
fn rules_are_well(prometheus: &Prometheus) {
    wait_for("all rules to be evaluated", LONG, || {
        let groups = prometheus.api.get("/api/v1/rules").must(200);
        let rules: Vec<Value> = list(&groups["data"], "groups").iter().flat_map(|group| list(group, "rules").to_vec()).collect();
        let unwell: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok" || rule["state"] == "firing").collect();
        if unwell.is_empty() && rules.len() == RULES { Ok(()) } else { Err(format!("{} rules, of which {unwell:?}", rules.len())) }
    });
}

/// What no traffic of this drill makes: no reflexion, no failure, no price.
const NEEDS_MORE: [&str; 4] = ["Reflections", "Errors by type", "Failed model calls", "Cost an hour"];

/// Every query of every panel parses and has an answer.
fn dashboard_has_data(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(root().join("infra/dashboards/grafana.json")).unwrap()).unwrap();
    for panel in list(&dashboard, "panels").iter().filter(|panel| panel["type"] != "row") {
        let title = text(panel, "title");
        for target in list(panel, "targets") {
            let query = text(target, "expr").replace("$__rate_interval", "5m");
            wait_for(&format!("data for `{title}`"), LONG, || {
                let found = prometheus.query(&query)?;
                if found.is_empty() && !NEEDS_MORE.contains(&title.as_str()) { Err(format!("{query}: nothing")) } else { Ok(()) }
            });
        }
    }
}

fn lints(stack: &Stack) {
    let mut promtool =
        Command::new(tool("promtool")).args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(stack.api.get("/metrics").body.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn every_rule_is_tested_and_fires_and_clears() {
    let folder = root().join("infra/prometheus");
    let files = |of: &str| -> Vec<PathBuf> { fs::read_dir(folder.join(of)).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let run = |check: &str, files: Vec<PathBuf>| {
        let said = Command::new(tool("promtool")).args(check.split(' ')).args(files).output().unwrap();
        assert!(said.status.success(), "{check}: {}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    };
    run("check rules", files("rules"));
    run("test rules", files("tests"));
    let all = |of: &str| files(of).iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
    let (rules, tests) = (all("rules"), all("tests"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let is_tested = tests.matches(&format!("alertname: {alert}")).count();
        assert!(is_tested >= 2, "{alert} has no test that it fires and that it clears");
    }
    for (number, line) in rules.lines().enumerate().filter(|(_, line)| line.contains("runbook:")) {
        let file = line.trim().trim_start_matches("runbook: ").split('#').next().unwrap_or_default().to_owned();
        assert!(file.starts_with("infra/runbooks/"), "line {number}: {line}");
    }
}
