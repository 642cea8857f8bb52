//! Delivery: how the queues, their consumers and their alarms must fit together so that no message is lost unseen.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::template_document::{Template, each, referenced};

const FOURTEEN_DAYS: u64 = 14 * 24 * 60 * 60;

fn queues(template: &Template) -> BTreeMap<&str, &Value> {
    template.of_type("AWS::SQS::Queue").into_iter().collect()
}

/// The queues that others send their dead letters to.
fn dead_letter_queues<'a>(queues: &BTreeMap<&str, &'a Value>) -> Vec<&'a str> {
    queues.values().filter_map(|queue| referenced(&queue["RedrivePolicy"]["deadLetterTargetArn"])).collect()
}

#[test]
fn each_mapping_of_a_queue_reports_partial_failures_and_has_a_limit() {
    let events = Template::read("template.yaml");
    let mappings = events.events("SQS");
    assert!(!mappings.is_empty(), "nothing consumes the tasks queue");
    for (function, name, mapping) in mappings {
        assert!(each(&mapping["FunctionResponseTypes"]).contains(&&Value::from("ReportBatchItemFailures")), "{function} {name}");
        assert_eq!(mapping["ScalingConfig"]["MaximumConcurrency"]["Ref"], "ConsumerConcurrency", "{function} {name}");
    }
    assert!(events.of_type("AWS::Lambda::EventSourceMapping").is_empty(), "a mapping outside Events escapes these tests");
}

/// Lambda takes a function that is woken by its own messages for one that runs away, and stops it after about 16 rounds.
#[test]
fn a_function_that_sends_to_the_queue_that_wakes_it_says_so() {
    let template = Template::read("template.yaml");
    let (functions, roles) = (template.functions(), template.of_type("AWS::IAM::Role").into_iter().collect::<BTreeMap<_, _>>());
    let mut loops = Vec::new();
    for (function, _, mapping) in template.events("SQS") {
        let (role, queue) = (roles[referenced(&functions[&function]["Role"]).unwrap()], referenced(&mapping["Queue"]));
        let sends = |statement: &&Value| {
            each(&statement["Action"]).contains(&&Value::from("sqs:SendMessage"))
                && each(&statement["Resource"]).into_iter().any(|resource| referenced(resource) == queue)
        };
        if each(&role["Policies"]).iter().any(|policy| each(&policy["PolicyDocument"]["Statement"]).iter().any(sends)) {
            assert_eq!(functions[&function]["RecursiveLoop"], "Allow", "{function}");
            loops.push(function);
        }
    }
    assert_eq!(loops, ["dlq-redrive", "queue-consumer"], "the rule looks at what it should");
}

#[test]
fn a_message_stays_invisible_for_six_times_the_consumers_timeout() {
    let template = Template::read("template.yaml");
    let (queues, functions) = (queues(&template), template.functions());
    for (function, name, mapping) in template.events("SQS") {
        let queue = referenced(&mapping["Queue"]).unwrap();
        let visibility = queues[queue]["VisibilityTimeout"].as_u64().unwrap();
        let timeout = functions[&function]["Timeout"].as_u64().unwrap();
        assert!(visibility >= 6 * timeout, "{name}: {queue} hides a message for {visibility} s, {function} may take {timeout} s");
    }
}

#[test]
fn each_queue_that_is_consumed_has_a_dead_letter_queue_that_keeps_for_fourteen_days() {
    let template = Template::read("template.yaml");
    let queues = queues(&template);
    let dead_letters = dead_letter_queues(&queues);
    for (name, queue) in &queues {
        let target = referenced(&queue["RedrivePolicy"]["deadLetterTargetArn"]);
        assert!(target.is_some() || dead_letters.contains(name), "{name} has no dead-letter queue and is none");
    }
    for name in dead_letters {
        assert_eq!(queues[name]["MessageRetentionPeriod"], FOURTEEN_DAYS, "{name}");
        let allowed = &queues[name]["RedriveAllowPolicy"];
        assert_eq!(allowed["redrivePermission"], "byQueue", "{name} takes dead letters of any queue of the account");
    }
}

#[test]
fn the_dead_letter_queue_takes_the_letters_of_the_queue_that_sends_them() {
    let template = Template::read("template.yaml");
    let queues = queues(&template);
    for (name, queue) in &queues {
        let Some(target) = referenced(&queue["RedrivePolicy"]["deadLetterTargetArn"]) else { continue };
        let queue_name = queue["QueueName"]["Fn::Sub"].as_str().unwrap();
        let sources = each(&queues[target]["RedriveAllowPolicy"]["sourceQueueArns"]);
        let suffix = format!(":{queue_name}");
        assert!(
            sources.iter().any(|arn| arn["Fn::Sub"].as_str().is_some_and(|arn| arn.ends_with(&suffix))),
            "{target} does not accept letters of {name}"
        );
    }
}

#[test]
fn the_queue_and_the_workers_count_to_the_same_number_of_attempts() {
    let template = Template::read("template.yaml");
    for (name, queue) in queues(&template) {
        if !queue["RedrivePolicy"].is_null() {
            assert_eq!(queue["RedrivePolicy"]["maxReceiveCount"]["Ref"], "MaxAttempts", "{name}");
        }
    }
    for (folder, function) in template.functions() {
        let attempts = &function["Environment"]["Variables"]["MAX_ATTEMPTS"];
        assert!(attempts.is_null() || attempts["Ref"] == "MaxAttempts", "{folder}");
    }
}

#[test]
fn each_queue_is_encrypted() {
    for (name, queue) in queues(&Template::read("template.yaml")) {
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{name}");
    }
}

#[test]
fn each_queue_has_an_alarm_on_its_depth() {
    let (template, alarms) = (Template::read("template.yaml"), Template::read("infra/alarms.yaml"));
    let handed_over = &template.0["Resources"]["Alarms"]["Properties"]["Parameters"];
    for name in queues(&template).keys() {
        let watched = alarms.of_type("AWS::CloudWatch::Alarm").into_iter().any(|(_, alarm)| {
            let parameter = alarm["Dimensions"][0]["Value"]["Ref"].as_str().unwrap_or_default();
            alarm["MetricName"] == "ApproximateNumberOfMessagesVisible" && referenced(&handed_over[parameter]) == Some(*name)
        });
        assert!(watched, "nobody notices how deep {name} is");
    }
    let is_about_age = |(_, alarm): &(&str, &Value)| {
        alarm["MetricName"] == "ApproximateAgeOfOldestMessage" && alarm["Dimensions"][0]["Value"]["Ref"] == "TasksQueueName"
    };
    assert!(alarms.of_type("AWS::CloudWatch::Alarm").iter().any(is_about_age), "nobody notices that tasks are late");
}
