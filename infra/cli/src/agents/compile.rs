//! `reprise agents compile`: the folder that is packed with the functions, the sealed bundle and the files that it was made from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_files::domain::bundle_file::FILE;

use super::{Folder, short};
use crate::args::Compile;
use crate::error::{Error, FAILED, Result};
use crate::out::say;
use crate::stack::repository;

/// Where `make build` and the local stack look for it, from the root of the repository.
pub(crate) const OUT: &str = "target/agents";

pub(crate) fn execute(folder: &Folder, compile: &Compile) -> Result<ExitCode> {
    let out = compile.out.clone().map_or_else(|| Ok::<_, Error>(repository()?.join(OUT)), Ok)?;
    if compile.check {
        let (version, files) = compiled(folder)?;
        let different = differences(&out, &files);
        for (file, problem) in &different {
            say!("{}: {problem}", out.join(file).display());
        }
        if different.is_empty() {
            say!("{} is what the files say; version {}", out.display(), short(&version));
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(ExitCode::from(FAILED));
    }
    let version = into_folder(folder, &out)?;
    say!("compiled into {}; version {}", out.display(), short(&version));
    Ok(ExitCode::SUCCESS)
}

/// Compiles into a folder that holds nothing else then; gives the version. What is there as it should be is not touched.
pub(crate) fn into_folder(folder: &Folder, out: &Path) -> Result<String> {
    let (version, files) = compiled(folder)?;
    let unwritable = |path: &Path, error: std::io::Error| Error::new(format!("cannot write {}", path.display())).because(error);
    for (file, problem) in differences(out, &files) {
        let path = out.join(&file);
        if problem == ADDED {
            if !out.join(FILE).is_file() {
                return Err(Error::new(format!("{} holds other things, e.g. {file}", out.display()))
                    .with_hint("choose an empty folder, or one that this command has written"));
            }
            fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
        }
    }
    for (name, text) in &files {
        let path = out.join(name);
        if fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(out)).map_err(|error| unwritable(&path, error))?;
        fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
    }
    Ok(version)
}

/// The version and every file that is to be there.
fn compiled(folder: &Folder) -> Result<(String, BTreeMap<String, String>)> {
    let (files, sealed) = folder.compile()?;
    let mut all: BTreeMap<String, String> = files.into_iter().map(|file| (file.name, file.text)).collect();
    let json = serde_json::to_string_pretty(&sealed).map_err(|error| Error::new("the bundle cannot be written").because(error))?;
    all.insert(FILE.to_owned(), json + "\n");
    Ok((sealed.sha256, all))
}

const ADDED: &str = "does not belong there";

/// The files of `out` that are not as they should be.
fn differences(out: &Path, files: &BTreeMap<String, String>) -> Vec<(String, &'static str)> {
    let mut different = Vec::new();
    for (name, text) in files {
        match fs::read(out.join(name)) {
            Err(_) => different.push((name.clone(), "is missing")),
            Ok(bytes) if bytes != text.as_bytes() => different.push((name.clone(), "is not what the files say")),
            Ok(_) => {}
        }
    }
    let mut found = Vec::new();
    list(out, &PathBuf::new(), &mut found);
    found.sort();
    different.extend(found.into_iter().filter(|name| !files.contains_key(name)).map(|name| (name, ADDED)));
    different
}

fn list(root: &Path, below: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let name = below.join(entry.file_name());
        if root.join(&name).is_dir() {
            list(root, &name, names);
        } else {
            names.push(name.to_string_lossy().into_owned());
        }
    }
}
