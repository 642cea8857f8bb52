//! AgenticFleet's "Operations Runbook".

use crate::line::{Line, ours};

pub(crate) fn lines() -> Vec<Line> {
    vec![
        ours(
            "agentic-fleet optimize",
            "reprise agents optimize assistant --data ../fixtures/optimize/services.jsonl --metric contains --draws 1 --dry-run",
        )
        .says("score"),
        // The default of `RequireCompiled`: no function starts without its compiled definitions.
        ours(
            "dspy.require_compiled: true",
            "reprise agents validate && curl -fsS http://localhost:8000/readyz | jq -r .checks.agents.status",
        )
        .says("ok"),
        // Text whatever the functions write; what they write themselves when they are deployed with it: tests/runtime/logging.rs.
        ours("LOG_JSON=0", "LOG_JSON=0 reprise stack logs agent-api --tail 30").checked(|said, _| {
            said.exits(0)?;
            said.has(" INFO ").or_else(|_| said.has(" WARN "))
        }),
        ours(".var/logs/execution_history.jsonl", "reprise history export --since 1h --jsonl | head -n 1 | jq -e .run_id").says("run_"),
    ]
}
