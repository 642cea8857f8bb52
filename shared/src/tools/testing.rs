//! What tests of tools need: a call of a run, and a server on the loopback network that answers as it is told and says what it saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::ToolContext;
use crate::domain::id::{RunId, TenantId};

static TENANT: LazyLock<TenantId> = LazyLock::new(|| "acme".parse().unwrap_or_else(|_| unreachable!("a tenant's name")));
static RUN: LazyLock<RunId> = LazyLock::new(|| RunId::new(jiff::Timestamp::UNIX_EPOCH));

/// A call of a run.
pub(super) fn in_a_run() -> ToolContext<'static> {
    ToolContext { key: "run:1", tenant: &TENANT, run: *RUN, doubt: Box::leak(Box::default()) }
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The request line and the headers, in lower case but for the line.
    pub(super) head: String,
    /// The body.
    pub(super) body: String,
}

/// A server; its thread ends with the test.
pub(super) struct Server {
    /// Where it listens.
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers each connection's one request with what `answer` says: status line, headers, empty line, body.
    pub(super) fn on(address: Ipv4Addr, answer: impl Fn(&Seen) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap_or_else(|error| panic!("a free port of {address}: {error}"));
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if let Some(request) = read(&connection) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                    // A client that went away is no failure of the server.
                    let _ = (&connection).write_all(answer(&request).as_bytes());
                }
            }
        });
        Self { port, seen }
    }

    /// On 127.0.0.1.
    pub(super) fn local(answer: impl Fn(&Seen) -> String + Send + 'static) -> Self {
        Self::on(Ipv4Addr::LOCALHOST, answer)
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(connection: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { head, body: String::from_utf8(body).ok()? })
}

/// An answer with a body.
pub(super) fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// An answer that is JSON.
pub(super) fn json(body: &serde_json::Value) -> String {
    answer("200 OK", "application/json", &body.to_string())
}

/// An answer that leads elsewhere.
pub(super) fn redirect(status: &str, location: &str) -> String {
    format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
