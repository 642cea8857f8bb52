//! What the outbox promises, with collectors that take spans, refuse them, or never answer.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_subscriber::layer::SubscriberExt as _;

use super::super::span;
use super::*;
use crate::config::Secret;
use crate::model::SecretError;

/// A collector that answers with this status, or never; how often it was asked, and the head of the last request.
fn collector(status: Option<u16>) -> (String, Arc<AtomicUsize>, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, head) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let (counts, heads) = (asked.clone(), head.clone());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            counts.fetch_add(1, Ordering::Relaxed);
            *heads.lock().unwrap() = request(&mut stream);
            if let Some(status) = status {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            } else {
                open.push(stream);
            }
        }
    });
    (address, asked, head)
}

/// Reads a request to its end, or the close of what was not read would reset the connection; its head, in small letters.
fn request(stream: &mut TcpStream) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let count = stream.read(&mut buffer).unwrap_or_default();
        read.extend_from_slice(&buffer[..count]);
        let end = read.windows(4).position(|four| four == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&read[..end.unwrap_or_default()]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if count == 0 || end.is_some_and(|end| read.len() >= end + 4 + length.unwrap_or_default()) {
            return head;
        }
    }
}

fn outbox(address: &str, secret: Option<&str>) -> Arc<Outbox> {
    Arc::new(Outbox::new(address, secret.map(str::to_owned), Resource::builder_empty().build()).unwrap())
}

/// Lets so many spans end.
fn end_spans(outbox: &Outbox, count: usize) {
    let tracer = tracer(&outbox.kept, outbox.resource.clone());
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_context_activation(false);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        (0..count).for_each(|_| drop(span::request("GET", "/v1/runs", "r", None)));
    });
}

/// The secret with the collector's headers; counts how often it is read.
struct Header(AtomicUsize);

#[async_trait::async_trait]
impl SecretStore for Header {
    async fn read(&self, name: &str) -> Result<Secret, SecretError> {
        assert_eq!(name, "name");
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Secret::new("x-key=a%20b, x-team=ours\n".into()))
    }
}

#[tokio::test]
async fn what_has_ended_is_sent_once_with_the_headers_of_the_secret() {
    let (address, asked, head) = collector(Some(200));
    let (outbox, secret) = (outbox(&format!("{address}/"), Some("name")), Arc::new(Header(AtomicUsize::new(0))));
    outbox.collector.keys_are_in(secret.clone());
    end_spans(&outbox, 3);
    for _ in 0..2 {
        outbox.flush().await;
    }
    assert_eq!((asked.load(Ordering::Relaxed), outbox.kept.take().len(), secret.0.load(Ordering::Relaxed)), (1, 0, 1));
    let head = head.lock().unwrap().clone();
    for part in ["post /v1/traces http/1.1", "x-key: a b", "x-team: ours", "application/x-protobuf"] {
        assert!(head.contains(part), "{part} in {head}");
    }
}

#[tokio::test]
async fn a_collector_that_fails_is_left_alone_and_its_spans_are_kept() {
    for status in [503, 429, 401] {
        let (address, asked, _) = collector(Some(status));
        let outbox = outbox(&address, None);
        end_spans(&outbox, 3);
        for _ in 0..5 {
            outbox.flush().await;
        }
        assert_eq!((asked.load(Ordering::Relaxed), outbox.kept.take().len()), (1, 3), "{status}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_costs_its_bound_once_then_ever_longer_rests() {
    let (address, _, _) = collector(None);
    let outbox = outbox(&address, None);
    end_spans(&outbox, 3);
    // From here on time passes only while everybody waits.
    tokio::time::pause();
    for (rest, _) in [2, 4, 8, 16, 32, 60, 60].into_iter().zip(0..) {
        let begun = Instant::now();
        outbox.flush().await;
        assert!(begun.elapsed() >= BOUND && begun.elapsed() < BOUND * 2, "{:?}", begun.elapsed());
        let begun = Instant::now();
        outbox.flush().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "it is left alone");
        tokio::time::advance(Duration::from_secs(rest)).await;
    }
    assert_eq!(outbox.kept.take().len(), 3);
}

#[tokio::test]
async fn what_a_collector_will_never_take_is_given_up() {
    for status in [400, 413] {
        let (address, _, _) = collector(Some(status));
        let outbox = outbox(&address, None);
        end_spans(&outbox, MOST_SENT + 2);
        outbox.flush().await;
        assert_eq!(outbox.kept.take().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_key_that_was_refused_is_read_again() {
    let (address, _, _) = collector(Some(401));
    let (outbox, secret) = (outbox(&address, Some("name")), Arc::new(Header(AtomicUsize::new(0))));
    outbox.collector.keys_are_in(secret.clone());
    end_spans(&outbox, 1);
    for _ in 0..2 {
        outbox.flush().await;
        *outbox.rest() = Rest::default();
    }
    assert_eq!((secret.0.load(Ordering::Relaxed), outbox.kept.take().len()), (2, 1));
}

#[tokio::test]
async fn a_collector_that_is_back_gets_all_that_was_kept_in_requests_it_can_take() {
    let (address, asked, _) = collector(Some(200));
    let outbox = outbox(&address, None);
    end_spans(&outbox, MOST_SENT + 1);
    *outbox.rest() = Rest { failures: 9, until: Some(Instant::now()) };
    // As often as it takes: a flush that has used up its time leaves the rest for the next.
    while outbox.kept.shelf().spans.front().is_some() {
        outbox.flush().await;
    }
    assert_eq!((asked.load(Ordering::Relaxed), outbox.rest().failures), (2, 0));
}

#[test]
fn where_there_is_no_room_the_oldest_are_given_up_and_counted() {
    let outbox = outbox("http://127.0.0.1:1", None);
    end_spans(&outbox, MOST_KEPT + 5);
    assert_eq!(outbox.kept.dropped(), 5);
    let some = outbox.kept.take_some();
    let first = some[0].span_context.span_id();
    assert_eq!(some.len(), MOST_SENT);
    end_spans(&outbox, 7);
    outbox.kept.put_back(some);
    assert_eq!((outbox.kept.dropped(), outbox.kept.shelf().spans.len()), (7, MOST_KEPT));
    assert!(outbox.kept.shelf().spans.iter().all(|span| span.span_context.span_id() != first));
    outbox.kept.shelf().spans.iter_mut().for_each(|span| span.name = "x".repeat(100_000).into());
    let bytes = outbox.kept.shelf().spans.iter().map(size_of).sum();
    outbox.kept.shelf().bytes = bytes;
    assert!(outbox.kept.take_some().len() <= MOST_SENT_BYTES / 100_000, "a request is bounded by its bytes as well");
    end_spans(&outbox, 1);
    assert!(outbox.kept.shelf().bytes <= MOST_KEPT_BYTES);
}
