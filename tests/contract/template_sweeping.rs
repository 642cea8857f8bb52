//! The sweeper: that it ticks often enough, has the time that a tick takes, and that somebody hears of its silence.

use shared::sweep::{LOOK_AHEAD, MARGIN};

use crate::template_document::{Template, referenced};

/// What `rate(1 minute)` means.
const PERIOD_SECONDS: u64 = 60;

#[test]
fn the_sweeper_ticks_every_minute_and_a_tick_reaches_the_next_one() {
    let template = Template::read("template.yaml");
    let schedules = template.events("Schedule");
    let [(function, _, schedule)] = &schedules[..] else { panic!("one schedule, not {}", schedules.len()) };
    assert_eq!((function.as_str(), &schedule["Schedule"]), ("sweeper", &"rate(1 minute)".into()));
    assert_ne!(schedule["Enabled"], false);
    assert!(LOOK_AHEAD.as_secs() > PERIOD_SECONDS, "what falls due between two ticks would wait for the second");
    let timeout = template.functions()["sweeper"]["Timeout"].as_u64().unwrap();
    assert!(timeout >= (LOOK_AHEAD + MARGIN).as_secs(), "a tick is cut off after {timeout} s");
}

#[test]
fn a_tick_that_failed_is_repeated_by_the_next_and_not_by_lambda() {
    let sweeper = &Template::read("template.yaml").functions()["sweeper"];
    assert_eq!(sweeper["EventInvokeConfig"]["MaximumRetryAttempts"], 0);
    assert_eq!(sweeper["EventInvokeConfig"]["MaximumEventAgeInSeconds"], PERIOD_SECONDS);
    assert!(sweeper["ReservedConcurrentExecutions"].is_null(), "two ticks may overlap");
}

#[test]
fn no_step_writes_an_index_and_that_of_what_is_due_belongs_to_no_tenant() {
    let template = Template::read("template.yaml");
    let (_, table) = template.of_type("AWS::DynamoDB::Table")[0];
    let indexes = table["GlobalSecondaryIndexes"].as_array().unwrap();
    for index in indexes {
        // Dead runs alone have what the index of the dead holds, and those make no steps.
        let holds = if index["IndexName"] == "dead" {
            serde_json::json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["dead"]})
        } else {
            serde_json::json!({"ProjectionType": "KEYS_ONLY"})
        };
        assert_eq!(index["Projection"], holds, "{}: a step would write it", index["IndexName"]);
    }
    let due = indexes.iter().find(|index| index["IndexName"] == "due").expect("the sweeper reads the index `due`");
    let keys: Vec<_> = due["KeySchema"].as_array().unwrap().iter().map(|key| key["AttributeName"].as_str().unwrap()).collect();
    assert_eq!(keys, ["gsi3pk", "gsi3sk"]);
}

#[test]
fn silence_of_the_sweeper_is_an_alarm_and_silence_of_anything_else_is_not() {
    let (template, alarms) = (Template::read("template.yaml"), Template::read("infra/alarms.yaml"));
    let handed_over = &template.0["Resources"]["Alarms"]["Properties"]["Parameters"];
    assert_eq!(referenced(&handed_over["SweeperName"]), Some("Sweeper"));
    let mut metrics = Vec::new();
    for (name, alarm) in alarms.of_type("AWS::CloudWatch::Alarm") {
        let is_about_silence = name == "SweeperIsSilent";
        // The canary is the sweeper's as well.
        let is_never_silent = is_about_silence || name == "HeartbeatIsMissing";
        assert_eq!(alarm["TreatMissingData"], if is_never_silent { "breaching" } else { "notBreaching" }, "{name}");
        if alarm["Dimensions"][0]["Value"]["Ref"] == "SweeperName" {
            metrics.push(alarm["MetricName"].as_str().unwrap());
        }
        if is_about_silence {
            let minutes = alarm["Period"].as_u64().unwrap() * alarm["EvaluationPeriods"].as_u64().unwrap() / 60;
            assert_eq!((&alarm["ComparisonOperator"], &alarm["Threshold"], minutes), (&"LessThanThreshold".into(), &1.into(), 5));
        }
    }
    assert_eq!(metrics, ["Invocations", "Errors"]);
}
