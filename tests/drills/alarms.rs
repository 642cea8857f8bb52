//! Every alarm is driven to ALARM and back to OK, and one cause pages once.
//!
//! `alarms.json` says what is measured in each drill, which alarms that sets off, and which of them may tell somebody. Most of it is series of
//! numbers, because the real causes take hours; the letter on the dead-letter queue is real, and the runbooks' drills have real faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::client::text;
use tests::cloudwatch::{CloudWatch, Datum, Listener, Notice, now};
use tests::{Stack, fresh, wait_for};

/// The longest that an alarm may take: a tick of the emulator, the wait of its page, and a busy machine.
const GOES_OFF: Duration = Duration::from_secs(40);
/// Before what passes by itself has passed: a busy machine may not have judged it yet.
const AGAIN: Duration = Duration::from_secs(6);
/// Longer than the three minutes in which the greatest number of letters stays known, and than two ticks of the sweeper.
const CALM: Duration = Duration::from_secs(300);

const GATEWAY: &str = "AWS/ApiGateway";
const FUNCTIONS: [&str; 6] = ["agent-api", "dlq-redrive", "health", "operator-api", "queue-consumer", "sweeper"];

/// Values with their namespaces.
type Points = Vec<(String, Datum)>;

/// What stands in the table of drills, with the names of this stack.
struct Table {
    file: Value,
    stack: String,
    dynamodb: String,
}

/// Who hears what.
struct Ears {
    pages: Listener,
    tickets: Listener,
}

#[test]
fn each_alarm_goes_off_and_back_and_one_cause_pages_once() {
    let stack = Stack::alone();
    let cloudwatch = CloudWatch::new(&stack.emulator);
    let alarms = cloudwatch.alarms();
    let throttled = &alarms[&format!("{}-table-throttled", stack.name)];
    let table = Table {
        file: serde_json::from_str(include_str!("alarms.json")).expect("the table of drills"),
        stack: stack.name.clone(),
        dynamodb: text(&throttled["Metrics"][0]["MetricStat"]["Metric"]["Dimensions"][0], "Value"),
    };
    let topic = |alarm: &str| text_of(&alarms[&format!("{}-{alarm}", stack.name)]["AlarmActions"][0]);
    let ears = Ears {
        pages: Listener::of_topic(&stack.emulator, &topic("store-trouble")),
        tickets: Listener::of_topic(&stack.emulator, &topic("backup-too-old")),
    };
    calm(&cloudwatch);
    for drill in each(&table.file["drills"]) {
        drive(&stack, &cloudwatch, &table, &ears, drill);
    }
    // Nothing is left that nobody has driven.
    let driven = cloudwatch.times_in_alarm();
    let never: Vec<_> = alarms.keys().filter(|name| !driven.contains_key(*name)).collect();
    assert!(never.is_empty(), "never in ALARM: {never:?}");
}

#[track_caller]
fn drive(stack: &Stack, cloudwatch: &CloudWatch, table: &Table, ears: &Ears, drill: &Value) {
    let name = text(drill, "name");
    let _ = (ears.pages.notices(), ears.tickets.notices());
    let before = cloudwatch.times_in_alarm();
    if drill["a_real_letter"] == true {
        stack.dead_letters.send(&fresh("nobody understands this"));
    }
    let (passing, taken_back) = table.series(drill);
    let began = now();
    put(cloudwatch, passing.iter().chain(&taken_back), began);
    let (pages, tickets) = (table.names(&drill["pages"]), table.names(&drill["tickets"]));
    let (mut paged, mut ticketed, mut put_at) = (Vec::new(), Vec::new(), Instant::now());
    wait_for(&name, GOES_OFF, || {
        if put_at.elapsed() > AGAIN {
            put_at = Instant::now();
            put(cloudwatch, &passing, now());
        }
        paged.extend(ears.pages.notices());
        ticketed.extend(ears.tickets.notices());
        let after = cloudwatch.times_in_alarm();
        let went_off = |alarm: &String| after.get(alarm) > before.get(alarm);
        let missing: Vec<_> = table.names(&drill["goes_off"]).into_iter().filter(|alarm| !went_off(alarm)).collect();
        let is_told = in_state(&paged, "ALARM").is_superset(&pages) && in_state(&ticketed, "ALARM").is_superset(&tickets);
        if missing.is_empty() && is_told {
            Ok(())
        } else {
            Err(format!("not in ALARM: {missing:?}; pages {paged:?}, tickets {ticketed:?}"))
        }
    });
    // It is over: sums are taken back, the rest passes, and the letter is removed.
    take_back(cloudwatch, &taken_back, began);
    if drill["a_real_letter"] == true {
        stack.dead_letters.purge();
    }
    calm(cloudwatch);
    paged.extend(ears.pages.notices());
    ticketed.extend(ears.tickets.notices());
    for (told, expected, what) in [(&mut paged, &pages, "pages"), (&mut ticketed, &tickets, "tickets")] {
        told.sort();
        let once = expected.iter().flat_map(|alarm| ["ALARM", "OK"].map(|state| Notice { alarm: alarm.clone(), state: state.to_owned() }));
        assert_eq!(*told, once.collect::<Vec<_>>(), "{what} of the drill: {name}");
    }
    if drill["nothing_else"] == true {
        let rose = cloudwatch.times_in_alarm().into_iter().filter(|(alarm, times)| before.get(alarm) < Some(times));
        assert_eq!(rose.map(|(alarm, _)| alarm).collect::<BTreeSet<_>>(), table.names(&drill["goes_off"]), "of the drill: {name}");
    }
}

#[track_caller]
fn calm(cloudwatch: &CloudWatch) {
    wait_for("all alarms to be OK", CALM, || {
        let loud = cloudwatch.not_ok();
        if loud.is_empty() { Ok(()) } else { Err(loud.join("\n")) }
    });
}

/// The gateway's counts last: an alarm that looks between two calls would miss what is to be taken off them.
#[track_caller]
fn put<'a>(cloudwatch: &CloudWatch, data: impl IntoIterator<Item = &'a (String, Datum)>, at: f64) {
    let mut data = by_namespace(data);
    let of_the_gateway = data.remove_entry(GATEWAY);
    for (namespace, data) in data.into_iter().chain(of_the_gateway) {
        cloudwatch.put(namespace, &data, at);
    }
}

/// Takes back what was put at that time, from the very seconds it was put into, and the gateway's counts first.
#[track_caller]
fn take_back(cloudwatch: &CloudWatch, data: &Points, at: f64) {
    let mut data = by_namespace(data);
    for datum in data.values_mut().flatten() {
        datum.value = -datum.value;
    }
    let of_the_gateway = data.remove_entry(GATEWAY);
    for (namespace, data) in of_the_gateway.into_iter().chain(data) {
        cloudwatch.put(namespace, &data, at);
    }
}

fn by_namespace<'a>(data: impl IntoIterator<Item = &'a (String, Datum)>) -> BTreeMap<&'a str, Vec<Datum>> {
    let mut found: BTreeMap<&str, Vec<Datum>> = BTreeMap::new();
    for (namespace, datum) in data {
        found.entry(namespace).or_default().push(datum.clone());
    }
    found
}

fn in_state(notices: &[Notice], state: &str) -> BTreeSet<String> {
    notices.iter().filter(|notice| notice.state == state).map(|notice| notice.alarm.clone()).collect()
}

impl Table {
    /// The values of a drill, with their namespaces: what passes by itself, and what must be taken back.
    fn series(&self, drill: &Value) -> (Points, Points) {
        let (mut passing, mut taken_back) = (Vec::new(), Vec::new());
        for name in each(&drill["series"]) {
            let series = &self.file["series"][text_of(name)];
            let into = if series["take_back"] == true { &mut taken_back } else { &mut passing };
            for points in each(&series["points"]) {
                into.extend(self.points(points));
            }
        }
        (passing, taken_back)
    }

    fn points(&self, points: &Value) -> Points {
        let dimensions = points[2].as_object().unwrap_or_else(|| panic!("no dimensions in {points}"));
        let functions: &[&str] = if dimensions.values().any(|value| text_of(value).contains("{function}")) { &FUNCTIONS } else { &[""] };
        let values = each(&points[3]);
        let data = functions.iter().flat_map(|function| {
            let named = dimensions.iter().map(|(name, value)| (name.clone(), self.named(&text_of(value), function)));
            let dimensions: BTreeMap<_, _> = named.collect();
            values.iter().map(move |value| {
                let number = |place: usize| value[place].as_f64();
                let (Some(age), Some(known), count) = (number(0), number(1), number(2).unwrap_or(1.0)) else {
                    panic!("{value} is no point")
                };
                let datum = Datum { metric: text_of(&points[1]), dimensions: dimensions.clone(), age, value: known, count };
                (text_of(&points[0]), datum)
            })
        });
        data.collect()
    }

    /// The whole names of alarms.
    fn names(&self, alarms: &Value) -> BTreeSet<String> {
        let all = each(alarms).iter().flat_map(|alarm| {
            let alarm = text_of(alarm);
            let functions: &[&str] = if alarm.contains("{function}") { &FUNCTIONS } else { &[""] };
            functions.iter().map(|function| format!("{}-{}", self.stack, self.named(&alarm, function))).collect::<Vec<_>>()
        });
        all.collect()
    }

    fn named(&self, text: &str, function: &str) -> String {
        text.replace("{stack}", &self.stack).replace("{table}", &self.dynamodb).replace("{function}", function)
    }
}

fn each(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
