//! The way of a new author: a policy from nothing, three lines of
//! configuration, a gateway that asks it, and the next build of it while
//! requests are served.
//!
//! What `backstop policy new`, `backstop policy build` and `backstop serve` do,
//! through the libraries under them.

use backstop_build::{Options, SdkDependency, build_policy, new_policy};
use backstop_tests::caller::Caller;
use backstop_tests::gateway::{FREE_PORTS, Running};
use http::StatusCode;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What an author writes.
const THREE_LINES: &str = r#"
include = "builtin:demo"
policies.my-policy = { component = "my-policy.wasm", grants = { metrics = ["error-rate"] } }
routes.chat.fallback = "my-policy"
"#;
/// Longest wait until a new build decides; it takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests after the change, which must all see it.
const AFTER: usize = 5;

/// A new policy's crate in `dir`, with the versions of this workspace so that
/// nothing is fetched.
fn scaffold(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let policy = dir.join("my-policy");
    new_policy(
        &policy,
        "my-policy",
        &SdkDependency::Path(root.join("guest-sdk")),
    )
    .unwrap();
    std::fs::copy(root.join("Cargo.lock"), policy.join("Cargo.lock")).unwrap();
    policy
}

/// Builds the policy and puts the component in its place, whole at once.
fn build(policy: &Path, place: &Path) {
    // A directory of its own: other tests build policies of the same name.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author");
    let built =
        build_policy(policy, &Options::new(target)).unwrap_or_else(|error| panic!("{error}"));
    let beside = place.with_extension("new");
    std::fs::write(&beside, &built.component).unwrap();
    std::fs::rename(&beside, place).unwrap();
}

/// Turns the order of the models round.
fn change(policy: &Path) {
    let source = policy.join("src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    let (from, to) = (
        "in request.candidates() {",
        "in request.candidates().into_iter().rev() {",
    );
    assert_eq!(text.matches(from).count(), 1, "the template has changed");
    std::fs::write(&source, text.replace(from, to)).unwrap();
}

/// Asks once; the model that answered. Every request must be served.
async fn served_by(caller: &Caller) -> String {
    let answer = caller.chat("chat").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.body["choices"][0]["message"]["content"].is_string());
    assert_eq!(answer.header("x-backstop-step"), "0", "{answer:?}");
    assert_eq!(answer.header("x-backstop-attempts"), "1", "{answer:?}");
    assert_ne!(answer.header("x-backstop-decision"), "", "{answer:?}");
    answer.header("x-backstop-model").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_policy_decides_and_its_next_build_does_without_a_failed_request() {
    let dir = tempfile::tempdir().unwrap();
    let policy = scaffold(dir.path());
    let component = dir.path().join("my-policy.wasm");
    build(&policy, &component);
    let config = dir.path().join("backstop.toml");
    std::fs::write(&config, format!("{THREE_LINES}{FREE_PORTS}")).unwrap();
    let gateway = Running::launch(&config, true)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let caller = Caller::new(gateway.data);
    assert_eq!(served_by(&caller).await, "primary");

    change(&policy);
    let rebuilding = tokio::task::spawn_blocking(move || build(&policy, &component));
    let mut before = 0;
    while !rebuilding.is_finished() {
        served_by(&caller).await;
        before += 1;
    }
    rebuilding.await.unwrap();
    assert!(before > 0, "requests are served while the policy is built");
    let written = Instant::now();
    while served_by(&caller).await == "primary" {
        assert!(
            written.elapsed() < PATIENCE,
            "the new build does not decide"
        );
    }
    for _ in 0..AFTER {
        assert_eq!(served_by(&caller).await, "backup");
    }

    let history = gateway.gateway.host().history("my-policy").unwrap();
    let numbers: Vec<u64> = history.iter().map(|revision| revision.number).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    assert_ne!(history[0].component_digest, history[1].component_digest);
    assert_eq!(gateway.stop().await.cut, 0);
}
