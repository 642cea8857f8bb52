//! Where `make rollback` goes: from the names of the releases alone, by the shell functions that it uses itself.

use std::path::Path;
use std::process::Command;

/// What a function of `infra/deploy/release.sh` makes of these releases.
fn ask(function: &str, releases: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = format!("set -eu; stack=s; . infra/deploy/release.sh; printf '%s\\n' \"$@\" | {function}");
    let output = Command::new("sh").args(["-c", &script, "sh"]).args(releases).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{function}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Where a rollback goes from there, when the stack is `status`.
fn goes_to(releases: &[&str], status: &str, unseen: &str) -> Option<String> {
    let found = ask(&format!("release_before {status} '{unseen}'"), releases);
    assert!(found.len() < 2, "{found:?}");
    found.into_iter().next()
}

const OLD: &str = "20260101T000000Z-v1-aaaaaaaaaaaa";
const GOOD: &str = "20260102T000000Z-v2-3-gabc-dirty-bbbbbbbbbbbb";
const BAD: &str = "20260103T000000Z-v3-cccccccccccc";
const BAD_AGAIN: &str = "20260103T001000Z-v3-cccccccccccc";
const BACK: &str = "20260103T002000Z-back-to-v2-3-gabc-dirty-bbbbbbbbbbbb";
const COMPLETE: &str = "UPDATE_COMPLETE";

#[test]
fn a_rollback_goes_to_the_release_before() {
    assert_eq!(goes_to(&[OLD, GOOD, BAD], COMPLETE, "").as_deref(), Some(GOOD));
    assert_eq!(goes_to(&[OLD], COMPLETE, ""), None, "there is only what runs");
}

#[test]
fn a_deploy_that_changed_nothing_is_nothing_to_go_back_to() {
    assert_eq!(goes_to(&[OLD, GOOD, BAD, BAD_AGAIN], COMPLETE, "").as_deref(), Some(GOOD));
}

#[test]
fn going_back_twice_goes_back_further_and_never_to_what_was_left() {
    assert_eq!(goes_to(&[OLD, GOOD, BAD, BACK], COMPLETE, "").as_deref(), Some(OLD));
    assert_eq!(goes_to(&[GOOD, BAD, BAD_AGAIN, BACK], COMPLETE, ""), None, "what is before the good one was never kept");
    let mended = "20260104T000000Z-v4-dddddddddddd";
    assert_eq!(goes_to(&[OLD, GOOD, BAD, BACK, mended], COMPLETE, "").as_deref(), Some(GOOD));
    let back_to_old = "20260103T003000Z-back-to-v1-aaaaaaaaaaaa";
    assert_eq!(ask("way_back", &[OLD, GOOD, BAD, BACK, back_to_old]), [OLD]);
}

#[test]
fn a_release_that_was_left_may_be_chosen_and_deployed_again() {
    let forward = "20260103T003000Z-back-to-v3-cccccccccccc";
    assert_eq!(ask("way_back", &[OLD, GOOD, BAD, BACK, forward]), [OLD, GOOD, forward]);
    let deployed = "20260103T003000Z-v3-cccccccccccc";
    assert_eq!(goes_to(&[OLD, GOOD, BAD, BACK, deployed], COMPLETE, "").as_deref(), Some(GOOD));
}

#[test]
fn a_deploy_whose_end_nobody_saw_runs_unless_it_was_taken_back() {
    let unseen = "20260103T000000Z-v3";
    assert_eq!(goes_to(&[OLD, GOOD], COMPLETE, unseen).as_deref(), Some(GOOD));
    assert_eq!(goes_to(&[OLD, GOOD], "UPDATE_ROLLBACK_COMPLETE", unseen).as_deref(), Some(OLD));
    let back = "20260103T002000Z-back-to-v2-3-gabc-dirty";
    assert_eq!(goes_to(&[OLD, GOOD, BAD], COMPLETE, back).as_deref(), Some(GOOD), "a rollback is gone through again");
}

#[test]
fn only_a_deploy_after_the_newest_release_is_unfinished() {
    // What the bucket lists, in place of the call that asks it.
    let unfinished = |kept: &[&str]| ask("{ kept=$(cat); list_kept() { echo \"$kept\"; }; unfinished; }", kept);
    let [good, bad] = [GOOD, BAD].map(|release| format!("{release}.yaml"));
    let (begun_good, begun_bad) = ("20260102T000000Z-v2-3-gabc-dirty.begun", "20260103T000000Z-v3.begun");
    assert_eq!(unfinished(&[begun_good, &good, begun_bad]), ["20260103T000000Z-v3"]);
    assert!(unfinished(&[begun_good, &good, begun_bad, &bad]).is_empty());
    assert!(unfinished(&[begun_good, &good]).is_empty());
}
