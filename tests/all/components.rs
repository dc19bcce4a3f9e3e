//! Files that are no policy for this host: refused, each with its own words.

use backstop::core::plan::Action;
use backstop::record::DecidedBy;
use backstop::{ActivationErrorKind, Grants, Host, HostOptions, PolicyOptions};
use backstop_tests::facts;
use backstop_tests::guest::{HOSTILE, component};
use std::fmt::Write as _;
use std::sync::Arc;

async fn refusal(bytes: &[u8], options: PolicyOptions) -> (ActivationErrorKind, String) {
    let host = Host::builder().build().unwrap();
    let error = host
        .activate("policy", bytes.to_vec(), options)
        .await
        .unwrap_err();
    assert!(
        host.policy("policy").is_none(),
        "nothing serves under the name"
    );
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error.kind);
    while let Some(cause) = source {
        write!(text, ": {cause}").unwrap();
        source = cause.source();
    }
    (error.kind, text)
}

async fn says(bytes: &[u8], expected: &[&str]) {
    let (_, text) = refusal(bytes, PolicyOptions::default()).await;
    for part in expected {
        assert!(text.contains(part), "`{text}` does not say `{part}`");
    }
}

#[tokio::test]
async fn a_core_module_is_refused() {
    says(
        &component("(module)"),
        &["core WebAssembly module", "backstop policy build"],
    )
    .await;
}

#[tokio::test]
async fn an_empty_file_is_refused() {
    says(b"", &["the file is empty"]).await;
}

#[tokio::test]
async fn a_text_file_is_refused() {
    says(b"hello", &["not WebAssembly", "68656c6c"]).await;
}

#[tokio::test]
async fn a_truncated_component_is_refused() {
    for length in [9, 100, HOSTILE.len() / 2, HOSTILE.len() - 1] {
        let (kind, _) = refusal(&HOSTILE[..length], PolicyOptions::default()).await;
        // A cut between two sections is a valid component that lacks exports.
        assert!(
            matches!(
                kind,
                ActivationErrorKind::Invalid(_) | ActivationErrorKind::World { .. }
            ),
            "{length} bytes: {kind:?}"
        );
    }
}

#[tokio::test]
async fn noise_is_refused() {
    let mut noise = vec![0; 50 << 20];
    let mut state: u64 = 42;
    for byte in &mut noise {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    says(&noise, &["52428800 bytes", "at most 16777216"]).await;
    // Within the size, and with the preamble of a component.
    noise.truncate(1 << 20);
    noise[..8].copy_from_slice(b"\0asm\x0d\0\x01\0");
    let (kind, _) = refusal(&noise, PolicyOptions::default()).await;
    assert!(matches!(kind, ActivationErrorKind::Invalid(_)), "{kind:?}");
}

#[tokio::test]
async fn a_component_of_another_world_is_refused() {
    says(
        &component("(component)"),
        &[
            "does not export `backstop:policy/lifecycle@0.1.2`",
            "another world",
        ],
    )
    .await;
    let other = component(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (component $exports (import "f" (func $f)) (export "run" (func $f)))
            (instance $exports (instantiate $exports (with "f" (func $f))))
            (export "wasi:cli/run@0.2.0" (instance $exports)))"#,
    );
    says(&other, &["wasi:cli/run@0.2.0"]).await;
}

#[tokio::test]
async fn a_component_built_against_another_version_is_refused() {
    let newer = component(r#"(component (import "backstop:policy/metrics@0.2.0" (instance)))"#);
    says(
        &newer,
        &[
            "backstop:policy@0.2.0",
            "this host offers `0.1.2`",
            "rebuild",
        ],
    )
    .await;
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_refused_with_the_grant_that_would_allow_it() {
    let options = PolicyOptions {
        grants: Grants {
            log: false,
            ..Grants::default()
        },
        ..PolicyOptions::default()
    };
    let (_, text) = refusal(HOSTILE, options).await;
    for part in [
        "backstop:policy/models@0.1.2",
        "`grants.models`",
        "`grants.state`",
        "`grants.log`",
    ] {
        assert!(text.contains(part), "`{text}` does not say `{part}`");
    }
}

#[tokio::test]
async fn an_import_from_elsewhere_is_refused() {
    let wasi = component(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#);
    says(
        &wasi,
        &[
            "wasi:clocks/wall-clock@0.2.0",
            "time and randomness from their input",
        ],
    )
    .await;
}

/// A component that exports a lifecycle, and whose module loops in its start
/// function.
#[tokio::test]
async fn a_guest_that_loops_in_its_start_function_is_stopped() {
    let looping = component(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func $start (loop $again (br $again)))
                (func (export "f"))
                (start $start))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (component $exports (import "f" (func $f))
                (export "describe" (func $f)) (export "configure" (func $f)) (export "decide" (func $f)))
            (instance $exports (instantiate $exports (with "f" (func $f))))
            (export "backstop:policy/lifecycle@0.1.2" (instance $exports))
            (export "backstop:policy/fallback@0.1.2" (instance $exports)))"#,
    );
    let mut options = PolicyOptions::default();
    options.limits.load_deadline_ms = 100;
    let (kind, text) = refusal(&looping, options).await;
    assert!(
        matches!(kind, ActivationErrorKind::Guest { step: "start", .. }),
        "{text}"
    );
}

#[tokio::test]
async fn options_out_of_range_are_refused() {
    let mut options = PolicyOptions::default();
    options.limits.memory_bytes = 1 << 30;
    let (_, text) = refusal(HOSTILE, options).await;
    assert!(text.contains("limits.memory_bytes"), "{text}");
    for name in ["", "Upper", "../evil", &"x".repeat(65)] {
        let host = Host::builder().build().unwrap();
        let error = host
            .activate(name, HOSTILE, PolicyOptions::default())
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind, ActivationErrorKind::Name(_)),
            "{error}"
        );
    }
    let options = HostOptions {
        revisions_kept: 1,
        ..HostOptions::default()
    };
    assert!(
        Host::builder()
            .options(options)
            .build()
            .unwrap_err()
            .to_string()
            .contains("revisions_kept")
    );
}

#[tokio::test]
async fn a_component_with_very_many_functions_is_refused_before_it_is_compiled() {
    let functions = "(func (param i32) (result i32) (local.get 0))".repeat(100_000);
    let many = component(&format!("(component (core module {functions}))"));
    says(&many, &["100000 functions", "at most 20000"]).await;
}

#[tokio::test]
async fn a_component_with_a_very_large_function_is_refused_before_it_is_compiled() {
    let body = "(local.set 0 (i32.mul (local.get 0) (i32.const 12345678)))".repeat(200_000);
    let module = format!("(core module (func (param i32) {body}))");
    let large = component(&format!("(component {module})"));
    says(&large, &["bytes in one function", "at most 131072"]).await;
}

/// A component that is accepted and takes seconds to compile; `salt` makes it
/// another one.
fn slow(salt: u32) -> Vec<u8> {
    let step =
        "(local.set 0 (i32.add (i32.rotl (local.get 0) (i32.const 7)) (i32.const 12345678)))";
    let body = format!("{} (local.get 0)", step.repeat(9_000));
    let function = format!("(func (param i32) (result i32) {body})");
    let module = format!(
        "(core module (func (drop (i32.const {salt}))) {})",
        function.repeat(60)
    );
    component(&format!("(component {module})"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_takes_too_long_to_compile_holds_nobody_up() {
    let (one, other, small) = (slow(1), slow(2), component("(component)"));
    let options = HostOptions {
        load_ms_max: 190,
        ..HostOptions::default()
    };
    let host = Host::builder().options(options).build().unwrap();
    let mut options = PolicyOptions::default();
    options.limits.load_deadline_ms = 1;
    let activate = async |bytes: &[u8]| {
        let error = host
            .activate("policy", bytes.to_vec(), options.clone())
            .await;
        error.unwrap_err().kind
    };
    let kind = activate(&one).await;
    assert!(
        matches!(kind, ActivationErrorKind::TooSlow { limit_ms: 200 }),
        "{kind:?}"
    );
    // Its thread goes on; the next one is loaded beside it.
    let kind = activate(&small).await;
    assert!(
        matches!(kind, ActivationErrorKind::World { .. }),
        "{kind:?}"
    );
    // With a second one no thread more is taken.
    let kind = activate(&other).await;
    assert!(
        matches!(kind, ActivationErrorKind::TooSlow { .. }),
        "{kind:?}"
    );
    let kind = activate(&small).await;
    assert!(matches!(kind, ActivationErrorKind::Busy(2)), "{kind:?}");
    // And when they are done, all is as before.
    let mut kind = kind;
    while matches!(kind, ActivationErrorKind::Busy(_)) {
        kind = activate(&small).await;
    }
    assert!(
        matches!(kind, ActivationErrorKind::World { .. }),
        "{kind:?}"
    );
}

/// The demo's policy as it was built for the first version of the contract.
const BACKUP_FIRST_0_1_0: &[u8] = include_bytes!("../released/backup-first-0.1.0.wasm");

#[tokio::test]
async fn a_component_of_an_earlier_contract_decides_as_before() {
    let host = Host::builder().build().unwrap();
    host.activate("policy", BACKUP_FIRST_0_1_0, PolicyOptions::default())
        .await
        .unwrap();
    let policy = host.policy("policy").unwrap();
    let request = facts::request();
    let last = request.candidates.last().unwrap().model.clone();
    let decision = host
        .decide_fallback(&policy, Arc::new(request), &facts::default_plan())
        .await;
    assert_eq!(decision.record.decided_by, DecidedBy::Policy);
    let Action::Call(first) = &decision.value.steps[0].action else {
        panic!("{:?}", decision.value);
    };
    assert_eq!(first.model, last);
}
