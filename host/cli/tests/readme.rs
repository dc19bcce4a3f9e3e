//! The README is true: its commands are run as they stand there, the policy it
//! shows is the SDK's example, and its links lead somewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says where"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The first fenced block of this language after `heading`.
fn block(readme: &str, heading: &str, language: &str) -> String {
    let after = readme.split_once(heading).unwrap().1;
    let fenced = after.split_once(&format!("```{language}\n")).unwrap().1;
    fenced.split_once("\n```").unwrap().0.to_owned()
}

/// Runs `command` as a shell would, with this build's `backstop` on the path.
fn run(command: &str, dir: &Path) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_backstop"));
    let path = std::env::join_paths(
        [binary.parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("sh")
        .args(["-ec", command])
        .current_dir(dir)
        .env("PATH", path.unwrap())
        // The new crate has a target directory of its own, as for its author.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_BUILD_DIR")
        .output()
        .unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "`{command}` failed:\n{told}");
    told
}

#[test]
fn a_new_author_goes_from_nothing_to_a_policy_with_the_commands_of_the_readme() {
    let commands = block(&readme(), "## From nothing to a deciding policy", "sh");
    let commands = commands.replace("\\\n", "");
    let mut lines = commands.lines();
    let dir = tempfile::tempdir().unwrap();
    let mut next = || lines.next().unwrap();

    run(next(), dir.path());
    let crate_dir = dir.path().join("my-policy");
    let test = next().strip_prefix("cd my-policy && ").unwrap();
    let told = run(test, &crate_dir);
    assert!(told.contains("test result: ok."), "{told}");
    run(next(), &crate_dir);
    let told = run(next(), &crate_dir);
    assert!(told.contains("fallback"), "{told}");

    // The last one serves for ever; its configuration is what can be wrong.
    let (write, serve) = next().split_once(" && ").unwrap();
    assert_eq!(serve, "backstop serve --config backstop.toml");
    run(write, &crate_dir);
    let configuration = fs::read_to_string(crate_dir.join("backstop.toml")).unwrap();
    assert_eq!(configuration.lines().count(), 3, "{configuration}");
    run("backstop check backstop.toml", &crate_dir);
}

#[test]
fn the_policy_in_the_readme_is_the_example_of_the_sdk() {
    let shown = block(&readme(), "A whole policy, ", "rust");
    let example = fs::read_to_string(root().join("guest-sdk/examples/minimal.rs")).unwrap();
    assert!(example.trim_end().ends_with(shown.trim_end()), "{shown}");
    let written = shown.lines().filter(|line| !line.trim().is_empty());
    assert!(written.count() < 30);
}

#[test]
fn the_links_of_the_readme_lead_somewhere() {
    let readme = readme();
    let targets: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| !target.starts_with("http"))
        .collect();
    assert!(targets.len() > 10, "{targets:?}");
    for target in targets {
        assert!(root().join(target).exists(), "`{target}` is not there");
    }
}
