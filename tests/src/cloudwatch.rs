//! CloudWatch from behind: what is measured, which alarms are on, and whom the topics tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::client::{Client, list, text};
use crate::queues::Queue;

/// Most values that one call takes.
const MOST_VALUES: usize = 500;
/// Most alarms, and entries of the history, on one page.
const PAGE: u64 = 100;

/// The metrics and alarms of the emulator.
#[derive(Debug, Clone)]
pub struct CloudWatch {
    emulator: Client,
}

/// A value of a metric at some time; `count` says how often it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// The metric's name.
    pub metric: String,
    /// Names and values of its dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// How long ago, in seconds.
    pub age: f64,
    /// The value itself.
    pub value: f64,
    /// How often it was seen.
    pub count: f64,
}

/// What a topic says: the alarm, and the state that it changed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// The alarm's name.
    pub alarm: String,
    /// Its new state.
    pub state: String,
}

/// A queue that hears everything that a topic says.
#[derive(Debug)]
pub struct Listener {
    queue: Queue,
}

impl CloudWatch {
    /// The metrics and alarms behind an address.
    #[must_use]
    pub fn new(emulator: &Client) -> Self {
        Self { emulator: emulator.clone() }
    }

    /// Records values, as old as they say at that time, see [`now`].
    #[track_caller]
    pub fn put(&self, namespace: &str, data: &[Datum], now: f64) {
        for some in data.chunks(MOST_VALUES) {
            let data = some.iter().map(|datum| {
                let dimensions = datum.dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value}));
                json!({
                    "MetricName": datum.metric, "Dimensions": dimensions.collect::<Vec<_>>(), "Timestamp": now - datum.age,
                    "Values": [datum.value], "Counts": [datum.count],
                })
            });
            let _ = self.call("PutMetricData", &json!({"Namespace": namespace, "MetricData": data.collect::<Vec<_>>()}));
        }
    }

    /// Each alarm as the API describes it, by its name; composite ones too.
    #[track_caller]
    #[must_use]
    pub fn alarms(&self) -> BTreeMap<String, Value> {
        let wanted = json!({"AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "MaxRecords": PAGE});
        let pages = self.pages("DescribeAlarms", &wanted);
        let all = pages.iter().flat_map(|page| list(page, "MetricAlarms").iter().chain(list(page, "CompositeAlarms")));
        all.map(|alarm| (text(alarm, "AlarmName"), alarm.clone())).collect()
    }

    /// The alarms that are in another state than OK, with the reason.
    #[track_caller]
    #[must_use]
    pub fn not_ok(&self) -> Vec<String> {
        let alarms = self.alarms().into_iter().filter(|(_, alarm)| alarm["StateValue"] != "OK");
        alarms.map(|(name, alarm)| format!("{name} is {}: {}", text(&alarm, "StateValue"), text(&alarm, "StateReason"))).collect()
    }

    /// How often each alarm has gone into ALARM since the stack is there.
    #[track_caller]
    #[must_use]
    pub fn times_in_alarm(&self) -> BTreeMap<String, usize> {
        let wanted = json!({"AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "HistoryItemType": "StateUpdate", "MaxRecords": PAGE});
        let mut times = BTreeMap::new();
        for page in self.pages("DescribeAlarmHistory", &wanted) {
            for entry in list(&page, "AlarmHistoryItems") {
                if text(entry, "HistorySummary").ends_with(" to ALARM") {
                    *times.entry(text(entry, "AlarmName")).or_default() += 1;
                }
            }
        }
        times
    }

    /// Each metric that was ever recorded: namespace, name and dimensions.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self) -> BTreeSet<(String, String, BTreeMap<String, String>)> {
        let found = self.pages("ListMetrics", &json!({}));
        let metrics = found.iter().flat_map(|page| list(page, "Metrics"));
        metrics.map(|metric| (text(metric, "Namespace"), text(metric, "MetricName"), dimensions(metric))).collect()
    }

    /// The body of a dashboard.
    #[track_caller]
    #[must_use]
    pub fn dashboard(&self, name: &str) -> Value {
        let body = text(&self.call("GetDashboard", &json!({"DashboardName": name})), "DashboardBody");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("the dashboard {name} is no JSON: {error}"))
    }

    #[track_caller]
    fn pages(&self, operation: &str, wanted: &Value) -> Vec<Value> {
        let mut pages = vec![self.call(operation, wanted)];
        while let Some(token) = pages.last().and_then(|page| page["NextToken"].as_str()) {
            let mut next = wanted.clone();
            next["NextToken"] = json!(token);
            pages.push(self.call(operation, &next));
        }
        pages
    }

    #[track_caller]
    fn call(&self, operation: &str, body: &Value) -> Value {
        let target = format!("GraniteServiceVersion20100801.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        self.emulator.send("POST", "/", &headers, body.to_string().into_bytes()).must(200)
    }
}

impl Listener {
    /// Hears a topic from now on.
    #[track_caller]
    #[must_use]
    pub fn of_topic(emulator: &Client, topic_arn: &str) -> Self {
        let queue = Queue::create(emulator, &crate::fresh("notices"));
        let body = format!(
            "Action=Subscribe&Version=2010-03-31&TopicArn={topic_arn}&Protocol=sqs&Endpoint={}\
             &Attributes.entry.1.key=RawMessageDelivery&Attributes.entry.1.value=true",
            queue.arn()
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = emulator.send("POST", "/", &headers, body.into_bytes());
        assert_eq!(answer.status, 200, "Subscribe: {}", answer.body);
        Self { queue }
    }

    /// What was said since the last time.
    ///
    /// # Panics
    /// When it was no notice of an alarm.
    #[track_caller]
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let mut found = Vec::new();
        loop {
            let messages = self.queue.look();
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                let said: Value = serde_json::from_str(&message.body).unwrap_or_else(|error| panic!("{error}: {}", message.body));
                found.push(Notice { alarm: text(&said, "AlarmName"), state: text(&said, "NewStateValue") });
                self.queue.delete(&message);
            }
        }
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "what is recorded is as old as it says by the emulator's clock, which is this machine's")]
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The dimensions of a metric as the API lists them.
#[must_use]
pub fn dimensions(metric: &Value) -> BTreeMap<String, String> {
    metric["Dimensions"].as_array().into_iter().flatten().map(|one| (text(one, "Name"), text(one, "Value"))).collect()
}
