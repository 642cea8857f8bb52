//! Reflexion's "Incident Response Runbook". Lines about containers, databases and files of one host have what stands in for them on
//! managed services.

use crate::line::{Line, World, ours, verbatim};

pub(crate) fn lines() -> Vec<Line> {
    let mut lines = looking();
    lines.extend(acting());
    lines
}

fn looking() -> Vec<Line> {
    vec![
        ours("python scripts/health_check.py --detailed --format json", "reprise health --detailed --format json")
            .after(World::beats)
            .json(|said| said["status"] == "healthy"),
        ours("python scripts/health_check.py --detailed", "reprise health --detailed").says("healthy"),
        // One function's share; disks and hosts are the provider's.
        ours("docker stats", "curl -sS http://localhost:8000/api/production/health | jq .metrics.cpuUsage")
            .json(|said| said["user"].as_u64() > Some(0) && said["system"].is_u64()),
        ours("df -h", "curl -sS http://localhost:8000/readyz | jq -r .checks.database.status").says("ok"),
        ours("free -h", "curl -sS http://localhost:8000/api/production/health | jq -r .checks.memory.status").says("pass"),
        ours("docker-compose logs reflexion --tail=100", "reprise stack logs agent-api --tail 100").says("\"level\""),
        ours("docker-compose logs reflexion --since 1h", "reprise stack logs agent-api queue-consumer --since 1h")
            .says("agent-api      | "),
        ours(
            r#"python -c "from reflexion.database import check_connection; print(check_connection())""#,
            "curl -fsS http://localhost:8000/ready | jq -r .database",
        )
        .says("connected"),
        // What was held in Redis is in the table and on the queue.
        ours("redis-cli ping", "curl -fsS http://localhost:8000/readyz | jq -r .checks.queue.status").says("ok"),
        // The test before this one let runs die: the log has said so.
        ours(
            "grep -i error /var/log/reflexion/*.log | tail -20",
            "reprise stack logs queue-consumer --tail 10000 | grep -i error | tail -20",
        )
        .says("provider"),
        ours("tail -f /var/log/reflexion/app.log", "timeout 3 reprise stack logs agent-api --tail 20 --follow; [ $? = 124 ]")
            .says("\"level\""),
        ours(
            r#"grep -E "(timeout|connection|failed)" /var/log/reflexion/*.log"#,
            r#"reprise stack logs queue-consumer --tail 10000 | grep -E "(timeout|connection|failed)""#,
        )
        .says("failed"),
        verbatim(r#"curl -w "@curl-format.txt" -s -o /dev/null http://localhost:8000/health"#).says("time_total:"),
        verbatim("git log --oneline -10").says(" "),
        // Whether a provider answers is known from the calls that were made; asking it costs nothing more.
        ours("curl -f https://api.openai.com/v1/models", "reprise provider list").says("openai"),
        verbatim("curl http://localhost:8000/health").says("healthy"),
        verbatim("curl http://localhost:8000/metrics").says("reprise_queue_messages"),
        ours("curl http://localhost:8000/metrics | grep reflexion_", "curl http://localhost:8000/metrics | grep reprise_")
            .says("reprise_agents"),
        ours(
            "watch -n 5 'curl -s http://localhost:8000/metrics | grep reflexion_requests_total'",
            "timeout 4 watch -n 5 'curl -s http://localhost:8000/metrics | grep reprise_requests_total'; [ $? = 124 ]",
        )
        .says("reprise_requests_total{function=\"agent-api\""),
    ]
}

fn acting() -> Vec<Line> {
    vec![
        ours(
            r#"echo "Incident acknowledged by $(whoami) at $(date)" >> incident.log"#,
            "reprise incident open 'runs fail' --severity P2 && reprise incident list",
        )
        .says("runs fail"),
        ours("docker-compose restart reflexion", "reprise stack restart agent-api").says("restarted agent-api"),
        ours("docker-compose up --scale reflexion=3", "reprise stack up --no-ask --parameter ConsumerConcurrency=3").checked(|said, world| {
            said.exits(0)?;
            match world.consumers() {
                Some(3) => Ok(()),
                other => Err(format!("there may be {other:?} consumers at once: {said}")),
            }
        }),
        ours(
            "export DISABLE_EXTERNAL_SERVICE=true ; docker-compose restart reflexion",
            "reprise provider disable openai --reason incident && reprise provider list",
        )
        .says("disabled"),
        ours(
            "export FALLBACK_LLM_PROVIDER=anthropic ; docker-compose restart reflexion",
            "reprise provider enable openai && reprise provider pin openai --reason incident && reprise provider list && reprise provider unpin",
        )
        .says("pinned"),
        // The release before, without a checkout and without a build. The one that is left does not start: only a real way back helps.
        ours(
            "git checkout previous-stable-tag ; docker-compose up --build -d",
            "! reprise incident list && YES=1 make -C ../.. rollback && reprise incident list && reprise smoke",
        )
        .after(World::deploys_badly)
        .checked(|said, _| {
            said.exits(0)?;
            said.has("-back-to-good-")?;
            said.has("5 of 5 passed")
        }),
    ]
}
