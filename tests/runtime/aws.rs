//! AWS, as far as the probes ask it: an empty table and two empty queues, one of which may hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

/// Listens on a free port for as long as the test runs, and never answers a request whose target and body, one after the other, contain
/// `hanging`. Its `host:port`.
pub(crate) fn start(hanging: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("no free port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, hanging));
        }
    });
    address.to_string()
}

fn serve(stream: TcpStream, hanging: Option<&str>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (target, body) = request(&mut reader)?;
        if hanging.is_some_and(|hanging| format!("{target} {body}").contains(hanging)) {
            // Until whoever asked has given up.
            reader.fill_buf().ok()?;
            return None;
        }
        let answer = answer(&target).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0";
        write!(writer, "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).ok()?;
    }
}

/// What is asked for, and the body.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => value.clone_into(&mut target),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((target, String::from_utf8_lossy(&body).into_owned()))
}

fn answer(target: &str) -> Value {
    match target.rsplit('.').next() {
        Some("BatchGetItem") => json!({"Responses": {"runs": []}, "UnprocessedKeys": {}}),
        Some("Query") => json!({"Items": [], "Count": 0}),
        Some("GetQueueAttributes") => {
            let counts = ["", "NotVisible", "Delayed"].map(|of| (format!("ApproximateNumberOfMessages{of}"), json!("0")));
            json!({"Attributes": counts.into_iter().collect::<serde_json::Map<_, _>>()})
        }
        Some(_) | None => json!({}),
    }
}
