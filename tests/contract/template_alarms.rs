//! Alarms: each says how urgent it is, what it means and where its runbook is; each is driven in a drill; one cause pages once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::template_document::{Template, each, referenced, text};

const FILES: [&str; 5] =
    ["infra/alarms.yaml", "infra/alarms-functions.yaml", "infra/alarms-objectives.yaml", "infra/alarms-manual.yaml", "infra/pages.yaml"];
const FUNCTIONS: [&str; 6] = ["agent-api", "dlq-redrive", "health", "operator-api", "queue-consumer", "sweeper"];
const METRIC: &str = "AWS::CloudWatch::Alarm";
const COMPOSITE: &str = "AWS::CloudWatch::CompositeAlarm";
/// What the monitoring manual of the system before calls its alerts.
const OF_THE_MANUAL: [&str; 7] = [
    "HighErrorRate",
    "HighReflectionFailureRate",
    "HighMemoryUsage",
    "HighResponseTime",
    "LLMAPIErrors",
    "DatabaseConnectionFailures",
    "ServiceDown",
];

/// One alarm of any kind.
struct Alarm {
    name: String,
    is_composite: bool,
    properties: Value,
}

fn alarms() -> Vec<Alarm> {
    let mut found = Vec::new();
    for file in FILES {
        let template = Template::read(file);
        for kind in [METRIC, COMPOSITE] {
            for (_, properties) in template.of_type(kind) {
                let name = text(&properties["AlarmName"]["Fn::Sub"]);
                let name = name.strip_prefix("${Name}-").unwrap_or_else(|| panic!("{name} does not begin with the stack's name"));
                found.push(Alarm { name: name.to_owned(), is_composite: kind == COMPOSITE, properties: properties.clone() });
            }
        }
    }
    found
}

fn acts(alarm: &Alarm) -> bool {
    !alarm.properties["AlarmActions"].is_null()
}

/// Severity, meaning, runbook's file and section.
fn said(alarm: &Alarm) -> (String, String, String, String) {
    let description = text(&alarm.properties["AlarmDescription"]["Fn::Sub"]);
    let parts: Vec<_> = description.split(" · ").collect();
    let [severity, meaning, runbook] = parts[..] else { panic!("{}: {description:?} is not severity, meaning and runbook", alarm.name) };
    let address = runbook.strip_prefix("Runbook: ${RunbookBaseUrl}infra/runbooks/").unwrap_or_else(|| panic!("{}: {runbook}", alarm.name));
    let (file, section) = address.split_once('#').unwrap_or_else(|| panic!("{}: {address} names no section", alarm.name));
    (severity.to_owned(), meaning.to_owned(), file.to_owned(), section.to_owned())
}

/// The names of other alarms in a rule.
fn below(alarm: &Alarm, by_reference: &BTreeMap<String, String>) -> Vec<String> {
    let rule = text(&alarm.properties["AlarmRule"]["Fn::Sub"]);
    let named = rule.split("ALARM(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let name = |reference: &str| match reference.strip_prefix("${Name}-") {
        Some(name) => name.to_owned(),
        None => by_reference[reference.trim_matches(['$', '{', '}'])].clone(),
    };
    named.map(name).collect()
}

fn names_by_logical_id() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in FILES {
        let template = Template::read(file);
        for kind in [METRIC, COMPOSITE] {
            for (logical, properties) in template.of_type(kind) {
                found.insert(logical.to_owned(), text(&properties["AlarmName"]["Fn::Sub"]).trim_start_matches("${Name}-").to_owned());
            }
        }
    }
    found
}

/// The anchors that a page of Markdown has, as its readers make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let slug = |heading: String| {
        let kept = heading.chars().filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
        kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect()
    };
    headings.map(slug).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn each_alarm_says_how_urgent_it_is_and_what_it_means() {
    let alarms = alarms();
    assert!(alarms.len() > 50, "the rule looks at what it should");
    for alarm in &alarms {
        let (severity, meaning, _, _) = said(alarm);
        assert!(["P0", "P1", "P2", "P3"].contains(&severity.as_str()), "{}: {severity}", alarm.name);
        assert!(meaning.len() > 25, "{} does not say what it means: {meaning}", alarm.name);
    }
    for name in OF_THE_MANUAL {
        assert!(alarms.iter().any(|alarm| alarm.name == name), "{name} is missing");
    }
}

#[test]
fn each_alarm_leads_to_a_section_of_a_runbook_that_is_there() {
    for alarm in alarms() {
        let (_, _, file, section) = said(&alarm);
        let path = root().join("infra/runbooks").join(&file);
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}: {error}", alarm.name, path.display()));
        let there = anchors(&page);
        assert!(there.contains(&section), "{}: {file} has no section #{section}; it has {there:?}", alarm.name);
    }
}

#[test]
fn each_alarm_is_driven_in_a_drill_and_no_drill_names_another() {
    let file = fs::read_to_string(root().join("tests/drills/alarms.json")).unwrap();
    let table: Value = serde_json::from_str(&file).unwrap();
    let mut driven = BTreeSet::new();
    for drill in each(&table["drills"]) {
        let off: BTreeSet<String> = each(&drill["goes_off"]).into_iter().flat_map(for_each_function).collect();
        let told = each(&drill["pages"]).into_iter().chain(each(&drill["tickets"])).flat_map(for_each_function);
        driven.extend(told.chain(off));
        for series in each(&drill["series"]) {
            assert!(table["series"].get(text(series)).is_some(), "{}: no series {series}", drill["name"]);
        }
    }
    let there: BTreeSet<String> = alarms().into_iter().map(|alarm| alarm.name).collect();
    assert_eq!(driven.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "drills of alarms that are not there");
    assert_eq!(there.difference(&driven).collect::<Vec<_>>(), Vec::<&String>::new(), "alarms without a drill");
}

fn for_each_function(name: &Value) -> Vec<String> {
    let name = text(name);
    if name.contains("{function}") { FUNCTIONS.map(|function| name.replace("{function}", function)).to_vec() } else { vec![name] }
}

/// Whatever is urgent is told by exactly one alarm: itself, or one composite above it.
#[test]
fn one_cause_pages_once() {
    let (alarms, references) = (alarms(), names_by_logical_id());
    let mut above: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for composite in alarms.iter().filter(|alarm| alarm.is_composite && !alarm.name.starts_with("cause-")) {
        for name in below(composite, &references) {
            above.entry(name).or_default().push(composite.name.clone());
        }
    }
    for alarm in &alarms {
        let parents = above.get(&alarm.name).cloned().unwrap_or_default();
        let is_ticket = said(alarm).0 == "P3";
        assert!(!(acts(alarm) && parents.iter().any(|_| !alarm.is_composite)), "{} pages beside {parents:?}", alarm.name);
        assert!(alarm.name.starts_with("cause-") || acts(alarm) || !parents.is_empty(), "{} tells nobody", alarm.name);
        let tellers = parents.iter().filter(|parent| **parent != "work-stopped" || alarm.name != "provider-trouble").count();
        assert!(tellers <= 1, "{} is told by {parents:?}", alarm.name);
        for (field, what) in [("AlarmActions", "goes off"), ("OKActions", "is over")] {
            let topic = alarm.properties[field][0]["Ref"].as_str();
            let expected: &[_] = if is_ticket { &["Tickets", "TicketsArn"] } else { &["Topic", "TopicArn"] };
            assert!(!acts(alarm) || expected.contains(&topic.unwrap_or_default()), "when it {what}, {} tells {topic:?}", alarm.name);
        }
    }
}

/// A composite that pages waits for what would explain it, except where nothing stands above.
#[test]
fn a_page_waits_for_its_explanation() {
    let alarms = alarms();
    for alarm in alarms.iter().filter(|alarm| alarm.is_composite && acts(alarm) && said(alarm).0 != "P3") {
        let suppressor = referenced(&alarm.properties["ActionsSuppressor"]);
        let expected = match alarm.name.as_str() {
            "store-trouble" => None,
            "provider-trouble" | "work-stopped" => Some("StoreTrouble"),
            "runs-trouble" | "api-trouble" => Some("CauseUpstream"),
            "service-degraded" => Some("CauseKnown"),
            _ => Some("CauseTold"),
        };
        assert_eq!(suppressor, expected, "{}", alarm.name);
    }
}

/// A P1 does not hide in a P2: neither under it, nor as one of many signs of it.
#[test]
fn nothing_is_kept_quiet_by_what_is_less_urgent() {
    let (alarms, references) = (alarms(), names_by_logical_id());
    let urgency = |name: &str| said(alarms.iter().find(|alarm| alarm.name == name).unwrap()).0;
    let mut looked_at = 0;
    for composite in alarms.iter().filter(|alarm| alarm.is_composite) {
        let own = urgency(&composite.name);
        for member in below(composite, &references) {
            let of_member = urgency(&member);
            if composite.name.starts_with("cause-") {
                // It keeps others quiet for the sake of its least urgent member.
                assert!(of_member <= own, "{} is {own} and on for {member}, which is {of_member}", composite.name);
            } else if member != "provider-trouble" {
                // (work-stopped names that one to leave out what it explains.)
                assert!(own <= of_member, "{} pages {own} for {member}, which is {of_member}", composite.name);
            }
        }
        if let Some(suppressor) = referenced(&composite.properties["ActionsSuppressor"]) {
            let above = urgency(&references[suppressor]);
            assert!(above <= own, "{suppressor} is {above} and keeps {} quiet, which is {own}", composite.name);
            looked_at += 1;
        }
    }
    assert!(looked_at >= 6, "the rule looks at what it should");
    let down = alarms.iter().find(|alarm| alarm.name == "ServiceDown").unwrap();
    assert!(acts(down), "what is P0 pages by itself");
}

/// When an alarm goes off after its cause began: at the earliest, and at the latest on a deployment that is otherwise well.
fn goes_off_after(alarm: &Alarm) -> (u64, u64) {
    let properties = &alarm.properties;
    let number = |value: &Value| value.as_u64();
    let period = number(&properties["Period"]).or_else(|| number(&properties["Metrics"][0]["MetricStat"]["Period"])).unwrap();
    let periods = number(&properties["DatapointsToAlarm"]).or_else(|| number(&properties["EvaluationPeriods"])).unwrap();
    // An age has to be reached first, and is told by the next tick of a minute.
    let is_an_age = properties["MetricName"].as_str().is_some_and(|name| name.contains("Age"));
    let reached = if is_an_age { number(&properties["Threshold"]).unwrap() } else { 0 };
    (reached + period * (periods - 1), reached + period * periods + 60)
}

/// Causes are often seen later than what they break: a page waits for as long as that takes.
#[test]
fn a_page_waits_until_the_cause_can_be_seen() {
    let (alarms, template) = (alarms(), Template::read("template.yaml"));
    let find = |name: &str| alarms.iter().find(|alarm| alarm.name == name).unwrap();
    for (sign, page, cause) in [
        ("queue-consumer-errors", "platform-trouble", "heartbeat-missing"),
        ("queue-consumer-throttles", "platform-trouble", "heartbeat-missing"),
        ("stuck-runs", "platform-trouble", "heartbeat-missing"),
        ("sweeper-errors", "platform-trouble", "DatabaseConnectionFailures"),
        ("agent-api-errors", "platform-trouble", "ServiceDown"),
        ("heartbeat-missing", "work-stopped", "table-throttled"),
        ("heartbeat-missing", "work-stopped", "DatabaseConnectionFailures"),
        ("dead-letters", "letters-left", "breaker-open"),
        ("dead-letters", "letters-left", "heartbeat-missing"),
    ] {
        let wait = referenced(&find(page).properties["ActionsSuppressorWaitPeriod"]).unwrap();
        let wait = template.0["Parameters"][wait]["Default"].as_u64().unwrap();
        let (earliest, latest) = (goes_off_after(find(sign)).0 + wait, goes_off_after(find(cause)).1);
        assert!(earliest >= latest, "{page} pages {earliest} s after {cause}'s cause, which is seen after {latest} s");
    }
}

/// An alarm on a name that no function writes is never on.
#[test]
fn each_metric_of_our_own_is_named_in_the_functions_sources() {
    let mut folders = vec![root().join("shared/src"), root().join("functions")];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|ending| ending == "rs") {
                sources += &fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    let mut read = BTreeSet::new();
    for alarm in alarms().iter().filter(|alarm| !alarm.is_composite) {
        let queries = alarm.properties["Metrics"].as_array().cloned().unwrap_or_default();
        let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]).chain([&alarm.properties]);
        read.extend(metrics.filter(|metric| metric["Namespace"] == "Reprise").map(|metric| text(&metric["MetricName"]).to_owned()));
    }
    assert!(read.len() > 10, "the rule looks at what it should: {read:?}");
    for name in read {
        assert!(sources.contains(&format!("\"{name}\"")), "no function writes {name}");
    }
}

#[test]
fn an_alarm_keeps_to_the_limits_of_cloudwatch() {
    for alarm in alarms().iter().filter(|alarm| !alarm.is_composite) {
        let metrics = alarm.properties["Metrics"].as_array();
        let period = match metrics {
            Some(metrics) => {
                assert!(metrics.len() <= 10, "{}", alarm.name);
                let periods: BTreeSet<_> = metrics.iter().filter_map(|metric| metric["MetricStat"]["Period"].as_u64()).collect();
                assert_eq!(periods.len(), 1, "{}: one period for all metrics", alarm.name);
                periods.into_iter().next().unwrap()
            }
            None => alarm.properties["Period"].as_u64().unwrap(),
        };
        let range = period * alarm.properties["EvaluationPeriods"].as_u64().unwrap();
        assert!(period % 60 == 0 && period <= 86_400, "{}: a period of {period} s", alarm.name);
        assert!(range <= if period >= 3600 { 604_800 } else { 86_400 }, "{} looks at {range} s", alarm.name);
    }
}

#[test]
fn each_function_has_alarms_on_crashes_refusals_and_durations_near_its_timeout() {
    let (template, alarms) = (Template::read("template.yaml"), alarms());
    let find = |name: String| alarms.iter().find(|alarm| alarm.name == name).unwrap_or_else(|| panic!("no alarm {name}"));
    for (folder, function) in template.functions() {
        let _ = (find(format!("{folder}-errors")), find(format!("{folder}-throttles")));
        let slow = find(format!("{folder}-slow"));
        let (threshold, timeout) = (slow.properties["Threshold"].as_u64().unwrap(), function["Timeout"].as_u64().unwrap() * 1000);
        assert!(threshold < timeout && threshold * 10 >= timeout * 7, "{folder}: {threshold} ms of {timeout} ms");
        assert_eq!((&slow.properties["ExtendedStatistic"], &slow.properties["MetricName"]), (&"p99".into(), &"Duration".into()));
    }
}

#[test]
fn burn_rates_look_at_two_windows_each() {
    let (alarms, references) = (alarms(), names_by_logical_id());
    for what in ["api", "runs"] {
        for (kind, rate, windows) in [("fast", 14.4, ["1h", "5m"]), ("slow", 6.0, ["6h", "30m"]), ("ticket", 1.0, ["3d", "6h"])] {
            let name = format!("{what}-burn-{kind}");
            let both = alarms.iter().find(|alarm| alarm.name == name).unwrap_or_else(|| panic!("no alarm {name}"));
            assert_eq!(below(both, &references), windows.map(|window| format!("{name}-{window}")), "{name}");
            assert!(text(&both.properties["AlarmRule"]["Fn::Sub"]).contains(" AND "), "{name}");
            for window in windows {
                let one = alarms.iter().find(|alarm| alarm.name == format!("{name}-{window}")).unwrap();
                assert_eq!(one.properties["Threshold"].as_f64().unwrap(), rate, "{name}-{window}");
                let seconds = one.properties["Metrics"][0]["MetricStat"]["Period"].as_u64().unwrap()
                    * one.properties["EvaluationPeriods"].as_u64().unwrap();
                let wanted = match window {
                    "5m" => 300,
                    "30m" => 1800,
                    "1h" => 3600,
                    "6h" => 21_600,
                    _ => 259_200,
                };
                assert_eq!(seconds, wanted, "{name}-{window}");
                let formula = text(&each(&one.properties["Metrics"]).last().unwrap()["Expression"]["Fn::Sub"]);
                assert!(formula.contains("MinRequests"), "{name}-{window} has no guard against little traffic: {formula}");
            }
        }
    }
}

/// Ids of an alarm's formula and what each is, as text, without the last one, which is what the alarm makes of the others.
fn formula(alarm: &Alarm) -> Vec<(String, String)> {
    let plain = |value: &Value| match value.get("Ref") {
        Some(name) => format!("${{{}}}", text(name)),
        None => text(value.get("Fn::Sub").unwrap_or(value)),
    };
    let queries = each(&alarm.properties["Metrics"]);
    let one = |query: &&Value| {
        let metric = &query["MetricStat"]["Metric"];
        let named = each(&metric["Dimensions"]).into_iter().flat_map(|one| [plain(&one["Name"]), plain(&one["Value"])]);
        let words = [plain(&metric["Namespace"]), plain(&metric["MetricName"])].into_iter().chain(named);
        let what = if query["Expression"].is_null() { words.collect::<Vec<_>>().join(" ") } else { plain(&query["Expression"]) };
        (text(&query["Id"]), what)
    };
    queries[..queries.len() - 1].iter().map(one).collect()
}

/// The same of the dashboard's picture of the objective.
fn formula_of_the_dashboard() -> Vec<(String, String)> {
    let template = Template::read("infra/dashboard.yaml");
    let (_, dashboard) = template.of_type("AWS::CloudWatch::Dashboard")[0];
    let body: Value = serde_json::from_str(&text(&dashboard["DashboardBody"]["Fn::Sub"])).unwrap();
    let widgets = each(&body["widgets"]);
    let objective = widgets.iter().find(|widget| widget["properties"]["title"] == "Objective: requests that are answered").unwrap();
    let rows = objective["properties"]["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row.as_array().unwrap().last().unwrap()["id"].is_string());
    let one = |row: &Value| {
        let row = row.as_array().unwrap();
        let (words, options) = (&row[..row.len() - 1], row.last().unwrap());
        let words: Vec<_> = words.iter().map(text).collect();
        (text(&options["id"]), options["expression"].as_str().map_or_else(|| words.join(" "), str::to_owned))
    };
    rows.map(one).collect()
}

/// Metric math cannot be shared between alarms: whoever changes one copy changes all.
#[test]
fn failed_requests_are_counted_alike_by_all_alarms_and_the_dashboard() {
    let expected = formula_of_the_dashboard();
    assert_eq!(expected.len(), 9, "the rule looks at what it should: {expected:?}");
    let mut guards = BTreeSet::new();
    for alarm in alarms().iter().filter(|alarm| !alarm.is_composite && (alarm.name.starts_with("api-burn-") || alarm.name == "ServiceDown"))
    {
        assert_eq!(formula(alarm), expected, "{}", alarm.name);
        let last = &each(&alarm.properties["Metrics"]).last().unwrap()["Expression"];
        guards.insert(text(last.get("Fn::Sub").unwrap_or(last)));
    }
    // Of long windows, of short ones, and of ServiceDown.
    assert_eq!(guards.len(), 3, "{guards:?}");
    assert!(guards.iter().all(|guard| guard.starts_with("IF(count - FILL(probes, 0) >= ")), "{guards:?}");
}
