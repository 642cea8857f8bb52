//! What goes wrong in a drill, by the names that runbooks use, and the way back of each: a drill that fails leaves the stack as it was.
//!
//! | fault | what it is |
//! |---|---|
//! | `provider down` \| `limited` \| `slow` | the model provider answers 500 or 429, or takes two seconds |
//! | `dead-runs N` | N runs die of a provider that fails, of which no breaker keeps them; it is well again |
//! | `consumer stopped` | the consumer gets no messages |
//! | `sweeper stopped` | the schedule of the sweeper is off |
//! | `table FUNCTION N` | the next N calls of a function to the table are refused for their number |
//! | `poison` | a message that is none of ours is on the tasks queue |
//! | `stuck-conversation` | a run waits for a person, another message waits behind it; sets CONVERSATION |
//! | `jobs stopped` | the function of bulk actions gets no messages |
//! | `waiting-run` | a run in the background; sets RUN |
//! | `unsent-run` | a run whose message could not be sent; sets RUN |
//! | `traffic N` | N runs in the background, whatever becomes of them |
//! | `answered-run` | a run that has ended, in a conversation of its own; sets RUN and CONVERSATION |
//! | `lost-items` | a run's items are gone from the table, and in the table that a restore of it would make; sets RUN |
//! | `broken FUNCTION` | a function whose settings lack one that it needs |
//! | `bad-deploy FUNCTION` | a release whose build of that function does not start; sets BUCKET |

use serde_json::{Value, json};
use tests::client::{Client, list, text};
use tests::runs::LONG;
use tests::{Stack, fresh, wait_for};

use super::shell::Shell;

/// Something that is wrong until it is dropped.
pub(crate) struct Fault<'a> {
    pub(crate) name: String,
    undo: Option<Box<dyn FnOnce() + 'a>>,
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo.take() {
            undo();
        }
    }
}

/// How many consumers there may be at once, which runbooks change; dropped, it is as it was.
pub(crate) struct Concurrency<'a> {
    stack: &'a Stack,
    path: String,
    before: Value,
}

impl<'a> Concurrency<'a> {
    pub(crate) fn of(stack: &'a Stack) -> Self {
        let found = stack.emulator.get(&format!("/2015-03-31/event-source-mappings/?FunctionName={}-queue-consumer", stack.name)).must(200);
        let Some(mapping) = list(&found, "EventSourceMappings").first() else { panic!("no mapping: {found}") };
        let path = format!("/2015-03-31/event-source-mappings/{}", text(mapping, "UUID"));
        Self { stack, path, before: mapping["ScalingConfig"].clone() }
    }
}

impl Drop for Concurrency<'_> {
    fn drop(&mut self) {
        let body = json!({"ScalingConfig": self.before}).to_string();
        let answer = self.stack.emulator.send("PUT", &self.path, &[("content-type", "application/json")], body.into_bytes());
        assert!(answer.status < 300, "{}: {}", answer.asked, answer.body);
    }
}

/// Lets it go wrong.
pub(crate) fn inject<'a>(stack: &'a Stack, shell: &Shell, words: &[String]) -> Fault<'a> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let undo: Option<Box<dyn FnOnce() + 'a>> = match words[..] {
        ["provider", how] => Some(provider(stack, how)),
        ["dead-runs", count] => {
            dead_runs(stack, number(count));
            None
        }
        ["consumer", "stopped"] => Some(paused(stack, "queue-consumer")),
        ["jobs", "stopped"] => Some(paused(stack, "dlq-redrive")),
        ["sweeper", "stopped"] => {
            rule(stack, "DisableRule");
            Some(Box::new(|| rule(stack, "EnableRule")))
        }
        ["table", function, count] => Some(table(stack, function, number(count))),
        ["poison"] => {
            stack.tasks.send(&format!("{} is not JSON: \"quotes\" and ünïcödé", fresh("poison")));
            None
        }
        ["stuck-conversation"] => {
            stuck_conversation(stack, shell);
            None
        }
        ["waiting-run"] => {
            shell.set("RUN", &stack.start(&fresh("echo")));
            None
        }
        ["traffic", count] => {
            for _ in 0..number(count) {
                stack.start(&fresh("echo"));
            }
            None
        }
        ["unsent-run"] => {
            let rule = json!({"kind": "error", "service": "sqs", "operations": ["SendMessage"], "functions": ["agent-api"], "rate": 1, "budget": 1000});
            let undo = aws_calls(stack, &rule);
            shell.set("RUN", &stack.start(&fresh("echo")));
            undo();
            None
        }
        ["answered-run"] => {
            answered_run(stack, shell);
            None
        }
        ["lost-items"] => Some(lost_items(stack, shell)),
        ["broken", function] => Some(broken(stack, function)),
        ["bad-deploy", function] => Some(bad_deploy(shell, function)),
        _ => panic!("nobody knows the fault {words:?}"),
    };
    Fault { name: words.join(" "), undo }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn provider<'a>(stack: &'a Stack, how: &str) -> Box<dyn FnOnce() + 'a> {
    let always = |kind: &str| json!({"seed": 1, "rules": [{"kind": kind, "rate": 1, "budget": 100_000}]});
    let rules = match how {
        "down" => always("error"),
        "limited" => always("limited"),
        "slow" => json!({"seed": 1, "rules": [{"kind": "hang", "rate": 1, "budget": 100_000}]}),
        _ => panic!("a provider cannot be {how}"),
    };
    put(&stack.model, "/reprise/faults", &rules);
    Box::new(|| {
        stack.model.send("DELETE", "/reprise/faults", &[], Vec::new()).must(200);
    })
}

/// The breaker of their model stays closed meanwhile: one that opens, and when it does hangs on who is quicker, keeps them from dying.
fn dead_runs(stack: &Stack, count: u64) {
    let (provider, _) = stack.first_model();
    let patient = json!([{"name": provider, "protocol": "openai", "breaker": {"failures": 10_000}}]);
    let _never_opens = stack.reconfigure("queue-consumer", &[("PROVIDERS", &patient.to_string())]);
    let word = fresh("patient");
    let runs: Vec<String> = (0..count).map(|n| stack.start(&format!("fails until healed {word} {n}"))).collect();
    for run in &runs {
        stack.wait_until(run, "dead");
        wait_for("its message on the dead-letter queue", LONG, || stack.dead_letters.find(run).map(|_| ()).ok_or("not there"));
    }
    stack.heal(&word);
}

fn stuck_conversation(stack: &Stack, shell: &Shell) {
    let asked = stack.ask(&json!({"prompt": format!("ask me first {}", fresh("x")), "background": true})).must(202);
    let (run, conversation) = (text(&asked, "run_id"), text(&asked, "conversation_id"));
    stack.wait_until(&run, "waiting");
    let next = json!({"prompt": fresh("echo"), "conversation_id": conversation, "background": true});
    stack.ask(&next).must(202);
    shell.set("CONVERSATION", &conversation);
}

fn answered_run(stack: &Stack, shell: &Shell) -> String {
    let run = stack.ask(&json!({"prompt": fresh("echo")})).must(200);
    shell.set("RUN", &text(&run, "run_id"));
    shell.set("CONVERSATION", &text(&run, "conversation_id"));
    text(&run, "run_id")
}

/// The emulator restores no table, so this makes what would come of it, of one run's items: a test need not copy all that others wrote.
fn lost_items<'a>(stack: &'a Stack, shell: &Shell) -> Box<dyn FnOnce() + 'a> {
    let run = answered_run(stack, shell);
    let (table, keys) = (stack.table(), stack.items_with(&run));
    let restored = format!("{table}-restored");
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let _ = stack.dynamodb(
        "CreateTable",
        &json!({"TableName": restored, "BillingMode": "PAY_PER_REQUEST", "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": [attribute("pk"), attribute("sk")]}),
    );
    for (pk, sk) in keys.iter().filter_map(|key| key.split_once(' ')) {
        let _ = stack.dynamodb("PutItem", &json!({"TableName": restored, "Item": stack.item(pk, sk)}));
        stack.delete_item(pk, sk);
    }
    Box::new(move || drop(stack.dynamodb("DeleteTable", &json!({"TableName": restored}))))
}

fn rule(stack: &Stack, operation: &str) {
    let target = format!("AWSEvents.{operation}");
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
    let body = json!({"Name": format!("{}-sweeper", stack.name)});
    stack.emulator.send("POST", "/", &headers, body.to_string().into_bytes()).must(200);
}

fn paused<'a>(stack: &'a Stack, function: &str) -> Box<dyn FnOnce() + 'a> {
    let paused = stack.pause(function);
    Box::new(move || drop(paused))
}

fn table<'a>(stack: &'a Stack, function: &str, count: u64) -> Box<dyn FnOnce() + 'a> {
    aws_calls(stack, &json!({"kind": "throttle", "service": "dynamodb", "functions": [function], "rate": 1, "budget": count}))
}

/// Calls of functions to AWS go wrong.
fn aws_calls<'a>(stack: &'a Stack, rule: &Value) -> Box<dyn FnOnce() + 'a> {
    put(&stack.emulator, "/__reprise/faults", &json!({"seed": 1, "rules": [rule]}));
    Box::new(|| {
        stack.emulator.send("DELETE", "/__reprise/faults", &[], Vec::new()).must(200);
    })
}

fn put(client: &Client, path: &str, body: &Value) {
    let answer = client.send("PUT", path, &[("content-type", "application/json")], body.to_string().into_bytes());
    assert_eq!(answer.status, 200, "{}: {}", answer.asked, answer.body);
}

fn broken<'a>(stack: &'a Stack, function: &str) -> Box<dyn FnOnce() + 'a> {
    let path = format!("/2015-03-31/functions/{}-{function}/configuration", stack.name);
    let before = stack.emulator.get(&path).must(200)["Environment"].clone();
    let mut after = before.clone();
    assert!(after["Variables"].as_object_mut().is_some_and(|variables| variables.remove("TABLE_NAME").is_some()), "{before}");
    let set = move |environment: Value| put(&stack.emulator, &path, &json!({"Environment": environment}));
    set(after);
    Box::new(move || set(before))
}

fn bad_deploy<'a>(shell: &Shell, function: &str) -> Box<dyn FnOnce() + 'a> {
    const SCRIPT: &str = "sh tests/drills/runbooks/bad_deploy.sh";
    let said = shell.run(&format!("BUCKET=$STACK-artifacts\n{SCRIPT} {function}"));
    assert_eq!(said.code, 0, "{}", said.text);
    // A shell of its own: the drill's may be gone by then.
    let back = shell.copy();
    Box::new(move || assert_eq!(back.run(SCRIPT).code, 0, "the good release is not back"))
}

/// Whether the stack is as it should be before a drill: what one before it broke has healed.
pub(crate) fn is_well(stack: &Stack) -> Result<(), String> {
    let answer = stack.ask(&json!({"prompt": fresh("echo")}));
    if answer.status != 200 {
        return Err(answer.body);
    }
    let shown = stack.api.get("/v1/providers").must(200);
    let models: Vec<Value> = list(&shown, "providers").iter().flat_map(|provider| list(provider, "models").to_vec()).collect();
    let is_closed = |model: &Value| model["breaker"].is_null() || model["breaker"]["state"] == "closed";
    if models.iter().all(is_closed) { Ok(()) } else { Err(shown.to_string()) }
}
