//! Policies built for real: cargo, the wasm target and the encoder.
//!
//! One test function: the builds share a target directory and would only wait
//! for each other's lock.

#![expect(
    clippy::unwrap_used,
    reason = "a test is to stop where something is odd"
)]

use backstop_build::{
    BuildError, ComponentError, Options, SdkDependency, build_policies, build_policy, new_policy,
};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The promise about a minimal policy's size.
const MINIMAL_BYTES_MAX: usize = 100_000;
/// The promise about its source.
const MINIMAL_LINES_MAX: usize = 30;

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn scaffold(dir: &Path, name: &str, source: Option<&str>) -> PathBuf {
    let dir = dir.join(name);
    new_policy(&dir, name, &SdkDependency::Path(sdk())).unwrap();
    // The workspace's versions, so that nothing is fetched for the test.
    std::fs::copy(sdk().join("../Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    if let Some(source) = source {
        std::fs::write(dir.join("src/lib.rs"), source).unwrap();
    }
    dir
}

#[test]
fn policies_become_small_components_and_mistakes_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("policies");
    let options = Options::new(&target);

    let source = include_str!("../../examples/minimal.rs");
    let lines = source
        .lines()
        .filter(|line| {
            !line.trim().is_empty() && !line.starts_with("//!") && !line.starts_with("#![expect")
        })
        .count();
    assert!(
        lines < MINIMAL_LINES_MAX,
        "the minimal policy has {lines} lines"
    );

    let minimal = scaffold(temp.path(), "minimal", Some(source));
    let fresh = scaffold(temp.path(), "my-policy", None);
    let built =
        build_policies(&[&minimal, &fresh], &options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(built[0].package, "minimal");
    assert_eq!(built[1].package, "my-policy");

    let inspection = &built[0].inspection;
    println!("{inspection:#?}");
    assert!(
        inspection.bytes < MINIMAL_BYTES_MAX,
        "{} bytes",
        inspection.bytes
    );
    assert_eq!(
        inspection.imports,
        [
            "backstop:policy/metrics@0.1.2",
            "backstop:policy/requests@0.1.2",
            "backstop:policy/types@0.1.2",
        ]
    );
    assert_eq!(
        inspection.exports,
        [
            "backstop:policy/fallback@0.1.2",
            "backstop:policy/lifecycle@0.1.2",
        ]
    );
    assert_eq!(inspection.memory_pages, 1);
    assert!(
        built[0]
            .sources
            .iter()
            .any(|file| file.ends_with("src/export.rs"))
    );
    let text = String::from_utf8_lossy(&built[0].component).into_owned();
    let home = std::env::home_dir().unwrap().join(".cargo");
    assert!(
        !text.contains(&*home.to_string_lossy()),
        "paths of this machine leak"
    );

    new_policy_passes_its_own_tests(&fresh, &target);
    mistakes_are_named(temp.path(), &options);
}

fn new_policy_passes_its_own_tests(dir: &Path, target: &Path) {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--target-dir"])
        .arg(target)
        .env("CARGO_BUILD_BUILD_DIR", target)
        .current_dir(dir)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("4 passed"), "{stdout}");
}

fn mistakes_are_named(temp: &Path, options: &Options) {
    let error = build_policy(&temp.join("nowhere"), options).unwrap_err();
    assert!(matches!(error, BuildError::NoCrate { .. }), "{error}");

    let dir = scaffold(temp, "rlib-only", None);
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    std::fs::write(
        dir.join("Cargo.toml"),
        manifest.replace("[\"cdylib\", \"rlib\"]", "[\"rlib\"]"),
    )
    .unwrap();
    let error = build_policy(&dir, options).unwrap_err();
    assert!(matches!(error, BuildError::NotACdylib { .. }), "{error}");

    std::fs::write(dir.join("Cargo.toml"), "[package]\nname = 1\n").unwrap();
    let error = build_policy(&dir, options).unwrap_err();
    assert!(matches!(error, BuildError::Manifest { .. }), "{error}");

    let dir = scaffold(temp, "broken", Some("fn broken("));
    let error = build_policy(&dir, options).unwrap_err();
    let BuildError::Compile { packages, output } = error else {
        panic!("{error}");
    };
    assert_eq!(packages, "`broken`");
    assert!(output.contains("unclosed delimiter"), "{output}");

    let dir = scaffold(temp, "no-policy", Some("pub fn decide() {}"));
    let error = build_policy(&dir, options).unwrap_err();
    let BuildError::Component { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, ComponentError::NoWorld), "{source}");
}
