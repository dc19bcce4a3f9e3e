//! The demo as a script runs it: six acts, each observed; and a reader that
//! goes away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest run of the demo: three times what it takes on a busy machine.
const DEMO_MAX: Duration = Duration::from_secs(150);
/// Longest time from a closed pipe to the end of the command.
const END_MAX: Duration = Duration::from_secs(30);

fn demo(args: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_backstop"))
        .arg("demo")
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the end, at most `max`; the exit code.
fn wait(child: &mut std::process::Child, max: Duration) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < max {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    panic!("still running after {max:?}");
}

#[test]
fn all_six_acts_are_observed_and_told_as_one_object() {
    let mut child = demo(&["--json"]);
    // One object of a few kilobytes fits into the pipe's buffer.
    let code = wait(&mut child, DEMO_MAX);
    let mut text = String::new();
    child.stdout.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(code, Some(0), "{text}");

    let report: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(report["observed"], true);
    for (act, counts) in [
        (
            "all_is_well",
            &["served_by_primary", "plans_by_policy", "answers_accepted"][..],
        ),
        (
            "failover",
            &[
                "served_by_backup",
                "served_by_rules",
                "recovered_to_backup",
                "recovered_to_primary",
            ],
        ),
        (
            "confidence",
            &[
                "escalated",
                "escalate_verdicts",
                "sent_to_review",
                "reviews_in_queue",
            ],
        ),
        (
            "canary",
            &[
                "served_by_candidate",
                "assessments",
                "served_by_stable_after",
            ],
        ),
        (
            "swap",
            &["served_by_primary_before", "served_by_backup_after"],
        ),
        (
            "hostile",
            &[
                "refused_at_load",
                "stopped_loops",
                "stopped_traps",
                "incidents",
            ],
        ),
    ] {
        let act_report = &report[act];
        assert_eq!(act_report["observed"], true, "{act}: {act_report}");
        assert_eq!(act_report["failed"], 0, "{act}: {act_report}");
        for count in counts {
            let number = act_report["counts"][count].as_u64();
            assert!(number > Some(0), "{act}.counts.{count} is {number:?}");
        }
    }
    assert_eq!(report["canary"]["counts"]["served_by_candidate_after"], 0);
    assert_eq!(report["failed"], 0);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = demo(&[]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with("a gateway on 127.0.0.1:"), "{line}");
    drop(stdout);
    let code = wait(&mut child, END_MAX);
    let mut errors = String::new();
    child.stderr.unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((code, errors.as_str()), (Some(141), ""));
}
