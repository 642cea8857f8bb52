//! Standard output that does not panic when the reader has gone (`reprise stack logs | head`).

use std::fmt::Arguments;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::CommandFactory as _;
use serde_json::Value;

use crate::args::Format;
use crate::error::{Error, Result};

/// Writes one line; a closed pipe is not an error of ours. The one place where texts of others get to a terminal, whoever forgot
/// [`printable`].
pub(crate) fn line(text: Arguments<'_>) {
    let safe = if HAS_COLOURS.load(Ordering::Relaxed) { coloured } else { printable };
    let mut stdout = std::io::stdout().lock();
    if writeln!(stdout, "{}", safe(&text.to_string())).and_then(|()| stdout.flush()).is_err() {
        READER_GONE.store(true, Ordering::Relaxed);
    }
}

/// Set once, by the one place that prints.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Set by the tables that have colours: where there is none, no text of anybody else has them either.
static HAS_COLOURS: AtomicBool = AtomicBool::new(false);

/// From now on [`line()`] lets the [`COLOURS`] pass.
pub(crate) fn has_colours() {
    HAS_COLOURS.store(true, Ordering::Relaxed);
}

/// Whether nobody reads standard output any more: what prints for as long as there is something to print ends then.
pub(crate) fn reader_is_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// Prints one line to standard output.
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::line(format_args!($($arg)*)) };
}
pub(crate) use say;

/// Prints what a shell needs to complete commands.
pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Args::command(), "reprise", &mut script);
    let _closed = std::io::stdout().write_all(&script);
    ExitCode::SUCCESS
}

/// Standard input, whole.
pub(crate) fn read_stdin() -> Result<String> {
    std::io::read_to_string(std::io::stdin()).map_err(|error| Error::unreachable("standard input cannot be read").because(error))
}

/// Text that came from elsewhere, made safe for a terminal: what would move the cursor, change the title, paste, or turn the order of
/// the letters is dropped, but newline and tab.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|&c| matches!(c, '\n' | '\t') || !is_unsafe(c)).collect()
}

/// What a table begins and ends bold and coloured words with. Nothing else behind ESC is ours.
const COLOURS: [&str; 7] = ["[1m", "[0m", "[38;5;9m", "[38;5;10m", "[38;5;11m", "[38;5;14m", "[39m"];

/// [`printable`], but for our own colours.
pub(crate) fn coloured(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = printable(parts.next().unwrap_or_default());
    parts.fold(first, |shown, part| match COLOURS.iter().find_map(|colour| Some((colour, part.strip_prefix(colour)?))) {
        Some((colour, rest)) => format!("{shown}\u{1b}{colour}{}", printable(rest)),
        None => shown + &printable(part),
    })
}

/// Prints JSON: in one line as JSON lines, laid out otherwise.
pub(crate) fn print_json(format: Format, value: &Value) {
    match format {
        Format::Jsonl => say!("{}", printable_json(&value.to_string())),
        Format::Table | Format::Json => say!("{}", printable_json(&format!("{value:#}"))),
    }
}

/// Prints one thing: as it is for programs, as `table` words it for people.
pub(crate) fn show(format: Format, value: &Value, table: impl FnOnce(&Value) -> String) {
    match format {
        Format::Table => say!("{}", table(value)),
        Format::Json | Format::Jsonl => print_json(format, value),
    }
}

/// Prints a list: `whole` is the document that it is part of under the name `rows`, which have a line each in JSON lines.
pub(crate) fn show_rows(format: Format, whole: &Value, rows: &str, table: impl FnOnce(&Value) -> String) {
    match format {
        Format::Table | Format::Json => show(format, whole, table),
        Format::Jsonl => {
            for row in whole[rows].as_array().into_iter().flatten() {
                say!("{}", printable_json(&row.to_string()));
            }
        }
    }
}

/// JSON without a character that [`printable`] would drop: they are written as escapes, so nothing is lost.
fn printable_json(json: &str) -> String {
    let escaped = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    json.chars().map(|c| if is_unsafe(c) && !matches!(c, '\n' | '\t') { escaped(c) } else { c.to_string() }).collect()
}

/// Controls of both blocks (ESC, and the CSI and OSC of one byte), marks that turn or hide text, tags that nobody sees.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first line of a text, cut to `width` characters with an ellipsis.
pub(crate) fn brief(text: &str, width: usize) -> String {
    let flat = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= width {
        return flat;
    }
    flat.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_a_model_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a[2Jb\nc");
        for (hostile, shown) in [
            ("\u{1b}]0;title\u{7}x", "]0;titlex"),
            ("\u{1b}]52;c;cm0gLXJm\u{1b}\\x", "]52;c;cm0gLXJm\\x"),
            ("\u{9b}31mred", "31mred"),
            ("\u{9d}8;;http://evil\u{9c}link", "8;;http://evillink"),
            ("ok\rFAILED", "okFAILED"),
            ("a\u{8}\u{8}b\u{7f}", "ab"),
            ("safe\u{202e}gpj.exe", "safegpj.exe"),
            ("pay\u{200b}pal\u{2066}", "paypal"),
            ("tag\u{e0041}", "tag"),
            ("déjà vu\t日本\n🎉", "déjà vu\t日本\n🎉"),
        ] {
            assert_eq!(printable(hostile), shown);
        }
    }

    #[test]
    fn of_all_escape_sequences_the_colours_of_a_table_are_left() {
        assert_eq!(coloured("\u{1b}[1mRUN\u{1b}[0m \u{1b}[38;5;9mdead\u{1b}[39m"), "\u{1b}[1mRUN\u{1b}[0m \u{1b}[38;5;9mdead\u{1b}[39m");
        assert_eq!(coloured("a\u{1b}[2Jb\u{1b}[8mc\u{1b}\u{1b}[39m\u{9b}31md\re"), "a[2Jb[8mc\u{1b}[39m31mde");
    }

    #[test]
    fn json_keeps_what_a_terminal_must_not_see_as_escapes() {
        let value = serde_json::json!({"output": "\u{1b}[2J\u{9b}31m\u{202e}\u{e0041}é"});
        let printed = printable_json(&format!("{value:#}"));
        assert_eq!(printed, printable(&printed));
        assert!(printed.contains("\\u009b31m\\u202e\\udb40\\udc41é"), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn a_long_text_is_cut_by_characters_not_bytes() {
        assert_eq!(brief("ééé éé", 4), "ééé…");
        assert_eq!(brief("one\n two", 20), "one two");
    }
}
