//! `reprise conversation`: what was said; export and delete.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::args::{Conversation, ConversationCommand};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::export::Lines;
use crate::http::{Http, Method, segment};
use crate::out::{self, printable, show_rows};
use crate::pages;
use crate::screen::{Screen, fields, text};

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// A conversation is deleted in slices; each answer says whether all of it is gone.
const SLICES: usize = 200;

pub(crate) fn execute(conversation: &Conversation, env: &Env) -> Result<ExitCode> {
    let http = Http::to(&conversation.target, env, CALL_LIMIT)?;
    let path = |id: &str| format!("/v1/conversations/{}", segment(id));
    match &conversation.command {
        ConversationCommand::Show { id, limit } => {
            let found = pages::fetch(&http, &path(id), &Map::new(), "turns", *limit)?;
            show_rows(conversation.format, &found, "turns", render);
        }
        ConversationCommand::Export { id, out } => {
            let mut lines = Lines::to(out.as_deref())?;
            pages::each(&http, &path(id), &Map::new(), "turns", usize::MAX, |_, turns| lines.write(&turns))?;
            lines.finish()?;
        }
        ConversationCommand::Delete { id, yes } => {
            if !yes {
                Screen::of(env).confirm(&format!("delete {id} with all its runs?"))?;
            }
            out::show(conversation.format, &delete(&http, &path(id))?, |_| format!("{id} is deleted"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn delete(http: &Http, path: &str) -> Result<Value> {
    for _ in 0..SLICES {
        let answer = http.order(Method::DELETE, path, &Value::Null)?;
        if answer["deleted"] == true {
            return Ok(answer);
        }
    }
    Err(Error::new("it is large, and not all of it is gone yet").with_hint("the same command goes on with it"))
}

fn render(conversation: &Value) -> String {
    let line: Vec<_> = conversation["line"].as_array().into_iter().flatten().map(text).collect();
    let head = fields(&[
        ("conversation", text(&conversation["conversation_id"])),
        ("running", text(&conversation["active_run"])),
        ("waiting", line.join(", ")),
        ("created", text(&conversation["created_at"])),
        ("updated", text(&conversation["updated_at"])),
        ("cost", conversation["spend"]["cost_usd"].as_f64().map(|dollars| format!("{dollars} US$")).unwrap_or_default()),
    ]);
    let turns = conversation["turns"].as_array().into_iter().flatten().map(turn);
    let more = if conversation["next_cursor"].is_null() { "" } else { "\n\nmore with a higher --limit" };
    format!("{}{more}", std::iter::once(head).chain(turns).collect::<Vec<_>>().join("\n\n"))
}

fn turn(turn: &Value) -> String {
    let indented = |who: &str, said: &str| format!("{who:<9} {}", printable(said).trim().replace('\n', "\n          "));
    let asked =
        turn["messages"].as_array().into_iter().flatten().map(|message| indented(&text(&message["role"]), &text(&message["content"])));
    let answered = match turn["response"].as_str() {
        Some(said) => indented("answer", said),
        None => indented("", &format!("({})", turn["status"].as_str().unwrap_or("going on"))),
    };
    let head = format!("{}  {}", text(&turn["created_at"]), text(&turn["run_id"]));
    std::iter::once(head).chain(asked).chain([answered]).collect::<Vec<_>>().join("\n")
}
