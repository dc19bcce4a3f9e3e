//! What a policy's own model calls may cost, by the prices of a gateway.

use backstop::record::RunOutcome;
use backstop_tests::caller::Caller;
use backstop_tests::gateway::{FREE_PORTS, Running};
use backstop_tests::guest::HOSTILE;

/// What becomes of three calls of the model `quick`, one after the other.
async fn three_calls(price: &str, budget_micros: u64) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostile.wasm"), HOSTILE).unwrap();
    let config = dir.path().join("backstop.toml");
    let text = format!(
        r#"{FREE_PORTS}
        [providers.p]
        kind = "simulated"
        latency_ms = 1
        [models.quick]
        provider = "p"
        {price}
        [policies.p]
        component = "hostile.wasm"
        settings = {{ misdeed = "call-model-too-often" }}
        limits = {{ load_deadline_ms = 5000 }}
        [policies.p.grants]
        metrics = ["*"]
        models = ["quick"]
        state = true
        model_budget = {{ calls = 9, cost_micros = {budget_micros} }}
        [routes.r]
        kind = "chat"
        models = ["quick"]
        fallback = "p"
        "#
    );
    std::fs::write(&config, text).unwrap();
    let gateway = Running::launch(&config, false).await.unwrap();
    Caller::new(gateway.data).chat("r").await.unwrap();
    let records = gateway.gateway.host().records().newest(1);
    let outcome = records[0].outcome.clone();
    gateway.stop().await;
    match outcome {
        RunOutcome::Abstained { reason } => reason,
        other => panic!("{other:?}"),
    }
}

const ALL: &str = "[Ok(()), Ok(()), Ok(())]";

#[tokio::test]
async fn a_budget_runs_out_by_the_prices_of_the_configuration() {
    for (price, budget_micros, expected) in [
        ("", 0, ALL),
        ("price_call_micros = 10", 30, ALL),
        ("price_call_micros = 10", 29, "[Ok(()), Ok(()), Err("),
        ("price_call_micros = 10", 9, "[Err("),
        // A micro for each token: an answer of 1024 tokens is reserved, and
        // what the answer really had is charged.
        ("price_output_micros = 1_000_000", 1_023, "[Err("),
        ("price_output_micros = 1_000_000", 1_400, ALL),
        ("price_output_micros = 1_000_000", 1_024, "[Ok(()), Err("),
    ] {
        let said = three_calls(price, budget_micros).await;
        assert!(
            said.starts_with(expected),
            "{price}, {budget_micros}: {said}"
        );
        assert!(expected == ALL || said.contains("Cost"), "{said}");
    }
}
