//! What people see: tables, colours on a terminal only, ages, a bar for long work, and a question before much is changed.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::config::Env;
use crate::error::{Error, Result};
use crate::out::{brief, has_colours, printable};

/// Longest text of a cell, and the shortest that the last one is cut to.
const CELL: usize = 100;
const LEAST: usize = 24;
/// Between two columns.
const GAP: usize = 2;

/// What standard output and standard error are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Whether words may be coloured.
    colours: bool,
    /// Whether a person sees standard error, where bars and questions go.
    person: bool,
}

impl Screen {
    /// Colours go to a terminal, unless NO_COLOR or a terminal that has none says otherwise.
    pub(crate) fn of(env: &Env) -> Self {
        let plain = env.get("NO_COLOR").is_some() || env.get("TERM") == Some("dumb");
        Self { colours: std::io::stdout().is_terminal() && !plain, person: std::io::stderr().is_terminal() }
    }

    /// Rows below their names, one line each: ids are to be copied, not broken. The last column is the one of long texts; on a terminal
    /// it is cut to what the others leave.
    pub(crate) fn table(self, names: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let rows: Vec<Vec<String>> = rows.into_iter().collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.colours {
            has_colours();
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let room = usize::from(table.width().unwrap_or(u16::MAX));
        let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).chain([names[column].len()]).max();
        let others: usize = (0..names.len().saturating_sub(1)).filter_map(width).map(|width| width.min(CELL) + GAP).sum();
        let last = room.saturating_sub(others + GAP).clamp(LEAST, CELL);
        table.set_header(names.iter().map(|name| Cell::new(name.to_uppercase()).add_attribute(Attribute::Bold)));
        for row in &rows {
            let columns = row.len();
            table.add_row(row.iter().enumerate().map(|(column, text)| {
                let cell = Cell::new(brief(text, if column + 1 == columns { last } else { CELL }));
                match tone(text) {
                    Some(colour) => cell.fg(colour),
                    None => cell,
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// One line that is written over while something goes on. Nothing where nobody looks.
    #[expect(clippy::print_stderr, reason = "a bar belongs beside the data, not into it")]
    pub(crate) fn progress(self, text: &str) {
        if self.person {
            eprint!("\r\u{1b}[2K{}", printable(text));
            let _gone = std::io::stderr().flush();
        }
    }

    /// Takes the line of [`Self::progress`] away.
    pub(crate) fn end_progress(self) {
        self.progress("");
    }

    /// Words beside the data.
    #[expect(clippy::print_stderr, reason = "a remark belongs beside the data, not into it")]
    pub(crate) fn remark(self, text: &str) {
        self.end_progress();
        eprintln!("{}", printable(text));
    }

    /// Asks a person; where there is none, the answer is no and says which flag means yes.
    #[expect(clippy::print_stderr, reason = "a question belongs beside the data, not into it")]
    pub(crate) fn confirm(self, question: &str) -> Result<()> {
        let refused =
            |why: &str| Error::unreachable(format!("{why}: {question}")).with_hint("`--yes` says it in advance; `--dry-run` only tells");
        if !self.person || !std::io::stdin().is_terminal() {
            return Err(refused("nobody is there to be asked"));
        }
        eprint!("{} [y/N] ", printable(question));
        let mut answer = String::new();
        let _end = std::io::stdin().read_line(&mut answer);
        if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused("not done")) }
    }
}

/// The colour of a word that says how something is.
fn tone(text: &str) -> Option<Color> {
    match text {
        "completed" | "done" | "healthy" | "pass" | "ready" | "yes" => Some(Color::Green),
        "dead" | "failed" | "unhealthy" | "fail" | "stopped" => Some(Color::Red),
        "waiting" | "cancelled" | "cancelling" | "skipped" | "degraded" | "warn" | "waiting_for_canary" => Some(Color::Yellow),
        "running" | "queued" => Some(Color::Cyan),
        _ => None,
    }
}

/// `####----  50/100`
pub(crate) fn bar(done: u64, all: u64) -> String {
    const WIDTH: u64 = 24;
    let full = (done.min(all) * WIDTH).checked_div(all).unwrap_or(0);
    let part = |sign: char, count: u64| std::iter::repeat_n(sign, usize::try_from(count).unwrap_or_default()).collect::<String>();
    format!("{}{}  {done}/{all}", part('█', full), part('░', WIDTH - full))
}

/// How long ago, in the largest unit that fits.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 run`, `2 runs`.
pub(crate) fn runs(count: u64) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// A text field, or nothing.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// The fields that there are, one to a line; a text of several lines stays below its beginning.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(13);
    let line = |(name, value): &(&str, String)| {
        let value = printable(value).trim_end().replace('\n', &format!("\n{}", " ".repeat(width + 1)));
        format!("{name:<width$} {value}")
    };
    pairs.iter().filter(|(_, value)| !value.is_empty()).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Screen = Screen { colours: false, person: false };

    #[test]
    fn a_table_without_a_terminal_has_no_colours_and_what_came_from_elsewhere_is_harmless() {
        let rows = [vec!["run_1".into(), "dead".into(), "a\u{1b}[2Jb\nc".into()], vec!["run_22".into(), "queued".into(), "x".repeat(200)]];
        let shown = NOBODY.table(&["run", "status", "message"], rows);
        assert!(shown.starts_with("RUN     STATUS  MESSAGE\nrun_1   dead    a[2Jb c\nrun_22  queued  xxx"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.ends_with('…'), "{shown}");
    }

    #[test]
    fn every_colour_of_a_table_gets_to_the_terminal() {
        let words = ["healthy", "dead", "waiting", "running"];
        let shown = Screen { colours: true, person: true }.table(&["status"], words.map(|word| vec![word.into()]));
        assert_eq!(crate::out::coloured(&shown), shown);
        let beginnings: std::collections::BTreeSet<_> = shown.lines().filter_map(|line| line.split_once('m')).map(|(it, _)| it).collect();
        assert_eq!(beginnings.len(), 5, "the head is bold, and each word has a colour of its own: {shown:?}");
    }

    #[test]
    fn where_nobody_can_be_asked_the_answer_is_no() {
        let said = NOBODY.confirm("put back 312 runs?").unwrap_err().render();
        assert!(said.contains("put back 312 runs?") && said.contains("--yes"), "{said}");
    }

    #[test]
    fn a_bar_is_full_when_all_is_done_and_empty_when_nothing_is_to_do() {
        assert!(bar(5, 10).starts_with("████████████░░░░░░░░░░░░  5/10"));
        assert!(bar(0, 0).starts_with('░') && !bar(9, 9).contains('░'));
    }

    #[test]
    fn ages_are_told_in_the_largest_unit_that_fits() {
        assert_eq!([59, 60, 3600, 100_000, 172_800].map(ago), ["59s", "1m", "1h", "27h", "2d"]);
    }
}
