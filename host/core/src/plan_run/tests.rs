//! Plans are run against scripted and against arbitrary ends of calls.

use super::*;
use crate::plan::{RaceStep, Step};
use proptest::prelude::*;

const NOW: u64 = 1_000_000;

fn call(model: &str, retries: u8) -> CallStep {
    CallStep {
        model: model.into(),
        timeout_ms: 0,
        first_token_ms: 0,
        retries,
        move_on: FailureClasses::MODEL_FAULTS,
    }
}

fn race(models: &[&str], stagger_ms: u32) -> Action {
    Action::Race(RaceStep {
        calls: models.iter().map(|model| call(model, 0)).collect(),
        stagger_ms,
    })
}

fn run(actions: Vec<Action>) -> PlanRun {
    let steps: Vec<Step> = actions
        .into_iter()
        .map(|action| Step {
            action,
            reason: String::new(),
        })
        .collect();
    PlanRun::new(Arc::new(Plan::from(steps)), options())
}

fn options() -> RunOptions {
    RunOptions {
        deadline_ms: NOW + 30_000,
        timeout_ms: 20_000,
        first_token_ms: 5_000,
        retry: RetryLimits::default(),
        stays: FailureClasses::NONE,
    }
}

fn failed(class: FailureClass) -> CallEnd {
    CallEnd::Failed {
        class,
        retry_after_ms: None,
        repeatable: true,
        delivered: false,
        latency_ms: 7,
    }
}

fn answered(outcome: Outcome) -> CallEnd {
    CallEnd::Answered {
        outcome,
        delivered: false,
        latency_ms: 7,
    }
}

#[track_caller]
fn the_call(next: Move) -> Call {
    match next {
        Move::Call(call) => call,
        other => panic!("no call: {other:?}"),
    }
}

fn rules() -> Action {
    Action::Rules("r".into())
}

#[test]
fn an_accepted_answer_is_delivered() {
    let mut run = run(vec![Action::Call(call("a", 0)), rules()]);
    let first = the_call(run.begin(NOW));
    assert_eq!(
        (first.delay_ms, first.timeout_ms, first.first_token_ms),
        (0, 20_000, 5_000)
    );
    assert_eq!((run.model(first.id), run.steps_left(0)), ("a", 1));
    let next = run.told(first.id, answered(Outcome::Accept), NOW, 0.5);
    assert_eq!(next, Move::Deliver(first.id));
    assert!(next.is_end());
    let again = run.told(first.id, answered(Outcome::Accept), NOW, 0.5);
    assert_eq!(again, Move::Wait { hurry: None }, "a run ends once");
}

#[test]
fn a_policy_may_ask_for_other_repetitions_after_some_failures() {
    let mut plan = Plan::from(vec![Step {
        action: Action::Call(call("a", 1)),
        reason: String::new(),
    }]);
    let limited = FailureClasses::NONE.with(FailureClass::RateLimit);
    plan.options.retries = vec![(FailureClasses::ALL, 0), (limited, 2)];
    for (class, repeats) in [(FailureClass::RateLimit, 2), (FailureClass::Overload, 0)] {
        let mut run = PlanRun::new(Arc::new(plan.clone()), options());
        let mut next = run.begin(NOW);
        let mut calls = 0;
        while let Move::Call(call) = next {
            calls += 1;
            next = run.told(call.id, failed(class), NOW, 0.5);
        }
        assert_eq!(calls, 1 + repeats, "{class}");
        assert_eq!(next, Move::Exhausted(Exhausted::Failed(class)));
    }
}

#[test]
fn what_the_model_may_have_acted_on_is_not_repeated() {
    let mut run = run(vec![Action::Call(call("a", 3)), Action::Call(call("b", 0))]);
    let first = the_call(run.begin(NOW));
    let end = CallEnd::Failed {
        class: FailureClass::ServerError,
        retry_after_ms: None,
        repeatable: false,
        delivered: false,
        latency_ms: 1,
    };
    let next = the_call(run.told(first.id, end, NOW, 0.5));
    assert_eq!(run.model(next.id), "b");
}

#[test]
fn a_route_has_its_own_number_of_repetitions_for_a_class() {
    let mut limits = RetryLimits::default();
    assert_eq!(limits.after(FailureClass::Overload), 5);
    assert_eq!(limits.after(FailureClass::Malformed), 0);
    limits.classes[FailureClass::Overload as usize] = Some(1);
    limits.classes[FailureClass::Malformed as usize] = Some(9);
    assert_eq!(limits.after(FailureClass::Overload), 1);
    assert_eq!(
        limits.after(FailureClass::Malformed),
        5,
        "but no more than it has"
    );
}

#[test]
fn a_repetition_that_is_not_made_leaves_the_failure_before_it() {
    for (move_on, expected) in [
        (FailureClasses::MODEL_FAULTS, None),
        (FailureClasses::NONE, Some(FailureClass::Overload)),
    ] {
        let step = CallStep {
            move_on,
            ..call("a", 1)
        };
        let mut run = run(vec![Action::Call(step), rules()]);
        let first = the_call(run.begin(NOW));
        let again = the_call(run.told(first.id, failed(FailureClass::Overload), NOW, 0.5));
        let next = run.told(again.id, CallEnd::Refused, NOW, 0.5);
        match expected {
            None => assert_eq!(next, Move::Rules { step: 1 }),
            Some(class) => assert_eq!(
                next,
                Move::Fail {
                    call: again.id,
                    class
                }
            ),
        }
    }
}

#[test]
fn a_route_may_stay_where_a_step_would_go_on() {
    let step = CallStep {
        move_on: FailureClasses::ALL,
        ..call("a", 0)
    };
    let plan = Plan::from(vec![
        Step {
            action: Action::Call(step),
            reason: String::new(),
        },
        Step {
            action: rules(),
            reason: String::new(),
        },
    ]);
    let class = FailureClass::ContentPolicy;
    let options = RunOptions {
        stays: FailureClasses::NONE.with(class),
        ..options()
    };
    let mut run = PlanRun::new(Arc::new(plan), options);
    ends_with(&mut run, class);
}

#[test]
fn without_a_budget_a_race_goes_one_by_one() {
    let mut run = run(vec![race(&["a", "b", "c"], 0), rules()]);
    let Move::Race(calls) = run.begin(NOW) else {
        panic!("no race");
    };
    run.one_at_a_time();
    let overload = failed(FailureClass::Overload);
    for position in 0..2 {
        let next = run.told(calls[position].id, overload, NOW, 0.5);
        let hurry = Some(calls[position + 1].id);
        assert_eq!(next, Move::Wait { hurry });
    }
    let last = run.told(calls[2].id, answered(Outcome::Accept), NOW, 0.5);
    assert_eq!(last, Move::Deliver(calls[2].id));
}

#[test]
fn a_delivery_that_breaks_off_is_followed_by_the_next_step() {
    let mut run = run(vec![
        Action::Call(call("a", 2)),
        Action::Call(call("b", 0)),
        rules(),
    ]);
    let first = the_call(run.begin(NOW));
    let delivered = run.told(first.id, answered(Outcome::Accept), NOW, 0.5);
    assert_eq!(delivered, Move::Deliver(first.id));
    let second = the_call(run.broke(first.id, FailureClass::CutStream, NOW));
    assert_eq!((run.model(second.id), second.id.step), ("b", 1));
    assert_eq!(run.first_failure(), Some(FailureClass::CutStream));
    assert_eq!(
        run.told(second.id, answered(Outcome::Accept), NOW, 0.5),
        Move::Deliver(second.id)
    );
    let refused = run.broke(second.id, FailureClass::ContentPolicy, NOW);
    let class = FailureClass::ContentPolicy;
    assert_eq!(
        refused,
        Move::Fail {
            call: second.id,
            class
        }
    );
}

#[test]
fn a_failing_model_is_followed_by_the_backup_and_then_by_rules() {
    let mut run = run(vec![
        Action::Call(call("a", 0)),
        Action::Call(call("b", 0)),
        rules(),
    ]);
    let first = the_call(run.begin(NOW));
    let second = the_call(run.told(first.id, failed(FailureClass::ServerError), NOW, 0.5));
    assert_eq!(run.model(second.id), "b");
    let third = run.told(second.id, failed(FailureClass::TimeoutFirstToken), NOW, 0.5);
    assert_eq!(third, Move::Rules { step: 2 });
    let history: Vec<_> = run
        .attempts()
        .iter()
        .map(|attempt| (&*attempt.model, attempt.failure, attempt.latency_ms))
        .collect();
    assert_eq!(
        history,
        [
            ("a", Some(FailureClass::ServerError), 7),
            ("b", Some(FailureClass::TimeoutFirstToken), 7)
        ]
    );
    assert_eq!(run.first_failure(), Some(FailureClass::ServerError));
}

#[test]
fn failures_that_do_not_move_on_end_the_plan() {
    for class in [FailureClass::ClientFault, FailureClass::ContentPolicy] {
        let mut run = run(vec![Action::Call(call("a", 3)), rules()]);
        ends_with(&mut run, class);
    }
}

#[test]
fn judgements_escalate_to_the_next_step_or_end_in_review() {
    let mut escalating = run(vec![Action::Call(call("a", 3)), Action::Call(call("b", 3))]);
    let first = the_call(escalating.begin(NOW));
    let second = the_call(escalating.told(first.id, answered(Outcome::Escalate), NOW, 0.5));
    assert_eq!(escalating.model(second.id), "b");
    let end = escalating.told(second.id, answered(Outcome::Escalate), NOW, 0.5);
    assert_eq!(end, Move::Exhausted(Exhausted::Escalated));
    assert_eq!(escalating.attempts()[0].failure, None);

    let mut reviewed = run(vec![Action::Call(call("a", 0)), rules()]);
    let first = the_call(reviewed.begin(NOW));
    let end = reviewed.told(first.id, answered(Outcome::Review), NOW, 0.5);
    let answer = Some(first.id);
    assert_eq!(end, Move::Review { step: 0, answer });
}

#[test]
fn only_failures_that_may_pass_are_repeated() {
    for class in FailureClass::ALL {
        let mut run = run(vec![Action::Call(call("a", 1)), rules()]);
        let first = the_call(run.begin(NOW));
        let next = run.told(first.id, failed(class), NOW, 0.5);
        let repeated = matches!(next, Move::Call(again) if again.id.retry == 1);
        let expected = [
            FailureClass::RateLimit,
            FailureClass::Overload,
            FailureClass::ServerError,
            FailureClass::Connection,
            FailureClass::TimeoutConnect,
        ];
        assert_eq!(repeated, expected.contains(&class), "{class}");
    }
}

#[test]
fn waits_grow_up_to_their_limit() {
    let limits = RetryLimits::default();
    let delays = |random| {
        (0..7)
            .map(|retry| limits.delay_ms(retry, None, random).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(delays(0.5), [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    assert_eq!(delays(0.0)[0], 400, "a fifth less");
    assert_eq!(delays(1.0)[6], 9_600, "or more");
    assert_eq!(limits.delay_ms(u32::MAX, None, 0.5), Some(8_000));
}

#[test]
fn a_provider_is_not_called_sooner_than_it_asked_for() {
    let limited = |retry_after_ms| CallEnd::Failed {
        class: FailureClass::RateLimit,
        retry_after_ms: Some(retry_after_ms),
        repeatable: true,
        delivered: false,
        latency_ms: 7,
    };
    let plan = || run(vec![Action::Call(call("a", 1)), Action::Call(call("b", 0))]);
    for (retry_after_ms, model, delay_ms) in
        [(100, "a", 500), (3_000, "a", 3_000), (10_001, "b", 0)]
    {
        let mut run = plan();
        let first = the_call(run.begin(NOW));
        let next = the_call(run.told(first.id, limited(retry_after_ms), NOW, 0.5));
        assert_eq!((run.model(next.id), next.delay_ms), (model, delay_ms));
    }
}

#[test]
fn the_routes_limit_on_retries_holds_against_the_plan() {
    let mut run = run(vec![Action::Call(call("a", 5)), rules()]);
    run.options.retry.retries_max = 1;
    let first = the_call(run.begin(NOW));
    let second = the_call(run.told(first.id, failed(FailureClass::Overload), NOW, 0.5));
    let end = run.told(second.id, failed(FailureClass::Overload), NOW, 0.5);
    assert_eq!(end, Move::Rules { step: 1 });
}

#[test]
fn an_open_breaker_moves_on_without_an_attempt() {
    let mut step = call("a", 5);
    step.move_on = FailureClasses::NONE;
    let mut run = run(vec![Action::Call(step), Action::Call(call("b", 0))]);
    let first = the_call(run.begin(NOW));
    let second = the_call(run.told(first.id, CallEnd::Refused, NOW, 0.5));
    assert_eq!(run.model(second.id), "b");
    assert!(run.attempts().is_empty());
    let end = run.told(second.id, CallEnd::Refused, NOW, 0.5);
    assert_eq!(end, Move::Exhausted(Exhausted::Refused));
}

#[test]
fn the_deadline_shortens_calls_then_skips_them_but_not_the_rules() {
    let actions = || {
        vec![
            Action::Call(call("a", 5)),
            Action::Call(call("b", 0)),
            race(&["a", "b"], 10),
        ]
    };
    let mut shortened = run(actions());
    let first = the_call(shortened.begin(NOW + 29_000));
    assert_eq!((first.timeout_ms, first.first_token_ms), (1_000, 1_000));
    // The wait would end behind the deadline: no repetition, and then no call.
    let after = NOW + 29_900;
    let second = the_call(shortened.told(first.id, failed(FailureClass::Overload), after, 0.9));
    assert_eq!((shortened.model(second.id), second.timeout_ms), ("b", 100));
    let end = shortened.told(
        second.id,
        failed(FailureClass::TimeoutTotal),
        NOW + 30_000,
        0.9,
    );
    assert_eq!(end, Move::Exhausted(Exhausted::Deadline));

    let mut late = run([actions(), vec![rules()]].concat());
    assert_eq!(late.begin(NOW + 30_000), Move::Rules { step: 3 });
}

#[test]
fn what_the_caller_has_seen_is_neither_repeated_nor_replaced() {
    let mut cut = run(vec![Action::Call(call("a", 5)), rules()]);
    let first = the_call(cut.begin(NOW));
    let class = FailureClass::Connection;
    let end = CallEnd::Failed {
        class,
        retry_after_ms: None,
        repeatable: true,
        delivered: true,
        latency_ms: 7,
    };
    assert_eq!(
        cut.told(first.id, end, NOW, 0.5),
        Move::Fail {
            call: first.id,
            class
        }
    );

    let mut passed = run(vec![Action::Call(call("a", 5)), rules()]);
    let first = the_call(passed.begin(NOW));
    let end = CallEnd::Answered {
        outcome: Outcome::Escalate,
        delivered: true,
        latency_ms: 7,
    };
    assert_eq!(
        passed.told(first.id, end, NOW, 0.5),
        Move::Deliver(first.id)
    );
}

#[test]
fn the_first_good_answer_of_a_race_wins() {
    let mut run = run(vec![race(&["a", "b", "c"], 100), rules()]);
    let Move::Race(calls) = run.begin(NOW) else {
        panic!("no race");
    };
    let delays: Vec<u64> = calls.iter().map(|call| call.delay_ms).collect();
    assert_eq!(delays, [0, 100, 200]);
    let later = NOW + 250;
    let waiting = Move::Wait { hurry: None };
    let told = |run: &mut PlanRun, racer: usize, end| run.told(calls[racer].id, end, later, 0.5);
    assert_eq!(told(&mut run, 1, answered(Outcome::Escalate)), waiting);
    assert_eq!(
        told(&mut run, 0, failed(FailureClass::ClientFault)),
        waiting
    );
    let end = told(&mut run, 2, answered(Outcome::Accept));
    assert_eq!(end, Move::Deliver(calls[2].id));
    assert_eq!(run.model(calls[2].id), "c");
}

#[test]
fn a_race_without_a_good_answer_ends_in_review_or_failure_or_goes_on() {
    let end_of = |ends: [CallEnd; 2]| {
        let mut run = run(vec![race(&["a", "b"], 0), rules()]);
        let Move::Race(calls) = run.begin(NOW) else {
            panic!("no race");
        };
        let waiting = run.told(calls[0].id, ends[0], NOW, 0.5);
        assert_eq!(waiting, Move::Wait { hurry: None });
        run.told(calls[1].id, ends[1], NOW, 0.5)
    };
    let overload = failed(FailureClass::Overload);
    let id = |racer| CallId {
        step: 0,
        racer,
        retry: 0,
    };
    assert_eq!(end_of([overload, overload]), Move::Rules { step: 1 });
    assert_eq!(
        end_of([overload, answered(Outcome::Escalate)]),
        Move::Rules { step: 1 }
    );
    assert_eq!(
        end_of([answered(Outcome::Review), overload]),
        Move::Review {
            step: 0,
            answer: Some(id(0))
        }
    );
    let class = FailureClass::ClientFault;
    assert_eq!(
        end_of([failed(class), overload]),
        Move::Fail { call: id(0), class }
    );
}

#[test]
fn a_hedge_starts_at_once_when_nothing_is_in_flight() {
    let mut run = run(vec![race(&["a", "b", "c"], 2_000)]);
    let Move::Race(calls) = run.begin(NOW) else {
        panic!("no race");
    };
    let hurry = |run: &mut PlanRun, racer: usize, now_ms| match run.told(
        calls[racer].id,
        CallEnd::Refused,
        now_ms,
        0.5,
    ) {
        Move::Wait { hurry } => hurry,
        other => panic!("{other:?}"),
    };
    assert_eq!(hurry(&mut run, 0, NOW + 5), Some(calls[1].id));
    assert_eq!(hurry(&mut run, 2, NOW + 6), None, "`b` is in flight now");
}

#[test]
fn a_race_at_the_deadline_keeps_the_racers_that_have_time() {
    let mut run = run(vec![race(&["a", "b"], 2_000), rules()]);
    let first = the_call(run.begin(NOW + 29_000));
    assert_eq!(run.model(first.id), "a");
    let end = run.told(first.id, failed(FailureClass::Overload), NOW + 29_500, 0.5);
    assert_eq!(end, Move::Rules { step: 1 });
}

fn arbitrary_call() -> impl Strategy<Value = CallStep> {
    (0..8u8, 0..6u8, any::<u16>(), 0..40_000u32).prop_map(
        |(model, retries, move_on, timeout_ms)| CallStep {
            model: format!("m{model}").into(),
            timeout_ms,
            first_token_ms: timeout_ms / 3,
            retries,
            move_on: FailureClasses::from_bits(move_on | 0b1_1111_1111),
        },
    )
}

fn arbitrary_plan() -> impl Strategy<Value = Vec<Action>> {
    let step = prop_oneof![
        3 => arbitrary_call().prop_map(Action::Call),
        1 => (prop::collection::vec(arbitrary_call(), 2..5), 0..5_000u32)
            .prop_map(|(calls, stagger_ms)| Action::Race(RaceStep { calls, stagger_ms })),
    ];
    let last = prop_oneof![
        Just(rules()),
        Just(Action::Refuse {
            status: 503,
            message: String::new()
        }),
        Just(Action::Review {
            note: String::new()
        }),
    ];
    (prop::collection::vec(step, 1..8), prop::option::of(last))
        .prop_map(|(steps, last)| steps.into_iter().chain(last).collect())
}

fn arbitrary_end() -> impl Strategy<Value = CallEnd> {
    let class = (0..FailureClass::ALL.len()).prop_map(|at| FailureClass::ALL[at]);
    prop_oneof![
        8 => (class, prop::option::of(0..12_000u64), any::<bool>()).prop_map(|(class, retry_after_ms, repeatable)| {
            CallEnd::Failed { class, retry_after_ms, repeatable, delivered: false, latency_ms: 1 }
        }),
        2 => Just(answered(Outcome::Escalate)),
        1 => Just(answered(Outcome::Review)),
        1 => Just(CallEnd::Refused),
    ]
}

proptest! {
    #[test]
    fn every_run_ends_in_time_and_within_its_calls(
        actions in arbitrary_plan(),
        ends in prop::collection::vec((arbitrary_end(), 0..4_000u64, 0.0..1.0f64, any::<prop::sample::Index>()), 1..40),
        deadline_ms in 0..120_000u64,
    ) {
        let most: usize = actions
            .iter()
            .map(|action| match action {
                Action::Call(call) => 1 + usize::from(call.retries),
                Action::Race(race) => race.calls.iter().map(|call| 1 + usize::from(call.retries)).sum(),
                _ => 0,
            })
            .sum();
        let mut run = run(actions);
        run.options.deadline_ms = NOW + deadline_ms;
        let mut now_ms = NOW;
        let mut under_way: Vec<(Call, u64)> = Vec::new();
        let mut made = 0;
        let mut next = run.begin(now_ms);
        let mut ends = ends.iter().cycle();
        loop {
            let calls = match next {
                Move::Call(call) => vec![call],
                Move::Race(calls) => calls,
                Move::Wait { hurry } => {
                    for (call, starts_ms) in &mut under_way {
                        if Some(call.id) == hurry {
                            *starts_ms = now_ms;
                        }
                    }
                    Vec::new()
                }
                _ => break,
            };
            for call in calls {
                made += 1;
                let starts_ms = now_ms + call.delay_ms;
                prop_assert!(starts_ms < run.options.deadline_ms);
                prop_assert!(starts_ms + call.timeout_ms <= run.options.deadline_ms);
                prop_assert!(call.first_token_ms <= call.timeout_ms && call.timeout_ms > 0);
                prop_assert!(!run.model(call.id).is_empty());
                under_way.push((call, starts_ms));
            }
            prop_assert!(made <= most, "{made} calls of {most}");
            prop_assert!(!under_way.is_empty(), "waiting for nothing");
            let (end, took_ms, random, which) = ends.next().unwrap();
            let (call, starts_ms) = under_way.swap_remove(which.index(under_way.len()));
            now_ms = now_ms.max(starts_ms) + took_ms.min(&call.timeout_ms);
            next = run.told(call.id, *end, now_ms, *random);
            if !matches!(next, Move::Wait { .. } | Move::Call(Call { id: CallId { retry: 1.., .. }, .. })) {
                under_way.clear(); // the step is over
            }
        }
        prop_assert_eq!(run.calls() as usize, made);
        prop_assert!(run.attempts().len() <= made);
    }
}

/// The first call fails so, and that ends the run.
fn ends_with(run: &mut PlanRun, class: FailureClass) {
    let call = the_call(run.begin(NOW)).id;
    let next = run.told(call, failed(class), NOW, 0.5);
    assert_eq!(next, Move::Fail { call, class });
}
