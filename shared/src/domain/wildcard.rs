//! A text with `*` for any run of characters. `\*` and `\\` stand for themselves.

use serde::{Deserialize, Serialize};

/// A text with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wildcard {
    /// What stands between the stars; one piece if there is none.
    pieces: Vec<String>,
}

impl Wildcard {
    /// The one that every text fits.
    #[must_use]
    pub fn any() -> Self {
        Self { pieces: vec![String::new(), String::new()] }
    }

    /// Reads it.
    ///
    /// # Errors
    /// A sentence, when a star follows a star or a backslash stands before anything but a star or a backslash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = vec![String::new()];
        let mut was_star = false;
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter == '*' {
                if was_star {
                    return Err("one `*` stands for any run of characters; write it once".into());
                }
                was_star = true;
                pieces.push(String::new());
                continue;
            }
            was_star = false;
            let literal = match letter {
                '\\' => letters
                    .next()
                    .filter(|next| matches!(next, '*' | '\\'))
                    .ok_or("a backslash may stand before `*` or a backslash only; write it twice for itself")?,
                other => other,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        Ok(Self { pieces })
    }

    /// Whether all of `text` fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some(text) = text.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return text.is_empty() };
        let Some(mut text) = text.strip_suffix(last.as_str()) else { return false };
        // The earliest place of each piece leaves the most for the next.
        for piece in middle {
            let Some(at) = text.find(piece.as_str()) else { return false };
            text = &text[at + piece.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, fits, fits_not) in [
            ("crm", vec!["crm"], vec!["", "crm/eu", "a crm"]),
            ("*", vec!["", "anything"], vec![]),
            ("crm/*", vec!["crm/", "crm/eu"], vec!["crm", "a/crm/eu"]),
            ("*.png", vec![".png", "a.png"], vec!["a.png.txt"]),
            ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
            ("*/lib/*", vec!["/usr/lib/x", "/lib/"], vec!["/usr/lib", "/library/"]),
            ("a*b*c", vec!["abc", "abbc", "axbxc"], vec!["acb", "ac"]),
            (r"\*\\*", vec![r"*\", r"*\x"], vec![r"x\", "*"]),
            ("", vec![""], vec!["a"]),
        ] {
            let wildcard = Wildcard::parse(pattern).unwrap();
            assert!(fits.iter().all(|text| wildcard.matches(text)), "{pattern}");
            assert!(!fits_not.iter().any(|text| wildcard.matches(text)), "{pattern}");
        }
    }

    #[test]
    fn a_doubled_star_and_a_stray_backslash_are_refused() {
        for text in ["a**", r"a\b", r"a\"] {
            assert!(Wildcard::parse(text).is_err(), "{text}");
        }
    }
}
