//! Standard output that does not panic when the reader has gone (`reprise stack logs | head`).

use std::fmt::Arguments;
use std::io::Write as _;

/// Writes one line; a closed pipe is not an error of ours.
pub(crate) fn line(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let _closed = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints one line to standard output.
macro_rules! say {
    ($($arg:tt)*) => { $crate::out::line(format_args!($($arg)*)) };
}
pub(crate) use say;

/// Text that came from elsewhere, made safe for a terminal: control characters other than newline and tab are dropped.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
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
    }

    #[test]
    fn a_long_text_is_cut_by_characters_not_bytes() {
        assert_eq!(brief("ééé éé", 4), "ééé…");
        assert_eq!(brief("one\n two", 20), "one two");
    }
}
