//! Runbooks as programs: the `sh` blocks of a Markdown file and, between them, what a test does that a person need not read.
//!
//! The directives are HTML comments, which no reader of the page sees:
//!
//! | directive | what it does |
//! |---|---|
//! | `<!-- drill: inject NAME WORDS… -->` | lets something go wrong, see `tests/drills/runbooks/faults.rs` |
//! | `<!-- drill: heal NAME -->` | what other people mend: the provider, the network |
//! | `<!-- drill: expect [until] [exit N] [says "…"] -->` | what the next block must do; without it: exit with 0 and print something. `until`: the block is repeated until it does |
//! | `<!-- aws-only: reason -->` | before a block that is marked `sh aws-only`: it is not run, only its syntax is checked |

use std::path::{Path, PathBuf};

/// A runbook, top to bottom.
#[derive(Debug)]
pub struct Runbook {
    /// The file's name without `.md`.
    pub name: String,
    /// All of it.
    pub text: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something goes wrong: a fault's name and what it needs to know.
    Inject(Vec<String>),
    /// Somebody else has mended it.
    Heal(String),
    /// Commands that a person would paste.
    Block(Block),
}

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence.
    pub line: usize,
    /// The heading above it.
    pub section: String,
    /// What a shell runs.
    pub script: String,
    /// Why it cannot run without an account.
    pub aws_only: Option<String>,
    /// What must come of it.
    pub expect: Expect,
}

/// What a block must do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// Its exit code.
    pub exit: i32,
    /// What must be in its output.
    pub says: Vec<String>,
    /// It may take a while until it does.
    pub until: bool,
}

/// Where the runbooks are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/runbooks")
}

/// All runbooks, by name; the README of the folder, which prepares a shell, is not one of them.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap_or_else(|error| panic!("{}: {error}", folder().display()));
    let files = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".md").map(str::to_owned));
    let mut names: Vec<String> = files.filter(|name| name != "README").collect();
    names.sort();
    names
}

impl Runbook {
    /// The runbook of that name.
    ///
    /// # Panics
    /// When there is none, or it cannot be understood: with file and line.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.md"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let steps = steps(&text).unwrap_or_else(|(line, problem)| panic!("infra/runbooks/{name}.md:{line}: {problem}"));
        Self { name: name.to_owned(), text, steps }
    }

    /// Its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.steps.iter().filter_map(|step| match step {
            Step::Block(block) => Some(block),
            Step::Inject(_) | Step::Heal(_) => None,
        })
    }
}

/// What the lines of a runbook say to do; or the line that cannot be understood, and why.
///
/// # Errors
/// A fence that nothing ends, a block in a language that nobody runs, a directive that nobody knows.
pub fn steps(text: &str) -> Result<Vec<Step>, (usize, String)> {
    let (mut steps, mut expect, mut reason, mut section) = (Vec::new(), Expect::default(), None, String::new());
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let (number, indent) = (index + 1, line.len() - line.trim_start().len());
        let wrong = |problem: String| (number, problem);
        let line = line.trim();
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        } else if let Some(comment) = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) {
            match comment.trim().split_once(": ") {
                Some(("drill", words)) => directive(words, &mut steps, &mut expect).map_err(wrong)?,
                Some(("aws-only", why)) => reason = Some(why.to_owned()),
                _ => return Err(wrong("a comment that is no directive".to_owned())),
            }
        } else if let Some(language) = line.strip_prefix("```") {
            let mut script = String::new();
            let end = lines.find(|(_, line)| {
                line.trim() == "```" || {
                    push_line(&mut script, line, indent);
                    false
                }
            });
            end.ok_or_else(|| wrong("a block that nothing ends".to_owned()))?;
            let aws_only = reason.take();
            match (language, &aws_only) {
                ("sh", None) | ("sh aws-only", Some(_)) => {
                    let (section, expect) = (section.clone(), std::mem::take(&mut expect));
                    steps.push(Step::Block(Block { line: number, section, script, aws_only, expect }));
                }
                ("text" | "markdown" | "json", None) => {}
                _ => {
                    return Err(wrong(format!(
                        "a block of `{language}`: commands are `sh`, or `sh aws-only` below the reason; the rest is `text`"
                    )));
                }
            }
        }
    }
    if expect == Expect::default() { Ok(steps) } else { Err((text.lines().count(), "an expectation without a block".to_owned())) }
}

fn push_line(script: &mut String, line: &str, indent: usize) {
    // A block of a list is indented with it.
    script.push_str(line.get(indent..).unwrap_or(line.trim_start()));
    script.push('\n');
}

fn directive(text: &str, steps: &mut Vec<Step>, expect: &mut Expect) -> Result<(), String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "inject" if !rest.is_empty() => steps.push(Step::Inject(rest.split_whitespace().map(str::to_owned).collect())),
        "heal" if !rest.is_empty() => steps.push(Step::Heal(rest.to_owned())),
        "expect" => expected(rest, expect)?,
        _ => return Err(format!("nobody knows the directive `{text}`")),
    }
    Ok(())
}

fn expected(text: &str, expect: &mut Expect) -> Result<(), String> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = match word {
            "until" => {
                expect.until = true;
                after
            }
            "exit" => {
                let (code, after) = after.split_once(' ').unwrap_or((after, ""));
                expect.exit = code.parse().map_err(|_| format!("`{code}` is no exit code"))?;
                after
            }
            "says" => {
                let quoted = after.trim_start().strip_prefix('"').and_then(|text| text.split_once('"'));
                let (said, after) = quoted.ok_or("says needs a text in double quotes")?;
                expect.says.push(said.to_owned());
                after
            }
            _ => return Err(format!("nobody knows the expectation `{word}`")),
        }
        .trim_start();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_is_read_as_a_person_would_follow_it() {
        let text = "# T\n<!-- drill: inject provider down -->\n## look\n1. See:\n\n   <!-- drill: expect until exit 1 says \"a b\" says \"c\" -->\n   ```sh\n   one\n     two\n   ```\n<!-- drill: heal provider -->\n<!-- aws-only: a reason -->\n```sh aws-only\nthree\n```\n```text\nnot run\n```\n";
        let block = |line, script: &str, aws_only: Option<&str>, expect| {
            Step::Block(Block { line, section: "look".into(), script: script.into(), aws_only: aws_only.map(str::to_owned), expect })
        };
        assert_eq!(
            steps(text).unwrap(),
            [
                Step::Inject(vec!["provider".into(), "down".into()]),
                block(7, "one\n  two\n", None, Expect { exit: 1, says: vec!["a b".into(), "c".into()], until: true }),
                Step::Heal("provider".into()),
                block(13, "three\n", Some("a reason"), Expect::default()),
            ]
        );
    }

    #[test]
    fn what_nobody_would_run_is_a_mistake() {
        for (text, line) in [
            ("```bash\nx\n```\n", 1),
            ("\n```sh aws-only\nx\n```\n", 2),
            ("```sh\nx\n", 1),
            ("<!-- drill: explode -->\n", 1),
            ("<!-- drill: expect says nothing -->\n", 1),
            ("<!-- drill: expect exit 1 -->\n", 1),
            ("<!-- a note -->\n", 1),
        ] {
            assert_eq!(steps(text).map_err(|(line, _)| line), Err(line), "{text}");
        }
    }
}
