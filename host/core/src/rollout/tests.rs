//! Rollouts by policy, by hand, and by arbitrary orders.

use super::*;
use crate::input::RolloutStage;
use proptest::prelude::*;
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;
const DWELL: u64 = 60_000;

fn plan() -> RolloutPlan {
    RolloutPlan {
        model: "m".into(),
        candidate: "v3".into(),
        stable: "v2".into(),
        stable_pinned: false,
        config: RolloutConfig {
            steps: vec![5, 50],
            dwell_ms_min: DWELL,
            ..RolloutConfig::default()
        },
    }
}

fn ready() -> Vec<Arc<str>> {
    ["v3", "v2", "v1"].map(Arc::from).to_vec()
}

fn policy() -> Decider {
    Decider::Policy {
        name: "p".into(),
        revision: "d".into(),
    }
}

fn person() -> Decider {
    Decider::Person { name: "ada".into() }
}

fn begin(plan: RolloutPlan) -> (Rollout, RolloutEvent) {
    Rollout::begin(plan, None, person(), "try it", NOW).unwrap()
}

fn order(command: Command, by: Decider) -> Order {
    Order {
        command,
        by,
        reason: "because".to_string(),
        version: None,
        evidence: true,
    }
}

/// What comes of a directive after the dwell, with evidence.
fn say(
    rollout: &mut Rollout,
    directive: Directive,
    by: Decider,
) -> Result<Option<RolloutChange>, Refused> {
    let order = order(Command::Directive(directive), by);
    let event = rollout.apply(order, &ready(), NOW + 10 * DWELL)?;
    Ok(event.map(|event| event.change))
}

fn back(to: &str) -> RolloutChange {
    RolloutChange::RolledBack { to: to.into() }
}

#[test]
fn a_good_candidate_goes_through_its_steps_to_promotion() {
    let (mut rollout, _) = begin(plan());
    let mut now_ms = NOW;
    let mut seen = Vec::new();
    loop {
        seen.push((rollout.share_percent(), rollout.next_share_percent()));
        if rollout.status().is_end() {
            break;
        }
        now_ms += DWELL;
        let order = order(Command::Directive(Directive::Advance), policy());
        rollout.apply(order, &ready(), now_ms).unwrap().unwrap();
    }
    assert_eq!(seen, [(5, Some(50)), (50, None), (100, None)]);
    assert_eq!(rollout.status(), &RolloutStatus::Promoted);
    assert_eq!(&**rollout.serving(), "v3");
    assert_eq!(
        say(&mut rollout, Directive::RollBack(None), person()),
        Err(Refused::Ended("promoted"))
    );
}

#[test]
fn a_policy_waits_for_the_dwell_and_a_person_need_not() {
    let (mut rollout, _) = begin(plan());
    let advance = |by| order(Command::Directive(Directive::Advance), by);
    let early = NOW + DWELL - 1;
    for directive in [Directive::Advance, Directive::Promote] {
        let order = order(Command::Directive(directive), policy());
        let refused = rollout.apply(order, &ready(), early);
        assert_eq!(refused, Err(Refused::Dwell { left_ms: 1 }));
    }
    assert_eq!(
        rollout.apply(advance(policy()), &ready(), 0),
        Err(Refused::Dwell { left_ms: DWELL }),
        "a clock that stepped back is no dwell"
    );
    rollout.apply(advance(person()), &ready(), early).unwrap();
    assert_eq!(rollout.share_percent(), 50);
    assert!(
        rollout
            .apply(advance(policy()), &ready(), NOW + DWELL)
            .is_err()
    );
}

#[test]
fn without_evidence_a_policy_goes_nowhere_but_back() {
    let without = |directive| Order {
        evidence: false,
        ..order(Command::Directive(directive), policy())
    };
    let late = NOW + DWELL;
    let (mut rollout, _) = begin(plan());
    for directive in [Directive::Advance, Directive::Promote] {
        let refused = rollout.apply(without(directive), &ready(), late);
        assert_eq!(refused, Err(Refused::NoEvidence));
    }
    let event = rollout
        .apply(without(Directive::RollBack(None)), &ready(), NOW)
        .unwrap();
    assert_eq!(event.unwrap().change, back("v2"));

    let mut lax = plan();
    lax.config.evidence_required = false;
    let (mut rollout, _) = begin(lax);
    assert!(
        rollout
            .apply(without(Directive::Advance), &ready(), late)
            .is_ok()
    );
}

#[test]
fn a_roll_back_goes_to_stable_or_to_a_ready_release() {
    for (to, expected) in [
        (None, Ok("v2")),
        (Some("v2"), Ok("v2")),
        (Some("v1"), Ok("v1")),
        (Some("v3"), Err("v3")),
        (Some("v0"), Err("v0")),
    ] {
        let (mut rollout, _) = begin(plan());
        let directive = Directive::RollBack(to.map(String::from));
        let result = say(&mut rollout, directive, policy());
        match expected {
            Ok(release) => {
                assert_eq!(result, Ok(Some(back(release))));
                assert_eq!(&**rollout.serving(), release);
                assert_eq!(rollout.share_percent(), 0);
            }
            Err(release) => {
                assert_eq!(result, Err(Refused::NoTarget(release.to_string())));
                assert_eq!(rollout.status(), &RolloutStatus::Running);
            }
        }
    }
}

#[test]
fn a_paused_rollout_waits_for_a_person() {
    let (mut rollout, _) = begin(plan());
    say(&mut rollout, Directive::Pause, policy()).unwrap();
    assert!(!rollout.is_assessed());
    assert_eq!(rollout.share_percent(), 5);
    for directive in [Directive::Advance, Directive::RollBack(None)] {
        assert_eq!(say(&mut rollout, directive, policy()), Err(Refused::Paused));
    }
    assert_eq!(say(&mut rollout, Directive::Pause, policy()), Ok(None));
    let resume = |by| order(Command::Resume, by);
    assert_eq!(
        rollout.apply(resume(policy()), &ready(), NOW),
        Err(Refused::NotAllowed)
    );
    rollout.apply(resume(person()), &ready(), NOW).unwrap();
    assert_eq!(
        rollout.apply(resume(person()), &ready(), NOW),
        Err(Refused::NotPaused)
    );
}

#[test]
fn a_policy_does_not_undo_a_resumption_at_the_same_share() {
    let resumed = |pin_ms| {
        let mut plan = plan();
        plan.config.pin_ms = pin_ms;
        let (mut rollout, _) = begin(plan);
        say(&mut rollout, Directive::Pause, policy()).unwrap();
        rollout
            .apply(order(Command::Resume, person()), &ready(), NOW)
            .unwrap();
        rollout
    };
    let mut rollout = resumed(0);
    for directive in [Directive::RollBack(None), Directive::Pause] {
        assert_eq!(say(&mut rollout, directive, policy()), Err(Refused::Pinned));
    }
    say(&mut rollout, Directive::Advance, policy()).unwrap();
    assert_eq!(
        say(&mut rollout, Directive::RollBack(None), policy()),
        Ok(Some(back("v2"))),
        "the share has changed"
    );
    assert!(say(&mut resumed(0), Directive::RollBack(None), person()).is_ok());
    assert!(
        say(
            &mut resumed(10 * DWELL),
            Directive::RollBack(None),
            policy()
        )
        .is_ok()
    );
    assert!(
        say(
            &mut resumed(10 * DWELL + 1),
            Directive::RollBack(None),
            policy()
        )
        .is_err()
    );
}

#[test]
fn a_policy_does_not_go_behind_what_a_person_promoted() {
    let promoted_by = |by: Decider| {
        let first = RolloutPlan {
            candidate: "v2".into(),
            stable: "v1".into(),
            ..plan()
        };
        let (mut first, _) = begin(first);
        say(&mut first, Directive::Promote, by).unwrap();
        Rollout::begin(plan(), Some(&first), policy(), "", NOW)
            .unwrap()
            .0
    };
    let behind = || Directive::RollBack(Some("v1".to_string()));
    let mut by_person = promoted_by(person());
    assert_eq!(
        say(&mut by_person, behind(), policy()),
        Err(Refused::Pinned)
    );
    assert!(say(&mut by_person, behind(), person()).is_ok());
    let mut by_person = promoted_by(person());
    assert!(say(&mut by_person, Directive::RollBack(None), policy()).is_ok());
    assert!(say(&mut promoted_by(policy()), behind(), policy()).is_ok());
}

#[test]
fn a_model_has_one_rollout_at_a_time() {
    let (mut rollout, _) = begin(plan());
    let again = |previous: &Rollout| Rollout::begin(plan(), Some(previous), person(), "", NOW);
    assert_eq!(
        again(&rollout).unwrap_err().to_string(),
        "model `m` has a rollout of `v3` already: end it first"
    );
    rollout
        .apply(order(Command::Abort, Decider::Host), &ready(), NOW)
        .unwrap();
    assert_eq!(
        (rollout.status(), rollout.share_percent()),
        (&RolloutStatus::Aborted, 0)
    );
    assert_eq!(&**rollout.serving(), "v2");
    assert!(again(&rollout).is_ok());
    let (mut other, _) = begin(plan());
    let refused = other.apply(order(Command::Abort, policy()), &ready(), NOW);
    assert_eq!(refused, Err(Refused::NotAllowed));
}

#[test]
fn an_assessment_that_was_overtaken_is_refused() {
    let (mut rollout, _) = begin(plan());
    let version = rollout.version();
    say(&mut rollout, Directive::Advance, person()).unwrap();
    let assessment = Assessment {
        directive: Directive::RollBack(None),
        reason: String::new(),
    };
    let late = Order::assessed(assessment, policy(), version, true);
    assert_eq!(rollout.apply(late, &ready(), NOW), Err(Refused::Overtaken));
    assert_eq!(rollout.share_percent(), 50);
}

#[test]
fn holding_changes_and_logs_nothing() {
    let (mut rollout, _) = begin(plan());
    let before = rollout.clone();
    assert_eq!(say(&mut rollout, Directive::Hold, policy()), Ok(None));
    assert_eq!(rollout, before);
}

#[test]
fn a_shadow_stage_comes_before_the_first_share() {
    let mut shadowed = plan();
    shadowed.config.shadow = true;
    let (mut rollout, _) = begin(shadowed);
    let facts = rollout.facts(&ready(), NOW + 5);
    assert_eq!(facts.stage, RolloutStage::Shadow);
    assert_eq!(
        (facts.share_percent, facts.next_share_percent),
        (0, Some(5))
    );
    assert!(rollout.is_shadow());
    say(&mut rollout, Directive::Advance, policy()).unwrap();
    let facts = rollout.facts(&ready(), NOW + 10 * DWELL + 7);
    assert_eq!(facts.stage, RolloutStage::Canary);
    assert_eq!(
        (facts.share_percent, facts.next_share_percent),
        (5, Some(50))
    );
    assert_eq!((facts.age_ms, facts.step_age_ms), (10 * DWELL + 7, 7));
    assert_eq!((&*facts.candidate, &*facts.stable), ("v3", "v2"));
    let many: Vec<Arc<str>> = (0..40).map(|n| format!("v{n}").into()).collect();
    assert_eq!(
        rollout.facts(&many, NOW).ready_releases.len(),
        RELEASES_READY_MAX
    );
}

#[test]
fn other_limits_hold_from_where_the_rollout_stands() {
    let (mut rollout, began) = begin(plan());
    let limits = |steps: &[u32], dwell_ms_min| RolloutConfig {
        steps: steps.to_vec(),
        dwell_ms_min,
        ..plan().config
    };
    let mut say = |config, by, now_ms| {
        rollout
            .apply(order(Command::Limits(config), by), &ready(), now_ms)
            .map(|event| (event, rollout.share_percent(), rollout.next_share_percent()))
    };
    let (changed, share, next) = say(limits(&[2, 10, 30], 5), Decider::Host, NOW + 1).unwrap();
    assert_eq!((share, next), (5, Some(10)), "5 is no step any more");
    let same = say(limits(&[2, 10, 30], 5), Decider::Host, NOW + 1).unwrap();
    assert_eq!(same.0, None);
    for by in [policy(), person()] {
        let refused = say(limits(&[5], 0), by, NOW + 2);
        assert_eq!(refused, Err(Refused::NotAllowed));
    }
    let none = say(limits(&[], 0), Decider::Host, NOW + 2).unwrap_err();
    assert_eq!(none.to_string(), "`steps` has 0 entries, must have 1 to 32");
    // The dwell counts from when the share was set, not from the new limits.
    let advance = order(Command::Directive(Directive::Advance), policy());
    let advanced = rollout.apply(advance, &ready(), NOW + 5).unwrap();
    assert_eq!(rollout.share_percent(), 10);
    let events = [began, changed.unwrap(), advanced.unwrap()];
    assert_eq!(Rollout::replay(&events), Ok(rollout));
}

#[test]
fn what_has_ended_is_not_taken_up_again() {
    let ended = |command| {
        let (mut rollout, _) = begin(plan());
        let order = order(command, person());
        rollout.apply(order, &ready(), NOW).unwrap();
        rollout
    };
    let (running, _) = begin(plan());
    let paused = ended(Command::Directive(Directive::Pause));
    let back = ended(Command::Directive(Directive::RollBack(None)));
    let promoted = ended(Command::Directive(Directive::Promote));
    let aborted = ended(Command::Abort);
    let mut limits = plan();
    limits.config.dwell_ms_min += 1;
    let other_stable = RolloutPlan {
        stable: "v1".into(),
        ..limits.clone()
    };
    let other_candidate = RolloutPlan {
        candidate: "v4".into(),
        ..plan()
    };
    use TakeUp::{Begin, Keep, Limits};
    for (last, same, limited, behind, other) in [
        (None, Begin, Begin, Begin, Begin),
        (Some(&running), Keep, Limits, Begin, Begin),
        (Some(&paused), Keep, Limits, Begin, Begin),
        (Some(&back), Keep, Keep, Keep, Begin),
        (Some(&promoted), Keep, Keep, Keep, Begin),
        (Some(&aborted), Keep, Keep, Begin, Begin),
    ] {
        let status = last.map(Rollout::status);
        assert_eq!(take_up(last, &plan()), same, "{status:?}");
        assert_eq!(take_up(last, &limits), limited, "{status:?}");
        assert_eq!(take_up(last, &other_stable), behind, "{status:?}");
        assert_eq!(take_up(last, &other_candidate), other, "{status:?}");
    }
}

#[test]
fn limits_that_are_none_are_refused() {
    let begin_with = |steps: &[u32]| {
        let mut plan = plan();
        plan.config.steps = steps.to_vec();
        Rollout::begin(plan, None, person(), "", NOW).map(|_| ())
    };
    assert!(begin_with(&[1, 99]).is_ok());
    for (steps, message) in [
        (&[][..], "`steps` has 0 entries, must have 1 to 32"),
        (&[5, 100], "`steps` has 100 percent, must be 1 to 99"),
        (&[0], "`steps` has 0 percent, must be 1 to 99"),
        (&[5, 5], "`steps` goes from 5 to 5 percent, must ascend"),
    ] {
        assert_eq!(begin_with(steps).unwrap_err().to_string(), message);
    }
    let mut same = plan();
    same.candidate = same.stable.clone();
    let refused = Rollout::begin(same, None, person(), "", NOW).unwrap_err();
    assert_eq!(refused, BeginError::Same("v2".into()));
}

#[test]
fn a_reason_stays_on_its_line() {
    let (mut rollout, _) = begin(plan());
    let mut order = order(Command::Directive(Directive::Pause), policy());
    order.reason = format!("a\n{}", "b".repeat(5_000));
    let event = rollout.apply(order, &ready(), NOW).unwrap().unwrap();
    assert!(event.reason.len() <= text_max() && !event.reason.contains('\n'));
}

fn text_max() -> usize {
    crate::text::REASON_BYTES_MAX
}

#[test]
fn events_that_are_no_rollout_are_refused() {
    let (mut rollout, began) = begin(plan());
    let pause = order(Command::Directive(Directive::Pause), policy());
    let paused = rollout.apply(pause, &ready(), NOW).unwrap().unwrap();
    assert_eq!(Rollout::replay([]), Err(ReplayError::Empty));
    assert_eq!(Rollout::replay([&paused]), Err(ReplayError::NotBegun));
    assert_eq!(
        Rollout::replay([&began, &paused, &began]),
        Err(ReplayError::OutOfPlace(2))
    );
    let unknown = RolloutEvent {
        change: RolloutChange::Advanced { share_percent: 51 },
        ..paused.clone()
    };
    assert_eq!(
        Rollout::replay([&began, &unknown]),
        Err(ReplayError::OutOfPlace(1))
    );
    assert_eq!(Rollout::replay([&began, &paused]), Ok(rollout));
    let promoted = RolloutEvent {
        change: RolloutChange::Promoted,
        ..paused.clone()
    };
    assert_eq!(
        Rollout::replay([&began, &promoted, &paused]),
        Err(ReplayError::OutOfPlace(2)),
        "what has ended stays ended"
    );
}

fn arbitrary_order() -> impl Strategy<Value = Order> {
    let command = prop_oneof![
        1 => Just(Command::Directive(Directive::Hold)),
        6 => Just(Command::Directive(Directive::Advance)),
        1 => Just(Command::Directive(Directive::Promote)),
        1 => prop_oneof![Just(None), Just(Some("v1".to_string())), Just(Some("no".to_string()))]
            .prop_map(|to| Command::Directive(Directive::RollBack(to))),
        3 => Just(Command::Directive(Directive::Pause)),
        3 => Just(Command::Resume),
        1 => Just(Command::Abort),
    ];
    let by = prop_oneof![3 => Just(policy()), 2 => Just(person()), 1 => Just(Decider::Host)];
    (command, by, any::<bool>()).prop_map(|(command, by, evidence)| Order {
        evidence,
        ..order(command, by)
    })
}

proptest! {
    #[test]
    fn a_rollout_is_what_its_events_say(
        orders in prop::collection::vec((arbitrary_order(), 0..2 * DWELL), 0..40),
        shadow in any::<bool>(),
        pin_ms in prop_oneof![Just(0), 1..DWELL],
    ) {
        let mut plan = plan();
        plan.config.shadow = shadow;
        plan.config.pin_ms = pin_ms;
        let (mut rollout, began) = begin(plan);
        let mut log = vec![began];
        let mut now_ms = NOW;
        for (order, later_ms) in orders {
            now_ms += later_ms;
            let before = rollout.clone();
            let person = order.by.is_person();
            let evidence = order.evidence;
            match rollout.apply(order, &ready(), now_ms) {
                Ok(Some(event)) => {
                    let forward = rollout.share_percent() > before.share_percent();
                    if forward && !person {
                        let age_ms = before.facts(&[], now_ms).step_age_ms;
                        prop_assert!(age_ms >= DWELL && evidence && before.is_assessed());
                    }
                    prop_assert_eq!(rollout.version(), before.version() + 1);
                    log.push(event);
                }
                Ok(None) | Err(_) => prop_assert_eq!(&rollout, &before),
            }
        }
        let json = serde_json::to_string(&log).unwrap();
        let read: Vec<RolloutEvent> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read, &log);
        prop_assert_eq!(Rollout::replay(&read).unwrap(), rollout);
    }
}
