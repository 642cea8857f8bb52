//! The queues from behind: what is on them, byte by byte.

use serde_json::{Value, json};

use crate::client::{Answer, Client, list, number, text};

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    emulator: Client,
    /// Its address.
    pub url: String,
}

/// A message as a receiver sees it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The body, untouched.
    pub body: String,
    /// How often it was received, this time included.
    pub receives: u64,
    receipt: String,
}

impl Queue {
    /// The name of the stack in the emulator, its tasks queue and its dead-letter queue.
    ///
    /// # Panics
    /// When the emulator holds no or more than one stack.
    #[must_use]
    pub fn of_the_stack(emulator: &Client) -> (String, Self, Self) {
        let queues = call(emulator, "ListQueues", &json!({})).must(200);
        let urls: Vec<&str> = list(&queues, "QueueUrls").iter().filter_map(Value::as_str).collect();
        let tasks: Vec<&&str> = urls.iter().filter(|url| url.ends_with("-tasks")).collect();
        let [tasks] = tasks[..] else { panic!("the emulator should hold one stack; its queues: {urls:?}") };
        let name = tasks.rsplit('/').next().unwrap_or_default().trim_end_matches("-tasks").to_owned();
        let queue = |url: String| Self { emulator: emulator.clone(), url };
        (name, queue((*tasks).to_owned()), queue(format!("{tasks}-dlq")))
    }

    /// A queue of the test's own.
    #[track_caller]
    #[must_use]
    pub fn create(emulator: &Client, name: &str) -> Self {
        let made = call(emulator, "CreateQueue", &json!({"QueueName": name})).must(200);
        Self { emulator: emulator.clone(), url: text(&made, "QueueUrl") }
    }

    /// All messages: visible, in flight and delayed.
    #[track_caller]
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.awake() + self.count(&["ApproximateNumberOfMessagesNotVisible"])
    }

    /// Messages that are delivered as soon as somebody takes them, or as their delay is over.
    #[track_caller]
    #[must_use]
    pub fn awake(&self) -> u64 {
        self.count(&["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"])
    }

    #[track_caller]
    fn count(&self, names: &[&str]) -> u64 {
        let answer = self.call("GetQueueAttributes", json!({"AttributeNames": ["All"]}));
        names.iter().map(|name| text(&answer["Attributes"], name).parse::<u64>().unwrap_or(u64::MAX)).sum()
    }

    /// Up to ten messages, visible again at once.
    #[track_caller]
    #[must_use]
    pub fn look(&self) -> Vec<Message> {
        let wanted = json!({"MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "AttributeNames": ["All"]});
        let answer = self.call("ReceiveMessage", wanted);
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let message = |m: &Value| Message {
            body: text(m, "Body"),
            receives: text(&m["Attributes"], "ApproximateReceiveCount").parse().unwrap_or(0),
            receipt: text(m, "ReceiptHandle"),
        };
        messages.iter().map(message).collect()
    }

    /// The message whose body has this in it.
    #[track_caller]
    #[must_use]
    pub fn find(&self, part: &str) -> Option<Message> {
        self.look().into_iter().find(|message| message.body.contains(part))
    }

    /// Sends a message as it is.
    #[track_caller]
    pub fn send(&self, body: &str) {
        let _ = self.call("SendMessage", json!({"MessageBody": body, "MessageGroupId": "local"}));
    }

    /// Starts to move all messages to another queue, so many a second.
    #[track_caller]
    pub fn start_move(&self, to: &Self, per_second: u32) {
        let (from, to) = (self.arn(), to.arn());
        let wanted = json!({"SourceArn": from, "DestinationArn": to, "MaxNumberOfMessagesPerSecond": per_second});
        let _ = self.call("StartMessageMoveTask", wanted);
    }

    /// The state of the latest move from here, and how many messages it has moved.
    #[track_caller]
    #[must_use]
    pub fn latest_move(&self) -> (String, u64) {
        let arn = self.arn();
        let listed = self.call("ListMessageMoveTasks", json!({"SourceArn": arn}));
        let Some(latest) = list(&listed, "Results").first() else { panic!("no move: {listed}") };
        (text(latest, "Status"), number(latest, "ApproximateNumberOfMessagesMoved"))
    }

    /// Its name in the whole of AWS.
    #[track_caller]
    #[must_use]
    pub fn arn(&self) -> String {
        text(&self.call("GetQueueAttributes", json!({"AttributeNames": ["QueueArn"]}))["Attributes"], "QueueArn")
    }

    /// Removes a message that was looked at.
    #[track_caller]
    pub fn delete(&self, message: &Message) {
        let _ = self.call("DeleteMessage", json!({"ReceiptHandle": message.receipt}));
    }

    /// Removes everything, whether that works or not: for tests that have failed already.
    pub fn purge(&self) {
        let _ = call(&self.emulator, "PurgeQueue", &json!({"QueueUrl": self.url}));
    }

    #[track_caller]
    fn call(&self, operation: &str, mut body: Value) -> Value {
        body["QueueUrl"] = json!(self.url);
        let answer = call(&self.emulator, operation, &body);
        assert_eq!(answer.status, 200, "{operation}: {}", answer.body);
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }
}

#[track_caller]
fn call(emulator: &Client, operation: &str, body: &Value) -> Answer {
    let target = format!("AmazonSQS.{operation}");
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
    emulator.send("POST", "/", &headers, body.to_string().into_bytes())
}
