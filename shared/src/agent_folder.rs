//! Reads the files of `infra/agents`, for `build.rs` and for the command `reprise agents`.

use std::path::Path;
use std::{fs, io};

use crate::domain::agent_files::SourceFile;

/// Folders deep, at most: nobody means a link that leads back up.
const DEEPEST: usize = 4;
/// The folder of what editors read: not part of a bundle.
const SCHEMAS: &str = "schema";

/// Every file that could be meant as a definition: YAML files, and whatever is in folders below, which they may name. In order.
///
/// # Errors
/// Says which file or folder cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    walk(folder, "", &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    let of = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    for entry in fs::read_dir(folder).map_err(|error| of(folder, error))? {
        let path = entry.map_err(|error| of(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || (prefix.is_empty() && name == SCHEMAS) {
            continue;
        }
        if path.is_dir() {
            if prefix.matches('/').count() < DEEPEST {
                walk(&path, &format!("{prefix}{name}/"), files)?;
            }
        } else if !prefix.is_empty() || is_yaml(&path) {
            let text = fs::read_to_string(&path).map_err(|error| of(&path, error))?;
            files.push(SourceFile { name: format!("{prefix}{name}"), text });
        }
    }
    Ok(())
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_meant_as_a_definition_is_read_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("agent-folder-{}", std::process::id()));
        for file in ["b.yaml", "a.yml", "README.md", ".hidden.yaml", "prompts/x/y.md", "schema/agent.json", "optimized/a.json"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let files = read(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(files.iter().all(|file| file.name == file.text));
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "optimized/a.json", "prompts/x/y.md"]);
        assert!(read(&root).unwrap_err().to_string().contains("agent-folder-"));
    }
}
