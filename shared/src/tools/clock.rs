//! The tool `clock`: the time now, in any time zone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Tool, ToolContext, ToolTraits};
use crate::domain::clock::Clock;
use crate::engine::ports::ToolSpec;

/// Tells the time of its clock.
pub(super) struct ClockTool(pub(super) Arc<dyn Clock>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    timezone: Option<String>,
}

#[async_trait]
impl Tool for ClockTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "clock".into(),
            description: "The current date and time.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"timezone": {"type": "string", "description": "IANA name, e.g. Europe/Berlin; UTC if absent"}},
                "additionalProperties": false,
            }),
        }
    }

    fn traits(&self) -> ToolTraits {
        ToolTraits::harmless(Duration::from_secs(1))
    }

    async fn call(&self, arguments: &Value, _context: &ToolContext<'_>) -> Result<String, String> {
        let Arguments { timezone } = match arguments {
            Value::Null => Arguments { timezone: None },
            other => Arguments::deserialize(other).map_err(|e| format!("arguments: {e}"))?,
        };
        let name = timezone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| "timezone: no such time zone; use an IANA name such as Europe/Berlin".to_owned())?;
        Ok(json!({"time": self.0.now().to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), "timezone": name}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FixedClock;
    use crate::tools::testing::in_a_run;

    async fn ask(arguments: Value) -> Result<String, String> {
        ClockTool(Arc::new(FixedClock::at("2026-07-01T12:00:00Z"))).call(&arguments, &in_a_run()).await
    }

    #[tokio::test]
    async fn the_clock_knows_time_zones() {
        assert_eq!(
            ask(json!({"timezone": "Europe/Berlin"})).await.unwrap(),
            r#"{"time":"2026-07-01T14:00:00+02:00","timezone":"Europe/Berlin"}"#
        );
        assert_eq!(ask(Value::Null).await.unwrap(), r#"{"time":"2026-07-01T12:00:00+00:00","timezone":"UTC"}"#);
    }

    #[tokio::test]
    async fn a_wrong_argument_is_told_to_the_model() {
        assert!(ask(json!({"timezone": "Mars/Olympus"})).await.unwrap_err().contains("timezone"));
        assert!(ask(json!({"zone": "UTC"})).await.unwrap_err().contains("zone"));
    }
}
