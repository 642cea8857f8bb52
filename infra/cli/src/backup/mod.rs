//! `reprise backup`: the table as one checksummed archive, and back (ADR 0026).
//!
//! Read next: `items.rs` for what is in it, `create.rs` and `restore.rs` for the two ways.

mod create;
mod items;
mod restore;
mod table;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::archive;
use crate::args::{Backup, BackupCommand, ListBackups};
use crate::config::Env;
use crate::error::{Error, Result};
use crate::http::Http;
use crate::out::{show, show_rows};
use crate::screen::{Screen, fields, text};
use table::Deployed;

/// Above the gateway's 29 s, so that its own answer is seen.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// What the archives are.
const FORMAT: &str = "reprise-backup";
const VERSION: u64 = 1;

pub(crate) fn execute(backup: &Backup, env: &Env) -> Result<ExitCode> {
    let screen = Screen::of(env);
    match &backup.command {
        BackupCommand::Create(create) => {
            let table = Deployed { http: Http::to(&backup.target, env, CALL_LIMIT)? };
            let out = create.out.clone().unwrap_or_else(named_after_now);
            create::execute(&table, &out, create.segments, screen)?;
            // What counts as a backup is what can be read back.
            let manifest = verify::execute(&out)?.manifest;
            if let Err(error) = table.note(&manifest) {
                screen.remark(&format!("the archive is whole, but the deployment was not told of it:\n{}", error.render().trim_end()));
            }
            show(backup.format, &told(&out, &manifest), render);
        }
        BackupCommand::List(folder) => {
            let found = list(folder)?;
            show_rows(backup.format, &found, "backups", |found| {
                let rows = found["backups"].as_array().into_iter().flatten();
                let columns = ["file", "created_at", "items", "table", "problem"];
                screen.table(&columns, rows.map(|row| columns.map(|column| text(&row[column])).to_vec()))
            });
        }
        BackupCommand::Verify(named) => {
            let checked = verify::execute(&named.file)?;
            show(backup.format, &told(&named.file, &checked.manifest), render);
        }
        BackupCommand::Restore(wanted) => {
            let table = Deployed { http: Http::to(&backup.target, env, CALL_LIMIT)? };
            let done = restore::execute(&table, wanted, screen)?;
            show(backup.format, &done, render_restored);
            return Ok(ExitCode::from(u8::from(done["kept"] != 0 && !wanted.into_non_empty)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn named_after_now() -> PathBuf {
    crate::clock::now().strftime("reprise-%Y%m%dT%H%M%SZ.tar.gz").to_string().into()
}

/// The archives of a folder by their manifests, each read to its end.
fn list(folder: &ListBackups) -> Result<Value> {
    let failed = |error: std::io::Error| {
        let problem = Error::unreachable(format!("cannot list {}", folder.dir.display())).because(error);
        problem.with_hint("name the folder that the archives are in: --dir FOLDER")
    };
    let entries = std::fs::read_dir(&folder.dir).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".tar.gz"));
    files.sort();
    let mut found = Vec::new();
    for file in files {
        match archive::read(&file, |_, _| Ok(())) {
            Ok(manifest) if manifest["format"] == FORMAT => found.push(told(&file, &manifest)),
            // Archives of something else, which are nobody's backups.
            Ok(_) => {}
            Err(_) => found.push(json!({"file": file, "problem": "damaged, or no archive of reprise"})),
        }
    }
    Ok(json!({ "backups": found }))
}

/// What a person wants to know of an archive.
fn told(file: &Path, manifest: &Value) -> Value {
    let mut told = json!({ "file": file });
    for field in ["created_at", "began_at", "table", "items", "kinds", "unfinished", "left_out", "bytes", "sha256"] {
        told[field] = manifest[field].clone();
    }
    told["parts"] = manifest["parts"].as_array().map_or(0, Vec::len).into();
    told
}

fn render(told: &Value) -> String {
    let kinds = |kinds: &Value| {
        let kinds = kinds.as_object().into_iter().flatten().map(|(kind, count)| format!("{kind} {count}"));
        kinds.collect::<Vec<_>>().join(", ")
    };
    fields(&[
        ("file", text(&told["file"])),
        ("table", text(&told["table"])),
        ("read", format!("{} to {}", text(&told["began_at"]), text(&told["created_at"]))),
        ("items", format!("{} ({})", told["items"], kinds(&told["kinds"]))),
        ("left out", kinds(&told["left_out"])),
        ("not ended", kinds(&told["unfinished"])),
        ("parts", format!("{} ({} bytes)", told["parts"], told["bytes"])),
        ("sha256", text(&told["sha256"])),
    ])
}

fn render_restored(done: &Value) -> String {
    let kept: Vec<String> =
        done["kept_keys"].as_array().into_iter().flatten().map(|key| format!("{} {}", text(&key["pk"]), text(&key["sk"]))).collect();
    fields(&[
        ("written", text(&done["written"])),
        ("unchanged", text(&done["unchanged"])),
        ("kept", format!("{} (something else was there, and stays)", done["kept"])),
        ("", kept.join("\n")),
        ("expired", text(&done["expired"])),
        ("runs mended", text(&done["mended"])),
        ("held", text(&done["held"])),
        ("resumed", text(&done["resumed"])),
    ])
}
