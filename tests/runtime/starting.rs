//! Starting and ending.

use std::time::Duration;

use tests::processes::signal;
use tests::runtime_api::Mute;

use crate::function::{FUNCTIONS, Function};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_function_without_one_of_its_variables_ends_before_its_first_poll_and_names_it() {
    for (name, variables) in FUNCTIONS {
        for variable in variables {
            // The probes start without the rest, so that they can say what is missing.
            if name == "health" && !["LOG_LEVEL", "LOG_JSON"].contains(variable) {
                continue;
            }
            let mut function = Function::start(name, &[(variable, None)]);
            let status = function.wait_for_end(SOON);
            assert!(!status.success(), "{name} without {variable} ended well");
            assert!(function.printed().contains(variable), "{name} without {variable} printed {}", function.printed());
            assert!(function.api.heard_nothing_of("next"), "{name} without {variable} asked for work");
        }
    }
}

#[test]
fn a_wrong_value_is_named_and_a_secret_is_not_printed() {
    let wrong = [
        ("agent-api", "API_AUTH", "hunter2"),
        ("agent-api", "INLINE_SECONDS", "hunter2"),
        ("queue-consumer", "MODEL", "hunter2"),
        ("queue-consumer", "MODEL_BASE_URL", "hunter2"),
        ("queue-consumer", "LEASE_SECONDS", "12"),
        ("dlq-redrive", "LOG_LEVEL", "hunter2"),
        ("sweeper", "LOG_JSON", "hunter2"),
    ];
    for (name, variable, value) in wrong {
        let mut function = Function::start(name, &[(variable, Some(value))]);
        assert!(!function.wait_for_end(SOON).success(), "{name} took {variable}={value}");
        let printed = function.printed();
        assert!(printed.contains(variable) && !printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn a_function_asks_for_work_before_it_connects_to_anything_else() {
    for (name, _) in FUNCTIONS {
        let (aws, model) = (Mute::start(), Mute::start());
        let (endpoint, base_url) = (format!("http://{}", aws.address), format!("http://{}/v1/", model.address));
        let mut changes = vec![("AWS_ENDPOINT_URL", Some(endpoint.as_str()))];
        if !["dlq-redrive", "operator-api"].contains(&name) {
            changes.push(("MODEL_BASE_URL", Some(base_url.as_str())));
        }
        let function = Function::start(name, &changes);
        let _ = function.api.must_hear("next");
        assert_eq!((aws.connections(), model.connections()), (0, 0), "{name}");
    }
}

#[test]
fn a_function_ends_when_it_is_told_to() {
    for (name, _) in FUNCTIONS {
        let mut function = Function::start(name, &[]);
        let _ = function.api.must_hear("next");
        signal(function.id(), "TERM");
        function.wait_for_end(SOON);
    }
}
