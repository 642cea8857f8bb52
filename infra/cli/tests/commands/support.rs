//! A made-up API, a made-up checkout, and the binary as a user calls it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What the binary asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `METHOD /path?query`
    pub(crate) line: String,
    /// By their names in small letters.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line().trim_end_matches(" HTTP/1.1").to_owned();
        let headers: HashMap<_, _> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()))
            .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
            .collect();
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        Self { line: first, headers, body }
    }
}

/// A status and a body. Status 0: the connection breaks instead.
pub(crate) type Answer = (u16, String);

/// An HTTP server on loopback that remembers what it was asked. It ends with the test process.
pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Answers `METHOD /path?query` with the next of its answers, and the last one for ever.
    pub(crate) fn of(answers: &[(&str, u16, &str)]) -> Self {
        let mut queues: HashMap<String, Vec<Answer>> = HashMap::new();
        for (request, status, body) in answers {
            queues.entry((*request).to_owned()).or_default().push((*status, (*body).to_owned()));
        }
        Self::answering(move |request| match queues.get_mut(&request.line) {
            Some(queue) if queue.len() > 1 => queue.remove(0),
            Some(queue) => queue[0].clone(),
            None => {
                let line = &request.line;
                (404, format!(r#"{{"title":"Not found","detail":"no answer for {line}","code":"not_found","request_id":"r-0"}}"#))
            }
        })
    }

    pub(crate) fn answering(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = Request::read(&stream);
                let (status, body) = answer(&request);
                remember.lock().unwrap().push(request);
                if status == 0 {
                    continue;
                }
                let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
                write!(stream, "{head}\r\nconnection: close\r\n\r\n{body}").unwrap();
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// `METHOD /path?query` of all requests, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|request| request.line).collect()
    }

    /// The JSON that was sent with the only request of this line.
    pub(crate) fn body(&self, line: &str) -> Value {
        let asked = self.asked();
        let mut of_line = asked.iter().filter(|request| request.line == line);
        let body = of_line.next().unwrap_or_else(|| panic!("{line} was not asked: {:?}", self.lines())).json();
        assert!(of_line.next().is_none(), "{line} was asked more than once");
        body
    }

    /// Calls the binary with this server as its deployment.
    pub(crate) fn reprise(&self, arguments: &[&str]) -> Output {
        reprise(&[arguments, &["--url", &self.url]].concat())
    }
}

/// The binary, with nothing of the environment that could change what it does.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
    for name in ["REPRISE_URL", "REPRISE_PROFILE", "REPRISE_STACK", "AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.args(arguments).env("REPRISE_CONFIG", "/nonexistent/config.toml");
    command
}

pub(crate) fn reprise(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A checkout in which nothing runs.
pub(crate) struct Checkout(pub(crate) PathBuf);

impl Checkout {
    pub(crate) fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("reprise-commands-{}-{test}", std::process::id()));
        std::fs::create_dir_all(root.join("infra/local")).unwrap();
        std::fs::write(root.join("template.yaml"), "").unwrap();
        Self(root)
    }

    pub(crate) fn reprise(&self, arguments: &[&str]) -> Output {
        command(arguments).current_dir(&self.0).output().unwrap()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
