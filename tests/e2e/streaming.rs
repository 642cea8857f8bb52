//! Runs that are read along with, through the gateway: the first word before the last, readers that leave and come back.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value, json};
use tests::client::text;
use tests::{Stack, fresh};

/// What the offline model says piece by piece, for about four seconds.
fn prompt() -> String {
    fresh("say it piece by piece")
}

/// A stream of events, as it comes.
struct Events(BufReader<Box<dyn Read>>);

/// One event.
#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

impl Events {
    fn ask(stack: &Stack, body: &Value) -> Self {
        let (status, stream) = stack.api.open("POST", "/v1/agent", &[("content-type", "application/json")], body.to_string().into_bytes());
        assert_eq!(status, 200);
        Self(BufReader::new(stream))
    }

    fn of(stack: &Stack, run: &str, last: Option<&str>) -> Self {
        let headers: Vec<_> = last.map(|id| ("last-event-id", id)).into_iter().collect();
        let (status, stream) = stack.api.open("GET", &format!("/v1/runs/{run}/stream"), &headers, Vec::new());
        assert_eq!(status, 200);
        Self(BufReader::new(stream))
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let (mut id, mut name, mut data) = (None, None, None);
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).unwrap_or_else(|error| panic!("the stream broke off: {error}")) == 0 {
                    return None;
                }
                match line.trim_end().split_once(": ") {
                    None => break,
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("event", value)) => name = Some(value.to_owned()),
                    Some(("data", value)) => data = Some(serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {value}"))),
                    Some(_) => {}
                }
            }
            if let (Some(name), Some(data)) = (name, data) {
                return Some(Event { id, name, data });
            }
        }
    }
}

/// What a reader has read.
#[derive(Default)]
struct Reader {
    last: Option<String>,
    said: String,
    response: Option<String>,
}

impl Reader {
    fn read(&mut self, event: &Event) {
        match event.name.as_str() {
            "delta" => self.said.push_str(&text(&event.data, "text")),
            "reset" => self.said.clear(),
            "done" => self.response = Some(text(&event.data, "response")),
            "error" | "cancelled" => panic!("{event:?}"),
            _ => {}
        }
        self.last = event.id.clone().or(self.last.take());
    }
}

/// How many model calls of a run are over.
fn ended_calls(stack: &Stack, run: &str) -> usize {
    let calls = stack.model.get("/reprise/calls").must(200);
    let is_of_run = |call: &&Value| call["key"].as_str().is_some_and(|key| key.starts_with(run));
    calls["calls"].as_array().map_or(0, |calls| calls.iter().filter(is_of_run).count())
}

#[test]
fn the_first_word_is_there_before_the_model_has_said_the_last() {
    let stack = Stack::beside();
    let mut events = Events::ask(&stack, &json!({"prompt": prompt(), "stream": true}));
    let (mut reader, mut run) = (Reader::default(), String::new());
    while reader.said.is_empty() {
        let event = events.next().expect("an event");
        if event.name == "run" {
            run = text(&event.data, "run_id");
        }
        reader.read(&event);
    }
    assert_eq!(ended_calls(&stack, &run), 0, "the model is not done, and `{}` was said", reader.said);
    // Nor is the run, and another reader hears of it too.
    assert_eq!(stack.run(&run)["status"], "running");
    let mut other = Reader::default();
    let mut elsewhere = Events::of(&stack, &run, None);
    while other.said.is_empty() {
        other.read(&elsewhere.next().expect("an event"));
    }
    assert_eq!(ended_calls(&stack, &run), 0, "the model is not done, and `{}` was said elsewhere", other.said);
    events.for_each(|event| reader.read(&event));
    elsewhere.for_each(|event| other.read(&event));
    let answer = text(&stack.run(&run), "response");
    assert_eq!((reader.response.as_ref(), &reader.said, &other.said), (Some(&answer), &answer, &answer));
    assert_eq!(ended_calls(&stack, &run), 1);
}

#[test]
fn a_client_that_is_cut_off_at_twenty_places_has_the_answer_to_the_byte() {
    let stack = Stack::beside();
    let mut dice = fastrand::Rng::with_seed(20);
    let (mut reader, mut cuts, mut run) = (Reader::default(), 0, String::new());
    let mut events = Events::ask(&stack, &json!({"prompt": prompt(), "stream": true}));
    while reader.response.is_none() {
        let mut left = dice.usize(1..4);
        for event in events.by_ref() {
            if event.name == "run" {
                run = text(&event.data, "run_id");
                continue;
            }
            reader.read(&event);
            left -= 1;
            if left == 0 {
                break;
            }
        }
        if reader.response.is_none() && cuts < 20 {
            cuts += 1;
            // Dropped, the connection is gone.
            events = Events::of(&stack, &run, reader.last.as_deref());
        }
    }
    let answer = text(&stack.run(&run), "response");
    assert_eq!((reader.said.as_bytes(), reader.response), (answer.as_bytes(), Some(answer.clone())));
    assert!(cuts >= 5, "{cuts}");
    // The rest of the twenty long after, from places drawn within the text.
    let whole: Vec<Event> = Events::of(&stack, &run, None).collect();
    let id = whole.iter().find(|event| event.name == "delta").and_then(|event| event.id.clone()).expect("an id");
    let attempt = id.rsplit_once('.').expect("step, try and offset").0;
    for _ in cuts..40 {
        let offset = answer.floor_char_boundary(dice.usize(..answer.len()));
        let mut late = Reader { last: None, said: answer[..offset].to_owned(), response: None };
        Events::of(&stack, &run, Some(&format!("{attempt}.{offset}"))).for_each(|event| late.read(&event));
        assert_eq!(late.said.as_bytes(), answer.as_bytes(), "from {offset}");
    }
    assert_eq!(ended_calls(&stack, &run), 1);
}

#[test]
fn a_client_that_leaves_does_not_stop_the_run() {
    let stack = Stack::beside();
    let mut events = Events::ask(&stack, &json!({"prompt": prompt(), "stream": true}));
    let run = text(&events.next().expect("an event").data, "run_id");
    drop(events);
    let ended = stack.wait_until(&run, "completed");
    assert_eq!((&ended["status"], ended_calls(&stack, &run)), (&json!("completed"), 1));
}

#[test]
fn a_run_on_the_queue_is_read_along_with() {
    let stack = Stack::beside();
    let accepted = stack.ask(&json!({"prompt": prompt(), "background": true})).must(202);
    let run = text(&accepted, "run_id");
    let mut reader = Reader::default();
    let mut events = Events::of(&stack, &run, None);
    while reader.said.is_empty() {
        reader.read(&events.next().expect("an event"));
    }
    assert_eq!(ended_calls(&stack, &run), 0, "the model is not done, and `{}` was said", reader.said);
    events.for_each(|event| reader.read(&event));
    assert_eq!(reader.said, text(&stack.run(&run), "response"));
}
