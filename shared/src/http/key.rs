//! The caller's key of a request, see [`crate::domain::idempotency`].

use std::fmt::Write as _;

use lambda_http::http::HeaderName;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Problem;
use crate::domain::idempotency::RequestKey;

/// The header of a request that may be sent again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header of an answer that tells of what an earlier request with the same key has started.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Characters of the longest key.
const LONGEST: usize = 255;

/// Reads the key of a request of that kind.
pub(super) fn read(key: &[u8], kind: &str, body: &[u8]) -> Result<RequestKey, Problem> {
    if !(1..=LONGEST).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Problem::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters"));
    }
    of(kind, key, body)
}

/// That key of a request of that kind with that body.
pub(super) fn of(kind: &str, key: &[u8], body: &[u8]) -> Result<RequestKey, Problem> {
    // Parsed and sorted: the same request may be written with other spaces, or its fields in another order.
    let mut request: Value = serde_json::from_slice(body).map_err(|_| Problem::malformed("the body is not JSON"))?;
    request.sort_all_objects();
    // What kind of request it is belongs to the key: the same one at another route is another key.
    let digest = hex(&Sha256::new().chain_update(kind).chain_update("\n").chain_update(key).finalize());
    Ok(RequestKey { digest, fingerprint: hex(&Sha256::digest(request.to_string())) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(key: &str, kind: &str, body: &str) -> RequestKey {
        read(key.as_bytes(), kind, body.as_bytes()).unwrap()
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_however_it_is_written() {
        let first = read_one("k", "POST /v1/agent", r#"{"prompt": "why?", "metadata": {"a": [1, {"x": 1, "y": 2}], "b": 2}}"#);
        let same = read_one("k", "POST /v1/agent", "{\"metadata\":{\"b\":2,\"a\":[1,{\"y\":2,\"x\":1}]},\n\"prompt\":\"wh\\u0079?\"}");
        assert_eq!(first, same);
        assert_eq!((first.digest.len(), first.fingerprint.len()), (64, 64));
        for other in
            [r#"{"prompt": "why"}"#, r#"{"prompt": "why?"}"#, r#"{"prompt": "why?", "metadata": {"a": [{"x": 1, "y": 2}, 1], "b": 2}}"#]
        {
            assert_ne!(read_one("k", "POST /v1/agent", other).fingerprint, first.fingerprint, "{other}");
        }
    }

    #[test]
    fn the_same_key_of_another_kind_of_request_is_another_key() {
        let digest = |key, kind| read_one(key, kind, "{}").digest;
        assert_eq!(digest("k", "POST /v1/agent"), digest("k", "POST /v1/agent"));
        assert_ne!(digest("k", "POST /v1/agent"), digest("k", "POST /v1/events"));
        assert_ne!(digest("k", "POST /v1/agent"), digest("K", "POST /v1/agent"));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_name_of_the_header() {
        for good in ["k".to_owned(), "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"".to_owned(), "~".repeat(255)] {
            assert!(read(good.as_bytes(), "POST /v1/agent", b"{}").is_ok());
        }
        let long = "k".repeat(256);
        for bad in ["", " ", "a b", "k\t", "k\u{7f}", "ü", &long] {
            let problem = read(bad.as_bytes(), "POST /v1/agent", b"{}").unwrap_err();
            assert_eq!((problem.status(), problem.field()), (400, Some("Idempotency-Key")), "{bad:?}");
        }
    }
}
