//! What a command can end with: a sentence for the reader (outside), the lines that explain it (inside), and an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

/// It was tried and did not succeed: a phase, a run, an unhealthy stack.
pub(crate) const FAILED: u8 = 1;
/// It could not be asked: bad arguments (clap uses 2 as well), or nothing answers.
pub(crate) const UNREACHABLE: u8 = 2;
/// It is still going on: `run tail` gave up waiting.
pub(crate) const UNFINISHED: u8 = 3;
/// Interrupted, as a shell reports SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// One failure of a command. Printed once, by `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// Outside: what went wrong, in one sentence.
    message: String,
    /// Inside: the source error, or the last lines of a log.
    cause: Vec<String>,
    log: Option<PathBuf>,
    hint: Option<String>,
    code: u8,
    /// Whether the same may succeed in a moment: nothing answered, or the other side said that it is busy or down.
    passing: bool,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cause: Vec::new(), log: None, hint: None, code: FAILED, passing: false }
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(message).with_code(UNREACHABLE)
    }

    pub(crate) fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause.extend(cause.to_string().lines().map(str::to_owned));
        self
    }

    pub(crate) fn with_log(mut self, log: PathBuf) -> Self {
        self.log.get_or_insert(log);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn passing(mut self, passing: bool) -> Self {
        self.passing = passing;
        self
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether it makes sense to ask the same again in a moment.
    pub(crate) fn may_pass(&self) -> bool {
        self.passing
    }

    /// Puts the name of the phase in front of the sentence.
    pub(crate) fn in_phase(mut self, phase: &str) -> Self {
        self.message = format!("{phase}: {}", self.message);
        self
    }

    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", crate::out::printable(&self.message));
        for line in &self.cause {
            text.push_str(&format!("  | {}\n", crate::out::printable(line)));
        }
        if let Some(log) = &self.log {
            text.push_str(&format!("log: {}\n", log.display()));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", crate::out::printable(hint)));
        }
        text
    }

    /// Prints the error to standard error and gives the exit code.
    #[expect(clippy::print_stderr, reason = "this is where a command line prints its errors")]
    pub(crate) fn report(&self) -> ExitCode {
        eprint!("{}", self.render());
        ExitCode::from(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_phase_the_cause_the_log_and_what_to_do() {
        let error = Error::new("the build failed")
            .because("line one\nline two")
            .with_log("x/build.log".into())
            .with_hint("fix it")
            .in_phase("build");
        assert_eq!(error.render(), "error: build: the build failed\n  | line one\n  | line two\nlog: x/build.log\nhint: fix it\n");
    }

    #[test]
    fn the_first_log_and_hint_win_because_they_are_the_most_precise() {
        let error = Error::new("m").with_hint("near").with_hint("far");
        assert_eq!(error.render(), "error: m\nhint: near\n");
    }
}
