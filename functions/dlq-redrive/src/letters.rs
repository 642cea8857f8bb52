//! `/v1/dlq/letters`: messages on our queues that are none of ours. They belong to no tenant, so operators look after them.

use jiff::Timestamp;
use lambda_http::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::domain::clock::rfc3339_millis;
use shared::domain::id::LetterId;
use shared::domain::principal::Principal;
use shared::domain::task::Message;
use shared::engine::ports::JournalError;
use shared::http::{Call, Problem, Reply, json_body};
use shared::letters::{Decision, LetterError, LetterRecord, LetterStatus, problem_of};

use crate::DlqApi;
use crate::one::ReasonBody;

/// Bytes of the largest message of SQS.
const LARGEST_MESSAGE: usize = 1_048_576;

/// The body of a move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    #[serde(default)]
    body: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct LettersView {
    letters: Vec<LetterView>,
    complete: bool,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct LetterView {
    letter_id: LetterId,
    status: LetterStatus,
    problem: String,
    body_preview: String,
    bytes: u64,
    is_whole: bool,
    sha256: String,
    message_id: String,
    sender: Option<String>,
    attributes: std::collections::BTreeMap<String, String>,
    receives: u32,
    #[serde(with = "rfc3339_millis")]
    sent_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    first_seen_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    last_seen_at: Timestamp,
    decisions: Vec<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl DlqApi {
    pub(crate) async fn list_letters(&self, call: &Call) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let mut query = call.query();
        let status = query.take_with("status", "must be open, moved, discarded or all", Wanted::read)?.unwrap_or(Wanted::Open);
        let behind = query.take_with("cursor", "must be a next_cursor of this list", read_cursor)?;
        let limit = query.limit()?;
        query.finish()?;
        let page = self.letters.list(|found| status.is(found), behind, limit).await.map_err(|error| Problem::unavailable(&error))?;
        let letters = page.letters.into_iter().map(|letter| self.view(letter, None)).collect();
        let next_cursor = page.next.map(|(at, id)| format!("{}~{id}", at.as_millisecond()));
        Reply::json(StatusCode::OK, &LettersView { letters, complete: page.complete, next_cursor })
    }

    pub(crate) async fn show_letter(&self, call: &Call) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let id: LetterId = call.id("id")?;
        let unavailable = |error: JournalError| Problem::unavailable(&error);
        let letter = self.letters.book.letter(id).await.map_err(unavailable)?.ok_or_else(no_letter)?;
        let body = self.letters.book.body(id).await.map_err(unavailable)?;
        let body = body.map(|body| self.redactor.redact_text(&body));
        Reply::json(StatusCode::OK, &self.view(letter, body))
    }

    pub(crate) async fn move_letter(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let id: LetterId = call.id("id")?;
        let asked: MoveBody = json_body(&call.body)?;
        let why = ReasonBody::of(asked.reason).checked()?;
        if let Some(mended) = &asked.body {
            if mended.len() > LARGEST_MESSAGE {
                return Err(Problem::too_large("body", LARGEST_MESSAGE));
            }
            if !matches!(Message::from_body(mended), Ok(Message::Run(_))) {
                let detail = format!(r#"{}; must be a text like {{"v":1,"tenant":"…","run":"run_…","epoch":1}}"#, problem_of(mended));
                return Err(Problem::invalid("body", detail));
            }
        }
        let moved = self.letters.move_back(id, asked.body.as_deref(), &principal.name, &why).await.map_err(refused)?;
        Reply::json(StatusCode::OK, &self.view(moved, None))
    }

    pub(crate) async fn discard_letter(&self, principal: &Principal, call: &Call) -> Result<Reply, Problem> {
        call.only_operator(self.auth)?;
        let id: LetterId = call.id("id")?;
        let why = json_body::<ReasonBody>(&call.body)?.checked()?;
        let discarded = self.letters.discard(id, &principal.name, &why).await.map_err(refused)?;
        Reply::json(StatusCode::OK, &self.view(discarded, None))
    }

    /// What it says is a stranger's: secrets are taken out of all of it.
    fn view(&self, letter: LetterRecord, body: Option<String>) -> LetterView {
        let cleared = |text: &str| self.redactor.redact_text(text);
        let attribute = |(name, value): (String, String)| {
            let secret = self.redactor.redact(serde_json::json!({ (name.as_str()): value }));
            let value = secret.value[&name].as_str().unwrap_or_default().to_owned();
            (name, value)
        };
        LetterView {
            letter_id: letter.id,
            status: letter.status,
            problem: letter.problem,
            body_preview: cleared(&letter.preview),
            bytes: letter.bytes,
            is_whole: letter.is_whole,
            sha256: letter.sha256,
            message_id: letter.message_id,
            sender: letter.sender,
            attributes: letter.attributes.into_iter().map(attribute).collect(),
            receives: letter.receives,
            sent_at: letter.sent_at,
            first_seen_at: letter.first_seen_at,
            last_seen_at: letter.last_seen_at,
            decisions: letter.decisions,
            body,
        }
    }
}

/// Which letters a list shows.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Open,
    Only(LetterStatus),
    All,
}

impl Wanted {
    fn read(text: &str) -> Option<Self> {
        match text {
            "open" => Some(Self::Open),
            "all" => Some(Self::All),
            "moved" => Some(Self::Only(LetterStatus::Moved)),
            "discarded" => Some(Self::Only(LetterStatus::Discarded)),
            _ => None,
        }
    }

    fn is(self, status: LetterStatus) -> bool {
        match self {
            Self::Open => status.is_open(),
            Self::Only(wanted) => status == wanted,
            Self::All => true,
        }
    }
}

fn read_cursor(text: &str) -> Option<(Timestamp, LetterId)> {
    let (at, id) = text.split_once('~')?;
    Some((Timestamp::from_millisecond(at.parse().ok()?).ok()?, id.parse().ok()?))
}

fn no_letter() -> Problem {
    Problem::not_found("id", "there is no such letter; GET /v1/dlq/letters lists them")
}

fn refused(error: LetterError) -> Problem {
    match error {
        LetterError::NotFound => no_letter(),
        LetterError::NotOpen(status) => {
            Problem::conflict("not_open", format!("the letter is {}; only an open one can be decided about", status.as_str()))
        }
        LetterError::NotWhole => {
            let detail = "the letter is longer than what is kept, so it cannot be sent from here; give a mended body, or move the message with the AWS CLI";
            Problem::conflict("not_whole", detail).about("body")
        }
        LetterError::Journal(error) => Problem::unavailable(&error),
    }
}
