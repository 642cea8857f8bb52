//! What a model has said so far of an answer that is not finished, and how far a reader has read.
//!
//! The truth is the step: once it is in the journal, nobody needs its deltas any more, and none of them has to exist.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the longest piece of text that is stored or sent at once.
pub const LONGEST_PIECE: usize = 16 * 1024;

/// One try to get an answer: another try says something else. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Try {
    /// The lease under which it was made.
    pub lease_no: u64,
    /// Which of that lease's it is, from 1.
    pub number: u32,
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lease_no, self.number)
    }
}

impl FromStr for Try {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let (lease_no, number) = text.split_once('-').ok_or(NotOne)?;
        Ok(Self { lease_no: plain(lease_no)?, number: plain(number)? })
    }
}

impl TryFrom<String> for Try {
    type Error = NotOne;

    fn try_from(text: String) -> Result<Self, NotOne> {
        text.parse()
    }
}

impl From<Try> for String {
    fn from(attempt: Try) -> Self {
        attempt.to_string()
    }
}

/// A part of what a try has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The step that it will be a part of.
    pub step: u32,
    /// The try.
    #[serde(rename = "try")]
    pub attempt: Try,
    /// Its place among the try's, from 1.
    pub seq: u32,
    /// Bytes of the text before it.
    pub start: usize,
    /// The text; never empty.
    pub text: String,
}

/// How far a reader has read: all steps before `step`, and so many bytes of its text. Written `<step>.<try>.<offset>`, it is the id
/// of an event, and a reader that comes back with it goes on exactly there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The step that is read.
    pub step: u32,
    /// The try whose text was read; none: nothing was, or the step's own text, written `-`.
    pub attempt: Option<Try>,
    /// Bytes of its text that were read.
    pub offset: usize,
}

impl Position {
    /// Before everything.
    pub const START: Self = Self::before(1);

    /// Before a step.
    #[must_use]
    pub const fn before(step: u32) -> Self {
        Self { step, attempt: None, offset: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            Some(attempt) => write!(f, "{}.{attempt}.{}", self.step, self.offset),
            None => write!(f, "{}.-.{}", self.step, self.offset),
        }
    }
}

impl FromStr for Position {
    type Err = NotOne;

    fn from_str(text: &str) -> Result<Self, NotOne> {
        let mut parts = text.split('.');
        let (Some(step), Some(attempt), Some(offset), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NotOne);
        };
        let attempt = if attempt == "-" { None } else { Some(attempt.parse()?) };
        let position = Self { step: plain(step)?, attempt, offset: plain(offset)? };
        if position.step == 0 { Err(NotOne) } else { Ok(position) }
    }
}

/// A text that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no id of an event of this stream")]
pub struct NotOne;

/// A number as we write it.
fn plain<T: FromStr>(text: &str) -> Result<T, NotOne> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().map_err(|_| NotOne) } else { Err(NotOne) }
}

/// As much of the beginning of `text` as `most` bytes hold whole characters of.
#[must_use]
pub fn piece(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_being_an_id() {
        for position in [
            Position::START,
            Position { step: 7, attempt: Some(Try { lease_no: 3, number: 2 }), offset: 120 },
            Position { step: 2, attempt: None, offset: 9 },
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        assert_eq!(Position::before(4).to_string(), "4.-.0");
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "1", "1.-", "0.-.0", "1.-.0.0", "1.x.0", "1.1-.0", "+1.-.0", "1.-.-1", "1.1-1-1.0", "99999999999.-.0", "1.-. 0"] {
            assert_eq!(text.parse::<Position>(), Err(NotOne), "{text}");
        }
    }

    #[test]
    fn a_later_try_is_greater() {
        let of = |text: &str| text.parse::<Try>().unwrap();
        assert!(of("2-1") > of("1-9") && of("10-1") > of("9-9") && of("3-10") > of("3-9"));
    }

    #[test]
    fn a_piece_never_ends_within_a_character() {
        let text = "a€𝄞b";
        let pieces: Vec<&str> = (0..=text.len()).map(|most| piece(text, most)).collect();
        assert_eq!(pieces, ["", "a", "a", "a", "a€", "a€", "a€", "a€", "a€𝄞", "a€𝄞b"]);
    }
}
