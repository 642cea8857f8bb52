//! What people read of an incident: a card, what is sent to others, the review.

use jiff::Timestamp;
use serde_json::Value;

use crate::screen::{fields, text};

/// The headings of a review that people fill in.
const TO_WRITE: [(&str, &str); 4] = [
    ("Root cause analysis", "_Why did it happen, and why was that possible? Ask five times._"),
    ("What went well", "_What would you do the same way again?_"),
    ("What could be improved", "_What cost time? What was missing?_"),
    ("Action items", "| what | who | until |\n|---|---|---|\n| | | |"),
];

/// How it stands.
pub(super) fn card(it: &Value) -> String {
    let (acknowledge, next) = (&it["acknowledge"], &it["next_update"]);
    let response = match text(&acknowledge["clock"]).as_str() {
        "running" => format!("to be taken until {}", text(&acknowledge["due"])),
        "overdue" => format!("OVERDUE since {}: nobody has taken it", text(&acknowledge["due"])),
        clock => format!("{clock}: taken at {} by {}", text(&acknowledge["at"]), text(&acknowledge["by"])),
    };
    let late = if next["is_overdue"] == true { " OVERDUE" } else { "" };
    fields(&[
        ("incident", text(&it["incident_id"])),
        ("title", text(&it["title"])),
        ("severity", text(&it["severity"])),
        ("status", text(&it["status"])),
        ("impact", text(&it["impact"])),
        ("root cause", text(&it["root_cause"])),
        ("mitigation", text(&it["mitigation"])),
        ("detected", text(&it["detected_at"])),
        ("response", response),
        ("next update", if next.is_null() { String::new() } else { format!("{}{late}", text(&next["due"])) }),
        ("monitor until", text(&it["monitor_until"])),
        ("resolved", text(&it["resolved_at"])),
        ("review until", text(&it["review_due"])),
    ])
}

/// What is sent to the others: the communication template, filled in.
pub(super) fn update(it: &Value, now: Timestamp) -> String {
    let or = |value: &Value, unknown: &str| Some(text(value)).filter(|text| !text.is_empty()).unwrap_or_else(|| unknown.to_owned());
    format!(
        "## Incident Update - {}\n**Status**: {}\n**Impact**: {}\n**Root Cause**: {}\n**Mitigation**: {}\n**Next Update**: {}",
        now.strftime("%Y-%m-%d %H:%M UTC"),
        text(&it["status"]),
        or(&it["impact"], "not known yet"),
        or(&it["root_cause"], "not known yet"),
        or(&it["mitigation"], "none yet"),
        or(&it["next_update"]["due"], "none: it is over"),
    )
}

/// What is to be done when it is over.
pub(super) fn after(it: &Value) -> String {
    format!("The review is due until {}: reprise incident review {} --out review.md", text(&it["review_due"]), text(&it["incident_id"]))
}

/// Who said what, when.
pub(super) fn timeline(it: &Value) -> String {
    let entries = it["timeline"].as_array().into_iter().flatten().map(|entry| {
        let said = text(&entry["text"]).replace('\n', "\n    ");
        let said = if said.is_empty() { String::new() } else { format!("\n    {said}") };
        format!(
            "{}  {:<12} {:<13} {} {}{said}",
            text(&entry["at"]),
            text(&entry["kind"]),
            text(&entry["status"]),
            text(&entry["severity"]),
            text(&entry["by"])
        )
    });
    entries.collect::<Vec<_>>().join("\n")
}

/// A Markdown document: what is known, and the headings under which people write the rest.
pub(super) fn review(it: &Value) -> String {
    let took = |name: &str| it["durations"][name].as_u64().map_or_else(|| "never".to_owned(), lasting);
    let mut document = format!(
        "# Review of {}: {}\n\nSeverity {}, {}. {}\n\n| from detection | took |\n|---|---|\n| to acknowledge ({}) | {} |\n| to mitigate | {} |\n| to resolve | {} |\n",
        text(&it["incident_id"]),
        line(&text(&it["title"])),
        text(&it["severity"]),
        text(&it["status"]),
        it["review_due"].as_str().map_or_else(|| "It is not over.".to_owned(), |due| format!("This review is due until {due}.")),
        text(&it["acknowledge"]["clock"]),
        took("acknowledge_seconds"),
        took("mitigate_seconds"),
        took("resolve_seconds"),
    );
    for (name, field) in [("Impact", "impact"), ("Root cause as it was known", "root_cause"), ("Mitigation", "mitigation")] {
        if let Some(known) = it[field].as_str() {
            document += &format!("\n{name}: {}\n", line(known));
        }
    }
    document += "\n## Timeline review\n\n| when | who | what | status |\n|---|---|---|---|\n";
    for entry in it["timeline"].as_array().into_iter().flatten() {
        let (kind, said) = (text(&entry["kind"]), line(&text(&entry["text"])));
        let what = if said.is_empty() { kind } else { format!("{kind}: {said}") };
        document += &format!(
            "| {} | {} | {what} | {} {} |\n",
            text(&entry["at"]),
            line(&text(&entry["by"])),
            text(&entry["status"]),
            text(&entry["severity"])
        );
    }
    for (heading, prompt) in TO_WRITE {
        document += &format!("\n## {heading}\n\n{prompt}\n");
    }
    document.trim_end().to_owned()
}

/// A text as one line of a table.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn lasting(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incident() -> Value {
        json!({
            "incident_id": "inc_1", "title": "models | time out", "severity": "P1", "status": "MONITORING", "impact": "late answers", "root_cause": null,
            "mitigation": "a new key", "detected_at": "2026-11-22T02:00:00.000Z",
            "acknowledge": {"due": "2026-11-22T03:00:00.000Z", "clock": "met", "at": "2026-11-22T02:10:00.000Z", "by": "ana"},
            "next_update": {"due": "2026-11-22T03:10:00.000Z", "is_overdue": true}, "monitor_until": "2026-11-22T03:10:00.000Z",
            "resolved_at": null, "review_due": null,
            "durations": {"acknowledge_seconds": 600, "mitigate_seconds": 4000, "resolve_seconds": null},
            "timeline": [
                {"no": 1, "at": "2026-11-22T02:10:00.000Z", "by": "ana", "kind": "opened", "status": "INVESTIGATING", "severity": "P1"},
                {"no": 2, "at": "2026-11-22T02:20:00.000Z", "by": "ana", "kind": "noted", "status": "INVESTIGATING", "severity": "P1", "text": "one key\nonly"}
            ]
        })
    }

    #[test]
    fn an_update_is_the_communication_template_filled_in() {
        let now = "2026-11-22T02:40:00Z".parse().unwrap();
        assert_eq!(
            update(&incident(), now),
            "## Incident Update - 2026-11-22 02:40 UTC\n**Status**: MONITORING\n**Impact**: late answers\n**Root Cause**: not known yet\n\
             **Mitigation**: a new key\n**Next Update**: 2026-11-22T03:10:00.000Z"
        );
    }

    #[test]
    fn a_clock_that_has_run_out_is_shouted() {
        let mut it = incident();
        assert!(card(&it).contains("next update   2026-11-22T03:10:00.000Z OVERDUE") && card(&it).contains("met: taken at"));
        it["acknowledge"]["clock"] = "overdue".into();
        assert!(card(&it).contains("OVERDUE since 2026-11-22T03:00:00.000Z: nobody has taken it"));
    }

    #[test]
    fn a_review_has_the_timeline_the_durations_and_the_five_headings() {
        let document = review(&incident());
        for part in [
            "# Review of inc_1: models \\| time out",
            "| to acknowledge (met) | 10 min |",
            "| to mitigate | 1 h 06 min |",
            "| to resolve | never |",
            "It is not over.",
            "| 2026-11-22T02:20:00.000Z | ana | noted: one key only | INVESTIGATING P1 |",
        ] {
            assert!(document.contains(part), "{part} is missing in\n{document}");
        }
        let headings: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, ["Timeline review", "Root cause analysis", "What went well", "What could be improved", "Action items"]);
    }
}
