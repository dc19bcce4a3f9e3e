//! An outage of some seconds: the model is left alone but for single trials,
//! and has its traffic back as soon as it is well. With the breaker's own times the
//! load program plays it, `load -- outage`.

use super::*;

const OPEN: Duration = Duration::from_millis(300);
const OUTAGE: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_gets_one_trial_per_half_open_period_and_traffic_is_back_soon() {
    let began = Instant::now();
    let primary = Faulty::start(move |_, stream| {
        if began.elapsed() < OUTAGE {
            error("503 Service Unavailable", "", "overloaded")
        } else {
            good(PRIMARY, stream)
        }
    })
    .await
    .unwrap();
    let backup = Faulty::start(|_, stream| good(BACKUP, stream))
        .await
        .unwrap();
    let breaker = "breaker = { minimum_number_of_calls = 4, wait_duration_in_open_state_ms = 300, \
                   exponential_backoff_multiplier = 1.0, randomized_wait_factor = 0.0 }";
    let providers = [("primary", &primary, breaker), ("backup", &backup, "")];
    let (gateway, _folder) = gateway(&config(&providers, "")).await;

    // Many at once: a trial is one of them.
    let gateway = std::sync::Arc::new(gateway);
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                while began.elapsed() < OUTAGE + Duration::from_secs(5) {
                    let seen = ask(&gateway, true).await;
                    assert!(seen.complete, "{seen:?}");
                    if seen.text == PRIMARY {
                        return Some(began.elapsed().saturating_sub(OUTAGE));
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                None
            })
        })
        .collect();
    let mut back_after = Duration::MAX;
    for caller in callers {
        let back = caller.await.unwrap().expect("the primary answers again");
        back_after = back_after.min(back);
    }
    assert!(back_after < Duration::from_secs(2), "{back_after:?}");

    let asked = primary.heard();
    // The breaker opens with the fourth failure; calls that were under way
    // then end as they do.
    let opened = asked[3].at + Duration::from_millis(150);
    let trials: Vec<_> = asked
        .iter()
        .map(|heard| heard.at)
        .filter(|at| *at > opened)
        .collect();
    assert!(
        trials.len() >= 3,
        "it was tried again and again: {trials:?}"
    );
    for two in trials.windows(2).take_while(|two| two[1] < OUTAGE) {
        let apart = two[1] - two[0];
        assert!(
            apart >= OPEN - Duration::from_millis(20),
            "{apart:?} apart: {trials:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_in_line_while_the_breaker_opened_goes_elsewhere() {
    let primary = Faulty::start(|_, _| {
        let mut script = vec![Beat::Wait(ms(200))];
        script.extend(error(
            "429 Too Many Requests",
            "retry-after: 60\r\n",
            "rate_limit_exceeded",
        ));
        script
    })
    .await
    .unwrap();
    let backup = Faulty::start(|_, stream| good(BACKUP, stream))
        .await
        .unwrap();
    let limit = "limit = { max = 1, queue_ms = 5000 }";
    let providers = [("primary", &primary, limit), ("backup", &backup, "")];
    let (gateway, _folder) = gateway(&config(&providers, "")).await;
    let both = tokio::join!(ask(&gateway, true), ask(&gateway, false));
    assert_eq!(
        (both.0.text.as_str(), both.1.text.as_str()),
        (BACKUP, BACKUP)
    );
    assert_eq!((primary.asked(), backup.asked()), (1, 2));
    gateway.stop().await;
}
