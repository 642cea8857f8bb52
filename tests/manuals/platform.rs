//! The agent platform's "Operations": the stack commands, each twice, and the smoke tests as they are printed.

use serde_json::Value;

use crate::line::{Line, World, ours, verbatim};

const SUMMARISE: &str = r#"curl -sS -X POST http://localhost:8000/v1/agent \
  -H 'Content-Type: application/json' \
  -d '{
        "prompt": "Summarise the stack services in one sentence.",
        "metadata": {"source": "operations-smoke"}
      }' | jq '.response'"#;
const CONFIRM: &str = r#"curl -sS -X POST http://localhost:8000/v1/chat/completions \
  -H 'Content-Type: application/json' \
  -d '{
        "model": "ollama/llama3",
        "messages": [
          {"role": "system", "content": "You are a helpful agent."},
          {"role": "user", "content": "Confirm that requests flow through the agent."}
        ]
      }' | jq '.choices[0].message.metadata'"#;
const CONFIRM_LATER: &str = r#"curl -sS -X POST http://localhost:8000/v1/chat/completions \
  -H 'Content-Type: application/json' \
  -d '{
        "model": "ollama/llama3",
        "stream": false,
        "messages": [
          {"role": "system", "content": "You are a helpful agent."},
          {"role": "user", "content": "Confirm that requests flow through the agent."}
        ]
      }' | jq '.choices[0].message'"#;
const FETCH: &str = r#"curl -sS -X POST http://localhost:8000/v1/agent \
  -H 'Content-Type: application/json' \
  -d '{
        "prompt": "Use the web_fetch tool to gather two recent headlines about Qdrant.",
        "metadata": {
          "tools": ["web_fetch"],
          "tool_calls": [
            {"name": "web_fetch", "args": {"url": "https://qdrant.tech"}}
          ]
        }
      }' | jq '.response'"#;

fn is_a_text(said: &Value) -> bool {
    said.as_str().is_some_and(|text| !text.is_empty())
}

pub(crate) fn lines() -> Vec<Line> {
    let mut lines = smoke();
    lines.extend(stack());
    lines
}

fn smoke() -> Vec<Line> {
    vec![
        verbatim("curl -s http://localhost:8000/healthz | jq").json(|said| said["status"] == "ok"),
        verbatim(SUMMARISE).json(is_a_text),
        verbatim(CONFIRM).json(Value::is_object),
        verbatim(CONFIRM_LATER).json(|said| said["role"] == "assistant" && is_a_text(&said["content"])),
        verbatim(FETCH).json(is_a_text),
        ours("poetry run stack smoke", "reprise stack smoke").says("5 of 5 passed"),
        ours("poetry run stack smoke --full", "reprise smoke").says("5 of 5 passed"),
    ]
}

fn stack() -> Vec<Line> {
    vec![
        // It runs already: nothing is started anew.
        ours("poetry run stack up", "reprise stack status --format json > /tmp/reprise-before.$$ && reprise stack up --no-ask && reprise stack status --format json | diff /tmp/reprise-before.$$ - && rm /tmp/reprise-before.$$")
            .says("already running"),
        ours("python scripts/stack_tools.py up --check-litellm", "reprise stack up && reprise stack health model").says("answer"),
        ours("poetry run stack status", "reprise stack status").says("emulator"),
        ours("python scripts/stack_tools.py health", "reprise stack health").says("\nhealthy"),
        ours("poetry run stack health [service]", "reprise stack health queue && reprise stack health database").says("\nhealthy"),
        ours("poetry run stack logs agent", "reprise stack logs agent-api").says("\"level\""),
        ours("python scripts/stack_tools.py logs agent", "reprise stack logs agent-api emulator --tail 5").says("agent-api | "),
        ours("poetry run stack restart", "reprise stack restart && reprise stack smoke").says("5 of 5 passed"),
        ours("poetry run stack qdrant backup", "rm -f /tmp/reprise-manuals.tar.gz && reprise backup create --out /tmp/reprise-manuals.tar.gz && reprise backup verify /tmp/reprise-manuals.tar.gz"),
        // A stack that was emptied has all of it again.
        ours(
            "poetry run stack qdrant restore",
            "reprise stack down && reprise stack up --no-ask && reprise backup restore /tmp/reprise-manuals.tar.gz --yes && reprise run show {dead} && rm /tmp/reprise-manuals.tar.gz",
        )
        .says("{dead}"),
        ours("poetry run stack down", "reprise stack down && reprise stack down").says("nothing is running"),
        // Up, down, up: twice in a row.
        ours("Stack commands succeed twice consecutively (up -> down -> up)", "reprise stack up && reprise stack down && reprise stack up").says("answer"),
        ours("python scripts/stack_tools.py down --remove-volumes", "reprise stack down --remove-data < /dev/null; [ $? = 2 ] && reprise stack health && reprise stack down --remove-data --yes")
            .says("removed "),
        ours("poetry run stack health", "reprise stack health").refuses(2, "there is no stack").after(|_: &World| {}),
    ]
}
