//! What the components are: small, in one page of memory, importing what they
//! use and no more, and refused without the grants that their README names.

use crate::kit::{Story, options, settings};
use backstop::{Grants, PolicyOptions};
use backstop_policies::BUILTINS;
use serde_json::json;

/// Largest component that a shipped policy may be.
const BYTES_MAX: usize = 100_000;

#[test]
fn components_are_small_and_import_what_they_use() {
    for builtin in BUILTINS {
        let inspection = backstop_build::inspect(builtin.component).unwrap();
        assert!(
            inspection.bytes < BYTES_MAX,
            "{} has {} bytes",
            builtin.name,
            inspection.bytes
        );
        assert_eq!(inspection.memory_pages, 1, "{}", builtin.name);
        let mut expected: Vec<&str> = match builtin.name {
            "layered-fallback" => vec!["metrics", "requests", "types"],
            "confidence-threshold" => vec!["answers", "metrics", "requests", "types"],
            "adaptive-threshold" => vec!["answers", "evidence", "metrics", "requests", "types"],
            "drift-guard" => {
                vec![
                    "answers", "evidence", "incident", "metrics", "requests", "types",
                ]
            }
            "canary-rollback" => vec!["incident", "metrics", "rollouts", "types"],
            other => panic!("say what {other} imports"),
        };
        expected.sort_unstable();
        let imports: Vec<_> = inspection
            .imports
            .iter()
            .map(|import| import.trim_start_matches("backstop:policy/"))
            .map(|import| import.trim_end_matches("@0.1.2"))
            .collect();
        assert_eq!(imports, expected, "{}", builtin.name);
    }
}

#[tokio::test]
async fn every_policy_says_the_name_and_summary_that_the_list_says() {
    let story = Story::new();
    let host = story.host();
    for builtin in BUILTINS {
        let info = host
            .check(
                builtin.name,
                builtin.component,
                options(builtin.name, settings(builtin.name)),
            )
            .await
            .unwrap();
        assert_eq!(info.description.name, builtin.name);
        assert_eq!(info.description.summary, builtin.summary);
    }
}

#[tokio::test]
async fn no_policy_loads_without_its_grants() {
    let story = Story::new();
    let host = story.host();
    for builtin in BUILTINS {
        let options = PolicyOptions {
            grants: Grants::default(),
            ..options(builtin.name, settings(builtin.name))
        };
        let error = host
            .activate(builtin.name, builtin.component, options)
            .await
            .unwrap_err();
        let text = format!("{error}: {:?}", error.kind);
        assert!(text.contains("metrics"), "{text}");
        assert!(host.policy(builtin.name).is_none());
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_with_their_place() {
    let story = Story::new();
    let host = story.host();
    for (name, settings, place) in [
        (
            "layered-fallback",
            json!({"models": ["a", "a"]}),
            "/models/1",
        ),
        (
            "confidence-threshold",
            json!({"accept_at": 0.1, "review_below": 0.2}),
            "/review_below",
        ),
        ("canary-rollback", json!({"alpha": 2}), "/alpha"),
        (
            "adaptive-threshold",
            json!({"accept_at": 0.9, "ceiling": 0.8}),
            "/ceiling",
        ),
        (
            "drift-guard",
            json!({"watch": [{"metric": "accuracy", "kind": "below"}]}),
            "/watch/0/limit",
        ),
    ] {
        let component = backstop_policies::component(name).unwrap();
        let error = host
            .activate(name, component, options(name, settings))
            .await
            .unwrap_err();
        let text = format!("{error}: {:?}", error.kind);
        assert!(text.contains(place), "{text}");
    }
}
