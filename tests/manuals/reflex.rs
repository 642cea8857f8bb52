//! Reflex's "Operations": health, the dead-letter queue, replay.

use serde_json::json;

use crate::line::{Line, World, ours, verbatim};

pub(crate) fn lines() -> Vec<Line> {
    vec![
        verbatim("curl http://localhost:8000/health").json(|said| *said == json!({"status": "healthy"})),
        verbatim("curl http://localhost:8000/health/detailed").json(|said| {
            let names = ["database", "event_queue", "dlq"];
            said["status"] == "healthy"
                && (0..3).all(|i| said["indicators"][i]["name"] == names[i] && said["indicators"][i]["status"] == "healthy")
        }),
        ours("python scripts/dlq.py list", "reprise dlq list").after(World::dies).says("{dead}"),
        ours("python scripts/dlq.py list --limit 1 --json", "reprise dlq list --limit 1 --format json")
            .json(|said| said["count"].as_u64() > Some(0) && said["entries"].as_array().is_some_and(|entries| entries.len() == 1)),
        // Its step failed, nothing else: it goes on there.
        ours("python scripts/dlq.py retry <event-id>", "reprise dlq retry {dead} --reason 'the provider is back'")
            .after(World::heals)
            .checked(|said, world| {
                said.exits(0)?;
                world.waits(&world.dead().0, "completed");
                Ok(())
            }),
        ours("python scripts/dlq.py retry <event-id that is not there>", "reprise dlq retry run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H")
            .refuses(1, "not_found"),
        ours("python scripts/dlq.py retry-all", "reprise dlq retry-all --yes --reason 'the provider is back'")
            .after(|world| {
                world.dies();
                world.heals();
            })
            .checked(|said, world| {
                said.exits(0)?;
                world.waits(&world.dead().0, "completed");
                Ok(())
            }),
        // Theirs only prints; ours says first what it would do, and asks what to look at.
        ours("python scripts/replay.py", "reprise replay").refuses(2, "--last"),
        ours("python scripts/replay.py --last 1h", "reprise replay --last 1h --dry-run").says("would start"),
        ours("python scripts/replay.py --last 1h --json", "reprise replay --last 1h --dry-run --format json")
            .json(|said| said["dry_run"] == true && said["would_start"].as_u64() > Some(0)),
        ours(
            "python scripts/replay.py --start 2026-01-01T00:00:00 --end 2026-01-02T00:00:00 --type http.request",
            "reprise replay --start 2026-01-01T00:00:00Z --end 2026-01-02T00:00:00Z --type http.request --dry-run --format json",
        )
        .json(|said| said["would_start"] == 0),
    ]
}
