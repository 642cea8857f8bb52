//! Probes that are answered with 5xx, as a metric. It is theirs to say 503, and no request of anybody fails with it; but the gateway counts them
//! together, so alarms take these off again (`infra/alarms-objectives.yaml`).
//!
//! A line in CloudWatch's embedded metric format, written by hand: liveness does not pay for what writes those of other functions.

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Tells of one, answered at that time.
pub(crate) fn tell(stack: &str, at: Timestamp) {
    // The whole line at once, so that no other stands in it. Nobody is to be told that nobody listens.
    let _ = std::io::stdout().write_all(format!("{}\n", line(stack, at)).as_bytes());
}

fn line(stack: &str, at: Timestamp) -> Value {
    let metric = json!({"Namespace": "Reprise", "Dimensions": [["Stack"]], "Metrics": [{"Name": "ProbesFailed", "Unit": "Count"}]});
    json!({"_aws": {"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [metric]}, "Stack": stack, "ProbesFailed": 1})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_one_that_cloudwatch_reads() {
        let line = line("my-stack", Timestamp::from_millisecond(1_700_000_000_123).unwrap());
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let name = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!((directive["Namespace"].as_str(), &line[name(&directive["Dimensions"][0][0])]), (Some("Reprise"), &json!("my-stack")));
        assert_eq!(line[name(&directive["Metrics"][0]["Name"])], 1);
    }
}
