//! The deployed table, through `/v1/backup/items`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::http::{Http, Method};
use crate::problem::explain;

/// An item in DynamoDB's JSON.
pub(super) type Item = Map<String, Value>;

/// How often a page that could not be read or written is tried again, after a pause that doubles.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// A page of a segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    pub(super) table: String,
    pub(super) items: Vec<Item>,
    pub(super) next: Option<String>,
}

/// What became of items.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Written {
    pub(super) written: u64,
    pub(super) unchanged: u64,
    pub(super) kept: Vec<Value>,
}

/// A table that is read and written page by page. Writes never change what is there, so they may be repeated.
pub(super) trait Table: Sync {
    fn page(&self, segment: u32, of: u32, cursor: Option<&str>) -> Result<Page>;
    fn write(&self, items: &[Item]) -> Result<Written>;
}

/// That of the deployment.
pub(super) struct Deployed {
    pub(super) http: Http,
}

impl Table for Deployed {
    fn page(&self, segment: u32, of: u32, cursor: Option<&str>) -> Result<Page> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let mut body = self.patiently(Method::GET, &format!("/v1/backup/items?segment={segment}&segments={of}{cursor}"), b"")?;
        let Value::Array(items) = body["items"].take() else { return Err(Error::new("the deployment's answer has no items")) };
        let items = items.into_iter().map(|item| match item {
            Value::Object(item) => Ok(item),
            _ => Err(Error::new("the deployment's answer has an item that is none")),
        });
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            table: body["table"].as_str().unwrap_or_default().to_owned(),
            next: body["next_cursor"].as_str().map(str::to_owned),
        })
    }

    fn write(&self, items: &[Item]) -> Result<Written> {
        let body = self.patiently(Method::PUT, "/v1/backup/items", json!({ "items": items }).to_string().as_bytes())?;
        let count = |name: &str| body[name].as_u64().ok_or_else(|| Error::new(format!("the deployment's answer does not say `{name}`")));
        let kept = body["kept"].as_array().cloned().unwrap_or_default();
        Ok(Written { written: count("written")?, unchanged: count("unchanged")?, kept })
    }
}

impl Deployed {
    /// Tells the deployment of an archive that was found whole, by its manifest.
    pub(super) fn note(&self, manifest: &Value) -> Result<()> {
        let fields = ["began_at", "sha256", "items", "bytes"].map(|field| (field.to_owned(), manifest[field].clone()));
        let body = Value::Object(fields.into_iter().collect()).to_string();
        self.patiently(Method::POST, "/v1/backup", body.as_bytes()).map(|_| ())
    }

    /// Asks again where that may help: what this asks may be repeated.
    fn patiently(&self, method: Method, path: &str, body: &[u8]) -> Result<Value> {
        let mut attempt = 0;
        loop {
            let reply = self.http.send(method.clone(), path, &[("content-type", "application/json")], body);
            let error = match reply {
                Ok(reply) if reply.is_success() => return Ok(reply.json()),
                Ok(reply) => explain(&reply),
                Err(error) => error,
            };
            attempt += 1;
            if !error.may_pass() || attempt >= TRIES {
                return Err(error);
            }
            std::thread::sleep(PAUSE * (1 << (attempt - 1)));
        }
    }
}
