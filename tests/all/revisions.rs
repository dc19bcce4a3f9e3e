//! Activation, going back, swapping under load, the cache on disk, replay.

use backstop::record::{HostCall, RunOutcome};
use backstop::{
    ActivationErrorKind, ActivationRequest, DecisionPoint, DecisionRecord, Difference, FailureKind,
    Grants, Host, HostOptions, Isolation, PolicyOptions, RollBackError,
};
use backstop_tests::facts;
use backstop_tests::guest::HOSTILE;
use backstop_tests::sources::{Models, Rates};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn host() -> Host {
    host_with(HostOptions::default())
}

fn host_with(options: HostOptions) -> Host {
    let sources = Host::builder()
        .options(options)
        .metrics(Arc::new(Rates::default()));
    sources.models(Arc::new(Models::default())).build().unwrap()
}

fn options(number: u32) -> PolicyOptions {
    PolicyOptions {
        settings: json!({ "number": number }),
        grants: Grants {
            metrics: vec!["*".to_owned()],
            models: vec!["*".to_owned()],
            state: true,
            ..Grants::default()
        },
        ..PolicyOptions::default()
    }
}

async fn decide(host: &Host) -> Arc<DecisionRecord> {
    let policy = host.policy("p").unwrap();
    host.decide_fallback(&policy, Arc::new(facts::request()), &facts::default_plan())
        .await
        .record
}

#[tokio::test]
async fn three_former_revisions_stay_ready_and_going_back_is_a_pointer() {
    let host = host();
    for number in 1..=5 {
        let info = host.activate("p", HOSTILE, options(number)).await.unwrap();
        assert_eq!(info.number, u64::from(number));
    }
    assert_eq!(host.policies()[0].ready, [2, 3, 4, 5]);
    assert_eq!(host.roll_back("p", None).unwrap().number, 4);
    assert_eq!(decide(&host).await.revision.number, 4);
    assert_eq!(host.roll_back("p", None).unwrap().number, 3);
    assert_eq!(host.roll_back("p", Some(5)).unwrap().number, 5);
    assert_eq!(decide(&host).await.revision.number, 5);
    let not_ready = host.roll_back("p", Some(1)).unwrap_err();
    assert!(
        matches!(&not_ready, RollBackError::NotReady { ready, .. } if *ready == [2, 3, 4, 5]),
        "{not_ready}"
    );
    assert!(matches!(
        host.roll_back("q", None),
        Err(RollBackError::UnknownPolicy(_))
    ));
    let history = host.history("p").unwrap();
    assert_eq!(
        history.iter().map(|info| info.number).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
}

#[tokio::test]
async fn a_component_that_does_not_decide_where_it_is_asked_is_refused() {
    let host = host();
    let asked = |points: &[DecisionPoint]| ActivationRequest {
        options: PolicyOptions {
            grants: options(0).grants,
            ..PolicyOptions::default()
        },
        points: points.to_vec(),
        ..ActivationRequest::default()
    };
    let judge = backstop_policies::component("confidence-threshold").unwrap();
    let fallback = [DecisionPoint::Fallback];
    host.activate("p", HOSTILE, asked(&fallback)).await.unwrap();
    for error in [
        host.check("p", judge, asked(&fallback)).await.unwrap_err(),
        host.activate("p", judge, asked(&fallback))
            .await
            .unwrap_err(),
    ] {
        let text = error.to_string();
        for part in ["`p`", "`fallback`", "`threshold`", "bind another policy"] {
            assert!(text.contains(part), "`{text}` does not say `{part}`");
        }
        assert_eq!(error.serving, Some(1));
    }
    assert_eq!(decide(&host).await.revision.number, 1);

    // What is ready already is refused as well: only the needs differ.
    let threshold = [DecisionPoint::Threshold];
    let info = host.activate("p", judge, asked(&threshold)).await.unwrap();
    let error = host.activate("p", judge, asked(&fallback)).await;
    assert!(matches!(
        error.unwrap_err().kind,
        ActivationErrorKind::MissingPoint { .. }
    ));
    // What an embedder needs is no part of what a revision is.
    let again = host.activate("p", judge, asked(&[])).await.unwrap();
    assert_eq!(again.digest, info.digest);
}

#[tokio::test]
async fn the_digest_is_that_of_component_and_options() {
    let host = host();
    let one = host.activate("p", HOSTILE, options(1)).await.unwrap();
    let two = host.activate("p", HOSTILE, options(2)).await.unwrap();
    let again = host.activate("p", HOSTILE, options(1)).await.unwrap();
    assert_ne!(one.digest, two.digest);
    assert_eq!(one.digest, again.digest);
    assert_eq!(one.component_digest, two.component_digest);
    assert_eq!(again.number, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_decision_and_every_record_names_its_revision() {
    let host = host();
    host.activate("p", HOSTILE, options(1)).await.unwrap();
    host.activate("p", HOSTILE, options(2)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (host, done) = (host.clone(), done.clone());
        async move {
            let mut seen = [0_u64; 3];
            while !done.load(Ordering::Relaxed) {
                let record = decide(&host).await;
                assert_eq!(record.outcome, RunOutcome::Answered);
                seen[record.revision.number as usize] += 1;
                tokio::task::yield_now().await;
            }
            seen
        }
    });
    for swap in 0..100 {
        host.roll_back("p", Some(swap % 2 + 1)).unwrap();
        // The next decision sees the swap.
        assert_eq!(decide(&host).await.revision.number, swap % 2 + 1);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    done.store(true, Ordering::Relaxed);
    let seen = load.await.unwrap();
    assert!(seen[1] > 0 && seen[2] > 0, "{seen:?}");
}

#[tokio::test]
async fn compiled_code_is_read_back_and_a_changed_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("code");
    let options_of_host = || HostOptions {
        cache_dir: Some(cache_dir.clone()),
        ..HostOptions::default()
    };
    host_with(options_of_host())
        .activate("p", HOSTILE, options(1))
        .await
        .unwrap();
    let files = || -> Vec<_> {
        std::fs::read_dir(&cache_dir)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect()
    };
    let written = files();
    assert_eq!(
        written.len(),
        2,
        "the instrumented component and the configured one"
    );
    for file in &written {
        let mut content = std::fs::read(file).unwrap();
        let last = content.len() - 1;
        content[last] ^= 1;
        std::fs::write(file, content).unwrap();
    }
    let host = host_with(options_of_host());
    host.activate("p", HOSTILE, options(1)).await.unwrap();
    assert_eq!(decide(&host).await.outcome, RunOutcome::Answered);
    assert_eq!(files().len(), 2, "compiled anew");
}

/// What a start reads back is what it runs: with the compiled code of two
/// revisions exchanged in the folder, the second start decides by the other's.
#[tokio::test]
async fn a_second_start_runs_the_compiled_code_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("code");
    let start = || {
        host_with(HostOptions {
            cache_dir: Some(cache_dir.clone()),
            ..HostOptions::default()
        })
    };
    let files = || -> BTreeSet<PathBuf> {
        std::fs::read_dir(&cache_dir)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect()
    };
    let misdeed = |misdeed: &str| PolicyOptions {
        settings: json!({ "misdeed": misdeed }),
        ..options(0)
    };
    let host = start();
    // The instrumented component is the same for all settings, so the second
    // and the third activation write one file each.
    host.activate("p", HOSTILE, misdeed("none")).await.unwrap();
    let first = files();
    host.activate("p", HOSTILE, misdeed("trap")).await.unwrap();
    let second = files();
    host.activate("p", HOSTILE, misdeed("no-steps"))
        .await
        .unwrap();
    let third = files();
    let [trap] = &Vec::from_iter(second.difference(&first))[..] else {
        panic!("{second:?}")
    };
    let [no_steps] = &Vec::from_iter(third.difference(&second))[..] else {
        panic!("{third:?}")
    };
    let aside = dir.path().join("aside");
    std::fs::rename(trap, &aside).unwrap();
    std::fs::rename(no_steps, trap).unwrap();
    std::fs::rename(&aside, no_steps).unwrap();

    let host = start();
    for (activated, runs) in [
        ("trap", FailureKind::InvalidOutput),
        ("no-steps", FailureKind::Trap),
    ] {
        let activated = misdeed(activated);
        host.activate("p", HOSTILE, activated).await.unwrap();
        let outcome = &decide(&host).await.outcome;
        assert!(
            matches!(outcome, RunOutcome::Failed { kind, .. } if *kind == runs),
            "{outcome:?}"
        );
    }
    assert_eq!(files(), third, "nothing was compiled");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_others_may_write_to_holds_no_compiled_code() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let options = HostOptions {
        cache_dir: Some(dir.path().to_owned()),
        ..HostOptions::default()
    };
    let error = Host::builder().options(options).build().unwrap_err();
    assert!(
        error.to_string().contains("writable by nobody else"),
        "{error}"
    );
}

#[tokio::test]
async fn warm_instances_decide_as_fresh_ones_and_are_retired_on_failure() {
    let host = host();
    let warm = PolicyOptions {
        isolation: Isolation::Warm,
        ..options(1)
    };
    host.activate("p", HOSTILE, warm.clone()).await.unwrap();
    let first = decide(&host).await;
    let second = decide(&host).await;
    assert_eq!(first.returned, second.returned);
    assert!(second.cost.guest_ns > 0);
    let mut trapping = warm;
    trapping.settings = json!({"misdeed": "trap"});
    trapping.revert.failures = 0;
    host.activate("p", HOSTILE, trapping).await.unwrap();
    for _ in 0..3 {
        // A store that trapped cannot be entered again: each trap is the
        // guest's own, so each is a new instance's.
        let outcome = decide(&host).await.outcome.clone();
        let RunOutcome::Failed { detail, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert!(detail.contains("unreachable"), "{detail}");
    }
}

/// Instances that a guest could leave something in are not used again.
#[tokio::test]
async fn policies_that_cannot_be_put_back_are_told_why() {
    let host = host();
    let put_back = PolicyOptions {
        isolation: Isolation::Reset,
        ..options(1)
    };
    let confidence = backstop_policies::component("confidence-threshold").unwrap();
    let settings = PolicyOptions {
        settings: json!({}),
        ..put_back.clone()
    };
    for (component, options, why) in [
        (HOSTILE, put_back, "it may call models"),
        (confidence, settings, "it decides at `threshold`"),
    ] {
        let error = host.activate("p", component, options).await.unwrap_err();
        assert!(
            matches!(&error.kind, ActivationErrorKind::NoReset(told) if told == why),
            "{error}"
        );
    }
    assert!(host.policy("p").is_none());
}

#[tokio::test]
async fn a_warm_instance_keeps_its_memory_and_a_fresh_one_has_none() {
    let host = host();
    let mut counting = options(0);
    counting.settings = json!({"misdeed": "count-in-memory"});
    for (isolation, expected) in [
        (Isolation::Fresh, ["0", "0", "0"]),
        (Isolation::Warm, ["0", "1", "2"]),
    ] {
        counting.isolation = isolation;
        host.activate("p", HOSTILE, counting.clone()).await.unwrap();
        let mut counted = Vec::new();
        for _ in 0..3 {
            match &decide(&host).await.outcome {
                RunOutcome::Abstained { reason } => counted.push(reason.clone()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(counted, expected, "{isolation:?}");
    }
}

#[tokio::test]
async fn records_replay_without_a_difference_and_a_change_is_found() {
    let host = host();
    let mut counting = options(1);
    counting.settings = json!({"misdeed": "count"});
    host.activate("p", HOSTILE, counting.clone()).await.unwrap();
    let record = decide(&host).await;
    assert_eq!(record.calls.len(), 1);
    // As it would come back from a file.
    let text = serde_json::to_string(&*record).unwrap();
    let read: DecisionRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);

    let replayer = host.replayer(HOSTILE, counting).await.unwrap();
    assert_eq!(replayer.replay(Arc::new(read.clone())).await, None);
    let mut changed = read.clone();
    let HostCall::StateAdd { result, .. } = &mut changed.calls[0] else {
        panic!("{:?}", changed.calls)
    };
    *result = Ok(7);
    let difference = replayer.replay(Arc::new(changed)).await;
    assert!(
        matches!(difference, Some(Difference::Outcome { .. })),
        "{difference:?}"
    );
    let mut shortened = read.clone();
    shortened.calls.clear();
    let difference = replayer.replay(Arc::new(shortened)).await;
    assert!(
        matches!(
            difference,
            Some(Difference::Call {
                position: 0,
                recorded: None,
                ..
            })
        ),
        "{difference:?}"
    );
    let mut other = read;
    other.cost.fuel += 1;
    let difference = replayer.replay(Arc::new(other)).await;
    assert!(
        matches!(difference, Some(Difference::Fuel { .. })),
        "{difference:?}"
    );
}

#[tokio::test]
async fn a_run_that_fuel_stopped_replays_exactly() {
    let host = host();
    let mut looping = options(1);
    looping.settings = json!({"misdeed": "loop"});
    looping.limits.fuel = 100_000;
    looping.limits.deadline_ms = Some(10_000);
    host.activate("p", HOSTILE, looping.clone()).await.unwrap();
    let record = decide(&host).await;
    let text = serde_json::to_string(&*record).unwrap();
    assert!(text.contains(r#""over":"fuel""#), "{text}");

    // Neither is the replay stopped by a clock that runs faster than its fuel.
    looping.limits.deadline_ms = Some(1);
    let replayer = host.replayer(HOSTILE, looping).await.unwrap();
    let replay = async |text: &str| {
        let record: DecisionRecord = serde_json::from_str(text).unwrap();
        replayer.replay(Arc::new(record)).await
    };
    assert_eq!(replay(&text).await, None);
    let fuel = format!(r#""fuel":{}"#, record.cost.fuel);
    let difference = replay(&text.replace(&fuel, r#""fuel":7"#)).await;
    assert!(
        matches!(difference, Some(Difference::Fuel { recorded: 7, .. })),
        "{difference:?}"
    );

    // Records from before the two were told apart still read, and are taken
    // for stopped by the clock.
    let old = text
        .replace(r#""over":"fuel","#, "")
        .replace(&fuel, r#""fuel":7"#);
    assert!(!old.contains("over\":"), "{old}");
    assert_eq!(replay(&old).await, None);
}

#[tokio::test]
async fn the_ring_of_records_is_bounded() {
    let host = host_with(HostOptions {
        records_max: 3,
        ..HostOptions::default()
    });
    host.activate("p", HOSTILE, options(1)).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(decide(&host).await.id);
    }
    assert!(ids.is_sorted());
    let kept: Vec<_> = host
        .records()
        .newest(10)
        .iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(kept, [ids[4], ids[3], ids[2]]);
    assert_eq!(host.records().dropped(), 2);
    assert!(host.records().get(ids[0]).is_none());
    assert!(host.records().get(ids[4]).is_some());
}
