//! What is known of a letter, and how that changes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::canonical::sha256;
use crate::domain::clock::{after, between, rfc3339_millis};
use crate::domain::id::LetterId;
use crate::domain::redact::Redactor;
use crate::domain::task::Message;

/// Bytes of a text that are kept: an item of the table holds 400 KB, a message up to 1 MB.
pub const KEPT_BYTES: usize = 300_000;
/// Characters of a preview.
const PREVIEW: usize = 300;
/// Attributes that are kept, and characters of each.
const ATTRIBUTES: usize = 10;
const LONGEST_ATTRIBUTE: usize = 256;
/// Decisions that are kept, the latest.
const DECISIONS: usize = 20;
/// How long a letter is known after it was last met. A queue keeps a message for 14 days.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);
/// A letter that lies on the dead-letter queue is met every minute; noted it is once in this time.
const NOTED_EVERY: Duration = Duration::from_secs(3_600);

/// A message as somebody met it.
#[derive(Debug, Clone, Default)]
pub struct Sighting<'a> {
    /// Its text.
    pub body: &'a str,
    /// The queue's name for it.
    pub message_id: &'a str,
    /// When the queue got it.
    pub sent_at: Option<Timestamp>,
    /// Who sent it, as the queue knows it.
    pub sender: Option<&'a str>,
    /// What its sender put beside the text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it was delivered to be worked on, not just looked at.
    pub is_delivery: bool,
}

/// What a message means that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has decided about it.
    Open,
    /// Nobody has decided about it, and there is nothing new to note.
    Known,
    /// It was moved or discarded: the message itself may go.
    Settled,
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterStatus {
    /// Nobody has decided about it.
    Open,
    /// It is being sent back: either it was and that is not noted yet, or it was not. Asked again, it is sent again.
    Moving,
    /// It was sent back to the tasks queue.
    Moved,
    /// It is not wanted.
    Discarded,
}

impl LetterStatus {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Open, Self::Moving, Self::Moved, Self::Discarded];

    /// The word in records and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Moving => "moving",
            Self::Moved => "moved",
            Self::Discarded => "discarded",
        }
    }

    /// Whether an operator may still decide.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Moving)
    }
}

/// What an operator decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    #[serde(with = "rfc3339_millis")]
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// [`LetterStatus::Moving`] or [`LetterStatus::Discarded`].
    pub to: LetterStatus,
    /// Whether another text was sent than the letter's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mended: bool,
}

/// What is known of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterRecord {
    /// Its id.
    pub id: LetterId,
    /// Raised by every write.
    pub version: u64,
    /// Where it stands.
    pub status: LetterStatus,
    /// The digest of its text, in hexadecimal.
    pub sha256: String,
    /// Bytes of its text.
    pub bytes: u64,
    /// Whether all of the text was kept.
    pub is_whole: bool,
    /// How the text begins, without what looks like a secret.
    pub preview: String,
    /// Why it is none of ours.
    pub problem: String,
    /// The queue's name for the message that was met last.
    pub message_id: String,
    /// Who sent it, as the queue knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What its sender put beside the text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// How often a message of this text was delivered.
    pub receives: u32,
    /// When the queue got the latest message of this text.
    #[serde(with = "rfc3339_millis")]
    pub sent_at: Timestamp,
    /// When one was met first.
    #[serde(with = "rfc3339_millis")]
    pub first_seen_at: Timestamp,
    /// When one was met last, to the hour while it only lies there.
    #[serde(with = "rfc3339_millis")]
    pub last_seen_at: Timestamp,
    /// The decision is about messages that the queue got up to then.
    #[serde(default, with = "rfc3339_millis::option", skip_serializing_if = "Option::is_none")]
    pub covers: Option<Timestamp>,
    /// What operators decided, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// When it is forgotten, in seconds since 1970: the table's time to live.
    pub expires_at: i64,
}

impl LetterRecord {
    /// A letter that nobody has met before.
    #[must_use]
    pub fn first(sighting: &Sighting<'_>, at: Timestamp) -> Self {
        Self {
            id: LetterId::of(sighting.body),
            version: 1,
            status: LetterStatus::Open,
            sha256: sha256(sighting.body),
            bytes: sighting.body.len() as u64,
            is_whole: sighting.body.len() <= KEPT_BYTES,
            // Cut afterwards: of half a JSON document nobody can tell the secrets.
            preview: Redactor::default().redact_text(sighting.body).chars().take(PREVIEW).collect(),
            problem: problem_of(sighting.body),
            message_id: sighting.message_id.to_owned(),
            sender: sighting.sender.map(str::to_owned),
            attributes: brief(&sighting.attributes),
            receives: u32::from(sighting.is_delivery),
            sent_at: sighting.sent_at.unwrap_or(at),
            first_seen_at: at,
            last_seen_at: at,
            covers: None,
            decisions: Vec::new(),
            expires_at: after(at, KNOWN_FOR).as_second(),
        }
    }

    /// As much of the text as is kept.
    #[must_use]
    pub fn kept<'a>(&self, body: &'a str) -> &'a str {
        &body[..body.floor_char_boundary(KEPT_BYTES)]
    }

    /// Notes that a message of this text was met. Nothing has changed if it is [`Standing::Known`] or [`Standing::Settled`].
    pub fn see(&mut self, sighting: &Sighting<'_>, at: Timestamp) -> Standing {
        let sent_at = sighting.sent_at.unwrap_or(at);
        if !self.status.is_open() && self.covers.is_some_and(|covered| sent_at <= covered) {
            return Standing::Settled;
        }
        let is_news = sighting.is_delivery || !self.status.is_open() || sent_at > self.sent_at;
        if !is_news && between(self.last_seen_at, at) < NOTED_EVERY {
            return Standing::Known;
        }
        if !self.status.is_open() {
            self.status = LetterStatus::Open;
        }
        self.receives += u32::from(sighting.is_delivery);
        sighting.message_id.clone_into(&mut self.message_id);
        self.problem = problem_of(sighting.body);
        self.sent_at = self.sent_at.max(sent_at);
        self.touch(at);
        Standing::Open
    }

    /// Notes what an operator decided: from then on the messages that were met so far mean nothing, or will once it was sent back.
    pub(super) fn decide(&mut self, decision: Decision) {
        self.status = decision.to;
        self.covers = Some(self.sent_at);
        self.touch(decision.at);
        self.decisions.push(decision);
        let surplus = self.decisions.len().saturating_sub(DECISIONS);
        self.decisions.drain(..surplus);
    }

    /// Notes that it was sent back. If that is here again already, it is open.
    pub(super) fn moved(&mut self, at: Timestamp) {
        let is_back = self.covers.is_none_or(|covered| self.sent_at > covered);
        self.status = if is_back { LetterStatus::Open } else { LetterStatus::Moved };
        self.touch(at);
    }

    fn touch(&mut self, at: Timestamp) {
        self.version += 1;
        self.last_seen_at = at;
        self.expires_at = after(at, KNOWN_FOR).as_second();
    }
}

/// Why a text is no message of ours, as this version sees it.
#[must_use]
pub fn problem_of(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else { return "is not JSON".into() };
    match value.get("v").and_then(Value::as_u64) {
        _ if Message::from_body(body).is_ok() => "is a message of ours; this version can read it".into(),
        None => "is JSON, but no message of ours: it has no version `v`".into(),
        Some(1) => "has version 1, but not what that wants: tenant, run and epoch".into(),
        Some(version) => format!("has version {version}, which this version of the consumer does not know"),
    }
}

fn brief(attributes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let short = |text: &String| text.chars().take(LONGEST_ATTRIBUTE).collect();
    attributes.iter().take(ATTRIBUTES).map(|(name, value)| (short(name), short(value))).collect()
}
