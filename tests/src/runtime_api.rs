//! A mock Lambda Runtime API for one function process, and sockets that stand in for its dependencies.
//!
//! The protocol is five routes of plain HTTP/1.1: `next` is held open until the test has an event, and everything that the
//! process says is kept. Reference: "Using the Lambda runtime API" in the Lambda developer guide.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far beyond every wait in here.
const LIMIT: Duration = Duration::from_secs(20);
/// An invocation's deadline in milliseconds since 1970: the year 2100.
const DEADLINE: &str = "4102444800000";
/// More connections than a listener of the standard library keeps for whoever accepts them.
const MOST_WAITING: usize = 800;

/// What the process told the API.
#[derive(Debug, Clone)]
pub struct Said {
    /// `next`, `response`, `error` or `init/error`.
    pub what: String,
    /// The body.
    pub body: String,
    /// Whether it says that the body is a stream: a prelude, eight zeros, and what comes.
    pub is_streamed: bool,
    /// When it had said it: before the API answered.
    pub at: Instant,
}

/// The API. It lives as long as the test process.
#[derive(Debug)]
pub struct RuntimeApi {
    /// `host:port`, for `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    events: Sender<Value>,
    said: Receiver<Said>,
}

impl RuntimeApi {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let (listener, address) = listen();
        let (events, next) = channel();
        let (say, said) = channel();
        let next = Arc::new(Mutex::new(next));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (say, next) = (say.clone(), Arc::clone(&next));
                std::thread::spawn(move || serve(stream, &say, &next));
            }
        });
        Self { address, events, said }
    }

    /// Hands the process its next event.
    pub fn invoke(&self, event: Value) {
        // The receiver lives as long as the listener.
        let _ = self.events.send(event);
    }

    /// The next thing that the process says.
    ///
    /// # Panics
    /// When it says nothing for 20 s.
    #[track_caller]
    #[must_use]
    pub fn hear(&self) -> Said {
        self.said.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("the function said nothing for {} s", LIMIT.as_secs()))
    }

    /// The next thing that the process says, which must be `what`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    #[must_use]
    pub fn must_hear(&self, what: &str) -> String {
        let said = self.hear();
        assert_eq!(said.what, what, "{}", said.body);
        said.body
    }

    /// Everything that was said and not yet heard.
    #[must_use]
    pub fn heard_nothing_of(&self, what: &str) -> bool {
        self.said.try_iter().all(|said| said.what != what)
    }
}

fn serve(stream: TcpStream, say: &Sender<Said>, next: &Mutex<Receiver<Value>>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some((path, body, is_streamed)) = read_request(&mut reader) {
        let what = what_of(&path);
        if say.send(Said { what: what.clone(), body, is_streamed, at: Instant::now() }).is_err() {
            return;
        }
        let answer = if what == "next" {
            let Ok(event) = next.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
            invocation(&event.to_string())
        } else {
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn what_of(path: &str) -> String {
    match path.rsplit('/').next() {
        Some("error") if path.ends_with("/init/error") => "init/error".into(),
        last => last.unwrap_or_default().to_owned(),
    }
}

fn invocation(event: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nlambda-runtime-aws-request-id: {}\r\n\
         lambda-runtime-deadline-ms: {DEADLINE}\r\nlambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:test\r\n\r\n{event}",
        event.len(),
        crate::fresh("request"),
    )
}

/// A request's path and body, of a known length or in chunks, and whether it is a streamed answer; `None` when the connection has ended.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, bool)> {
    let path = line(reader)?.split(' ').nth(1)?.to_owned();
    let (mut length, mut is_chunked, mut is_streamed) = (0_usize, false, false);
    loop {
        let header = line(reader)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(("transfer-encoding", value)) => is_chunked = value.contains("chunked"),
            Some(("lambda-runtime-function-response-mode", value)) => is_streamed = value.trim() == "streaming",
            _ => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let size = usize::from_str_radix(&line(reader)?, 16).ok()?;
            take(reader, size, &mut body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        take(reader, length, &mut body)?;
    }
    Some((path, String::from_utf8_lossy(&body).into_owned(), is_streamed))
}

fn take(reader: &mut impl Read, size: usize, body: &mut Vec<u8>) -> Option<()> {
    let read = reader.take(size as u64).read_to_end(body).ok()?;
    (read == size).then_some(())
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}

/// A dependency that takes connections, counts them, and never says a word.
#[derive(Debug)]
pub struct Mute {
    /// `host:port`.
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Mute {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn start() -> Self {
        let (listener, address) = listen();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                held.push(stream);
            }
        });
        Self { address, connections }
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A dependency whose connections are never made: those that nobody takes off its listener are as many as it may have.
#[derive(Debug)]
pub struct Full {
    /// `host:port`.
    pub address: String,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    /// Listens on a free port, and connects to it until that is of no use any more.
    ///
    /// # Panics
    /// When there is none, or it takes connections for ever.
    #[must_use]
    pub fn start() -> Self {
        // The system makes a connection to this machine itself at once, or not at all.
        const AT_ONCE: Duration = Duration::from_millis(300);
        let (listener, address) = listen();
        let to = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let waiting: Vec<TcpStream> = std::iter::from_fn(|| TcpStream::connect_timeout(&to, AT_ONCE).ok()).take(MOST_WAITING).collect();
        assert!(waiting.len() < MOST_WAITING, "{address} takes connections for ever");
        Self { address, _listener: listener, _waiting: waiting }
    }
}

/// The address of a port that takes no connections.
///
/// # Panics
/// When there is no free port.
#[must_use]
pub fn closed() -> String {
    // Free a moment ago, and the system hands freed ports out again last.
    listen().1
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("no free port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}")).to_string();
    (listener, address)
}
