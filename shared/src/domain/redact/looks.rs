//! What is a secret by its look, wherever it stands in a text.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::REDACTED;
use super::names::{Names, Secrecy};

/// Each pattern with what is left of a match: group `kept`, which is what tells of what kind it was. A pattern that does not compile is
/// a fault that the tests find.
static LOOKS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // Private keys, also such as are cut off.
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        // Name and password in an address.
        r"(?P<kept>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@",
        // A word that announces a key, and a key.
        r"(?i)(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}",
        // JSON web tokens.
        r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?",
        // Keys of AWS, by their beginning.
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
        // Keys of vendors, by theirs: OpenAI and its likes, Stripe, GitHub, GitLab, Slack, Google, Hugging Face, npm, SendGrid.
        r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}",
        r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|hf_|npm_|AIza|ya29\.|SG\.)[A-Za-z0-9._-]{16,}",
        // E-mail addresses.
        r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

/// A name and a value in running text: `password=x`, `token: "x"`.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let name = r#"(?P<kept>(?P<name>[A-Za-z][A-Za-z0-9_.-]{1,63})["']?\s?[=:]\s?)"#;
    // In quotes it may be several words, and the end may have been cut off.
    let quoted = r#""(?P<double>[^"]+)(?P<end>"|$)|'(?P<single>[^']+)(?P<stop>'|$)"#;
    Regex::new(&format!(r#"{name}(?:{quoted}|(?P<open>["']?)(?P<bare>[^\s"',;&<>(){{}}\[\]]+))"#)).ok()
});

/// Digits in a row, or in groups as they are printed on cards.
static DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b[2-6](?:[ -]?[0-9]){13,18}\b").ok());

/// The text without what looks like a secret; nothing if there is none.
pub(super) fn cleared(text: &str, names: &Names) -> Option<String> {
    let mut left = Cow::Borrowed(text);
    for look in LOOKS.iter() {
        replace(&mut left, look, |found| format!("{}{REDACTED}", found.name("kept").map_or("", |kept| kept.as_str())));
    }
    if let Some(digits) = DIGITS.as_ref() {
        replace(&mut left, digits, |found| if is_card(&found[0]) { REDACTED.to_owned() } else { found[0].to_owned() });
    }
    if let Some(pattern) = NAMED.as_ref() {
        replace(&mut left, pattern, |found| without_named(pattern, found, names));
    }
    (left != text).then(|| left.into_owned())
}

/// A name and its value, without the value if the name is a secret's. Else there may be others in the value: `error: token=x`.
fn without_named(pattern: &Regex, found: &Captures<'_>, names: &Names) -> String {
    let part = |name| found.name(name).map_or("", |part| part.as_str());
    let (open, value, end) = match (found.name("double"), found.name("single")) {
        (Some(value), _) => ("\"", value.as_str(), part("end")),
        (None, Some(value)) => ("'", value.as_str(), part("stop")),
        (None, None) => (part("open"), part("bare"), ""),
    };
    let is_secret = names.secrecy(part("name")) == Secrecy::All && !is_told(value);
    let left =
        if is_secret { REDACTED.into() } else { pattern.replace_all(value, |within: &Captures<'_>| without_named(pattern, within, names)) };
    format!("{}{open}{left}{end}", part("kept"))
}

/// What is no secret though it stands behind a secret's name: the word that announces one, and what a web address goes on with.
fn is_told(value: &str) -> bool {
    value.starts_with("//") || ["bearer", "basic", "null", "true", "false", "none"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn replace(text: &mut Cow<'_, str>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> String) {
    if let Cow::Owned(changed) = pattern.replace_all(text, with) {
        *text = Cow::Owned(changed);
    }
}

/// Whether these digits can be the number of a payment card: 14 to 19 of them, beginning as cards do, with the right check digit.
pub(super) fn is_card(text: &str) -> bool {
    if !text.starts_with(['2', '3', '4', '5', '6']) || text.chars().any(|sign| !sign.is_ascii_digit() && !matches!(sign, ' ' | '-')) {
        return false;
    }
    let digits: Vec<u32> = text.chars().filter_map(|sign| sign.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &digit)| match (i % 2, digit) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    (14..=19).contains(&digits.len()) && sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != digits[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(LOOKS.len(), 8);
        assert!(NAMED.is_some() && DIGITS.is_some());
    }

    #[test]
    fn what_looks_like_a_secret_is_taken_out_of_the_text_around_it() {
        let names = Names::default();
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
        for (text, left) in [
            ("say sk-proj-abcdefghijklmnop0123 to it".to_owned(), "say [redacted] to it"),
            ("key AKIAIOSFODNN7EXAMPLE.".to_owned(), "key [redacted]."),
            ("password: \"correct horse battery\", tries: 3".to_owned(), "password: \"[redacted]\", tries: 3"),
            ("{'password': 'correct horse', 'x': 'y z'}".to_owned(), "{'password': '[redacted]', 'x': 'y z'}"),
            ("{\"password\": \"correct horse batt".to_owned(), "{\"password\": \"[redacted]"),
            ("error: \"401: password=hunter2 is wrong\"".to_owned(), "error: \"401: password=[redacted] is wrong\""),
            ("error: password=hunter2".to_owned(), "error: password=[redacted]"),
            (format!("it is {jwt}"), "it is [redacted]"),
            (format!("Authorization: Bearer {jwt}"), "Authorization: Bearer [redacted]"),
            ("curl -H 'authorization: bearer abcdef0123456789'".to_owned(), "curl -H 'authorization: bearer [redacted]'"),
            ("mail ana.b+c@mail.example.co.uk, please".to_owned(), "mail [redacted], please"),
            ("paid with 4111 1111 1111 1111 today".to_owned(), "paid with [redacted] today"),
            ("amex 378282246310005".to_owned(), "amex [redacted]"),
            ("postgres://ana:s3cret@db:5432/x".to_owned(), "postgres://[redacted]db:5432/x"),
            ("password=hunter2&user=ana".to_owned(), "password=[redacted]&user=ana"),
            ("my password: hunter2 and".to_owned(), "my password: [redacted] and"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end".to_owned(), "[redacted] end"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE".to_owned(), "[redacted]"),
            ("ghp_0123456789abcdefghij0123456789abcdef".to_owned(), "[redacted]"),
        ] {
            assert_eq!(cleared(&text, &names).as_deref(), Some(left), "{text}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in [
            "",
            "What time is it in Berlin?",
            "the bearer of bad news, basic understanding",
            "run_01KAM3Q5T0ZJ8Y6W4V2N1M0K9H at 1767323045678 ms",
            "order 4111111111111112, 0000 0000 0000 0000, 4444444444444444",
            "https://example.com/a:b@c, user@host, @ana",
            "input_tokens: 12, max_tokens=5",
            "risk-free, task-force",
            "ünïcödé ✓ 🦀",
        ] {
            assert_eq!(cleared(text, &Names::default()), None, "{text}");
        }
    }
}
