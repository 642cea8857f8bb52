//! What holds for every runbook before anything is run: a drill follows it, its commands are commands, its links lead somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::runbook::{Runbook, folder, names};

/// The blocks that no test runs, because they need an account: the page, the beginning of the block.
const AWS_ONLY: [(&str, &str); 5] = [
    ("README", "export STACK=reprise REPRISE_PROFILE=prod"),
    ("bad-deploy", "git log --oneline -10"),
    ("high-error-rate", "aws logs filter-log-events --log-group-name \"/aws/apigateway/$STACK\""),
    ("restore-from-backup", "BACKUP=$(aws dynamodb list-backups"),
    ("restore-from-backup", "aws dynamodb restore-table-to-point-in-time"),
];

/// The pages whose drills see no alarm go on and off again, and why.
const UNHEARD: [(&str, &str); 8] = [
    ("bulk-actions", "a job waits for a quarter of an hour before its alarm goes on"),
    ("cost-spike", "four fifths of a day's budget are spent before its alarm goes on"),
    ("high-latency", "answers take longer than any that the offline model gives"),
    ("incident-process", "it is for all alarms"),
    ("restore-from-backup", "a backup is days old before its alarm goes on"),
    ("stalled-consumer", "a canary is minutes old before its alarm goes on"),
    ("stuck-conversation", "no alarm leads there"),
    ("stuck-runs", "a run is overdue for five minutes before its alarm goes on"),
];

fn pages() -> Vec<Runbook> {
    let pages: Vec<Runbook> = names().iter().map(String::as_str).chain(["README"]).map(Runbook::read).collect();
    assert!(pages.len() > 12, "the runbooks were not found: {pages:?}");
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// As browsers of public code name the heading's place.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Runbook) -> Vec<String> {
    page.text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')))
        .map(anchor)
        .collect()
}

#[test]
fn a_drill_follows_every_runbook() {
    let drills = std::fs::read_to_string(root().join("tests/drills/runbooks.rs")).unwrap();
    for name in names() {
        assert!(drills.contains(&format!("follow(\"{name}\")")), "no drill follows infra/runbooks/{name}.md");
        let page = Runbook::read(&name);
        for part in ["# ", "README.md#set-up-your-shell", "**You see**: ", "**It is over when**", "**Close**"] {
            let is_process = name == "incident-process" && matches!(part, "**It is over when**" | "**Close**");
            assert!(is_process || page.text.contains(part), "infra/runbooks/{name}.md has no `{part}`");
        }
        assert!(page.blocks().any(|block| block.aws_only.is_none()), "infra/runbooks/{name}.md has nothing that could be run");
    }
}

#[test]
fn only_the_named_blocks_are_not_run_and_those_are_commands_all_the_same() {
    let mut unrun = Vec::new();
    for page in pages() {
        for block in page.blocks() {
            let place = format!("infra/runbooks/{}.md:{}", page.name, block.line);
            let checked = Command::new("bash").args(["-n", "-c", &block.script]).output().unwrap();
            assert!(checked.status.success(), "{place}: {}", String::from_utf8_lossy(&checked.stderr));
            if let Some(reason) = &block.aws_only {
                assert!(reason.len() > 20, "{place}: `{reason}` is no reason");
                // Nothing else would notice that the command line has changed.
                assert!(!block.script.lines().any(|line| line.trim_start().starts_with("reprise ")), "{place} has a command of ours");
                unrun.push((page.name.clone(), block.script.clone()));
            }
        }
    }
    unrun.sort();
    let named: Vec<bool> =
        unrun.iter().zip(AWS_ONLY).map(|((page, script), (name, begin))| page == name && script.starts_with(begin)).collect();
    assert!(unrun.len() == AWS_ONLY.len() && named.iter().all(|is_it| *is_it), "{unrun:#?}");
}

#[test]
fn drills_see_alarms_go_on_and_off_but_for_those_that_take_too_long() {
    let waits =
        |page: &Runbook, word: &str| page.blocks().any(|block| block.expect.until && block.expect.says.iter().any(|said| said == word));
    let silent: Vec<String> =
        names().into_iter().filter(|name| !["ALARM", "OK"].iter().all(|word| waits(&Runbook::read(name), word))).collect();
    assert_eq!(silent, UNHEARD.map(|(name, _)| name), "add the page and the reason, or let its drill wait for the alarm");
}

#[test]
fn every_link_of_a_runbook_leads_somewhere() {
    for page in pages() {
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|target| !target.contains("://")) {
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { format!("{}.md", page.name) } else { file.to_owned() };
            assert!(folder().join(&file).is_file(), "infra/runbooks/{}.md links to {target}", page.name);
            let linked = Runbook::read(file.trim_end_matches(".md"));
            assert!(
                place.is_empty() || anchors(&linked).iter().any(|anchor| anchor == place),
                "infra/runbooks/{}.md links to {target}",
                page.name
            );
        }
    }
}

#[test]
fn the_list_of_runbooks_names_each_of_them() {
    let list = Runbook::read("README").text;
    for name in names() {
        assert!(list.contains(&format!("({name}.md)")), "infra/runbooks/README.md does not name {name}.md");
    }
}

/// The names of all alarms, without the stack's.
fn alarms() -> Vec<String> {
    let files = std::fs::read_dir(root().join("infra")).unwrap().flatten().map(|entry| entry.path());
    let templates = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let texts: Vec<String> = templates.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let named = lines.filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ").and_then(|name| name.split_once("${Name}-")));
    named.map(|(_, name)| name.trim_matches(['\'', '"']).to_owned()).collect()
}

#[test]
fn every_alarm_that_a_runbook_names_is_there() {
    let alarms = alarms();
    assert!(alarms.len() > 20, "the alarms were not found: {alarms:?}");
    let mut named = 0;
    for page in pages() {
        let symptoms = page.text.lines().filter_map(|line| line.strip_prefix("**You see**:"));
        for symptom in symptoms.map(|line| line.split("**").next().unwrap_or_default()) {
            let words = symptom.split('`').skip(1).step_by(2).filter(|word| !word.contains(' '));
            let looks_like_one = |word: &&str| word.contains('-') || word.starts_with(|c: char| c.is_ascii_uppercase());
            for word in words.filter(looks_like_one) {
                assert!(alarms.iter().any(|alarm| alarm == word), "infra/runbooks/{}.md: there is no alarm {word}", page.name);
                named += 1;
            }
        }
    }
    assert!(named > 20, "the symptoms were not found: {named}");
}
