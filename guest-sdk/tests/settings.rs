//! The settings attribute: what the schema says is what serde takes.

#![expect(
    missing_docs,
    reason = "descriptions would get in the way of the schema"
)]

use backstop_sdk::testing::{Bench, Value, json};
use backstop_sdk::{
    Abstain, Context, Fallback, Plan, Policy, Problems, Request, Shaped, export, settings,
};
use std::collections::BTreeMap;

/// All that the attribute knows.
///
/// In two paragraphs.
#[settings]
#[derive(Debug, Clone, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub struct Everything {
    /// A "quoted" name.
    name: String,
    #[setting(default = 0.25, above = 0, max = 1.0)]
    max_rate: f64,
    #[setting(default = -3)]
    offset: i32,
    #[setting(default = "small", min_len = 1, max_len = 8, pattern = "^[a-z]+$")]
    backup: String,
    #[setting(default)]
    #[serde(rename = "labels")]
    per_label: BTreeMap<String, Band>,
    #[serde(default)]
    #[setting(max_len = 2)]
    steps: Vec<u32>,
    #[setting(min = 10)]
    budget: Option<u64>,
    #[setting(default = Mode::Strict)]
    mode: Mode,
    #[serde(default)]
    action: Action,
    /// Which way.
    #[serde(default)]
    way: Option<Way>,
    #[serde(skip)]
    cached: u8,
}

/// A band of confidence.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    #[setting(min = 0, max = 1)]
    low: f64,
    #[setting(default = 1.0, min = 0, max = 1)]
    high: f64,
}

#[settings]
#[derive(Debug, Clone, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Strict,
    VeryLoose,
}

#[settings]
#[derive(Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    #[default]
    Nothing,
    /// Wait so long.
    Wait(Millis),
    Call {
        model: String,
        #[setting(default = 2)]
        tries: u8,
    },
}

#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Millis(u32);

#[settings]
#[derive(Debug, Clone, PartialEq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Way {
    Up,
    Sideways {
        #[setting(max = 90)]
        degrees: u16,
    },
}

#[settings(open)]
#[derive(Debug)]
pub struct Open {
    #[setting(default = 1)]
    known: u8,
}

#[derive(Debug)]
struct Holder(Everything);

impl Policy for Holder {
    type Settings = Everything;

    fn configure(settings: Everything) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        problems.require(
            settings.name != "forbidden",
            "/name",
            "must not be `forbidden`",
        );
        problems.or(Self(settings))
    }
}

impl Fallback for Holder {
    fn decide(&self, _: &Context, _: &Request) -> Result<Plan, Abstain> {
        Err("nothing to decide".into())
    }
}

export!(Holder: fallback);

fn schema_of<T: Shaped>() -> Value {
    fn join(parts: &[backstop_sdk::Part], text: &mut String) {
        for part in parts {
            match part {
                backstop_sdk::Part::Text(piece) => text.push_str(piece),
                backstop_sdk::Part::Of(parts) => join(parts, text),
            }
        }
    }
    let mut text = String::from("{");
    join(T::WHOLE, &mut text);
    text.push('}');
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_schema_is_what_the_attributes_say() {
    let band = json!({
        "type": "object",
        "properties": {
            "low": { "type": "number", "minimum": 0, "maximum": 1 },
            "high": { "type": "number", "minimum": 0, "maximum": 1, "default": 1.0 },
        },
        "required": ["low"],
        "additionalProperties": false,
        "description": "A band of confidence.",
    });
    assert_eq!(
        Bench::<Holder>::schema(),
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "description": "All that the attribute knows.\nIn two paragraphs.",
            "type": "object",
            "properties": {
                "name": { "type": "string", "description": "A \"quoted\" name." },
                "max-rate": {
                    "type": "number", "exclusiveMinimum": 0, "maximum": 1.0, "default": 0.25,
                },
                "offset": {
                    "type": "integer", "minimum": -2147483648, "maximum": 2147483647,
                    "default": -3,
                },
                "backup": {
                    "type": "string", "minLength": 1, "maxLength": 8, "pattern": "^[a-z]+$",
                    "default": "small",
                },
                "labels": { "type": "object", "additionalProperties": band },
                "steps": {
                    "type": "array", "maxItems": 2,
                    "items": { "type": "integer", "minimum": 0, "maximum": 4294967295_u32 },
                },
                "budget": {
                    "anyOf": [
                        { "type": "integer", "minimum": 0, "maximum": u64::MAX },
                        { "type": "null" },
                    ],
                    "minimum": 10,
                },
                "mode": { "enum": ["strict", "very_loose"] },
                "action": { "oneOf": [
                    { "const": "nothing" },
                    {
                        "type": "object",
                        "properties": {
                            "wait": { "type": "integer", "minimum": 0, "maximum": 4294967295_u32 },
                        },
                        "required": ["wait"],
                        "additionalProperties": false,
                        "description": "Wait so long.",
                    },
                    {
                        "type": "object",
                        "properties": { "call": {
                            "type": "object",
                            "properties": {
                                "model": { "type": "string" },
                                "tries": {
                                    "type": "integer", "minimum": 0, "maximum": 255, "default": 2,
                                },
                            },
                            "required": ["model"],
                            "additionalProperties": false,
                        } },
                        "required": ["call"],
                        "additionalProperties": false,
                    },
                ] },
                "way": {
                    "description": "Which way.",
                    "anyOf": [
                        { "oneOf": [
                            {
                                "type": "object",
                                "properties": { "kind": { "const": "up" } },
                                "required": ["kind"],
                                "additionalProperties": false,
                            },
                            {
                                "type": "object",
                                "properties": {
                                    "kind": { "const": "sideways" },
                                    "degrees": { "type": "integer", "minimum": 0, "maximum": 90 },
                                },
                                "required": ["kind", "degrees"],
                                "additionalProperties": false,
                            },
                        ] },
                        { "type": "null" },
                    ],
                },
            },
            "required": ["name"],
            "additionalProperties": false,
        })
    );
    assert!(schema_of::<Open>().get("additionalProperties").is_none());
    assert_eq!(
        serde_json::from_value::<Open>(json!({ "other": 1 }))
            .unwrap()
            .known,
        1
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let bench = Bench::<Holder>::new(json!({ "name": "x" })).unwrap();
    assert_eq!(
        bench.policy().0,
        Everything {
            name: "x".to_owned(),
            max_rate: 0.25,
            offset: -3,
            backup: "small".to_owned(),
            per_label: BTreeMap::new(),
            steps: Vec::new(),
            budget: None,
            mode: Mode::Strict,
            action: Action::Nothing,
            way: None,
            cached: 0,
        }
    );
}

#[test]
fn what_fits_the_schema_is_read() {
    let bench = Bench::<Holder>::new(json!({
        "name": "x",
        "max-rate": 1,
        "labels": { "spam": { "low": 0.5 } },
        "steps": [1, 2.0],
        "budget": 10,
        "mode": "very_loose",
        "action": { "call": { "model": "big" } },
        "way": { "kind": "sideways", "degrees": 45 },
    }))
    .unwrap();
    let settings = &bench.policy().0;
    assert_eq!(
        settings.per_label["spam"],
        Band {
            low: 0.5,
            high: 1.0
        }
    );
    assert_eq!(settings.steps, [1, 2]);
    assert_eq!(settings.budget, Some(10));
    assert_eq!(settings.mode, Mode::VeryLoose);
    assert_eq!(
        settings.action,
        Action::Call {
            model: "big".to_owned(),
            tries: 2
        }
    );
    assert_eq!(settings.way, Some(Way::Sideways { degrees: 45 }));
    let bench = Bench::<Holder>::new(json!({ "name": "x", "action": { "wait": 7 } })).unwrap();
    assert_eq!(bench.policy().0.action, Action::Wait(Millis(7)));
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    for (settings, path) in [
        (json!({}), ""),
        (json!({ "name": 7 }), "/name"),
        (json!({ "name": "x", "nam": 1 }), ""),
        (json!({ "name": "x", "max-rate": 0 }), "/max-rate"),
        (json!({ "name": "x", "max-rate": 1.5 }), "/max-rate"),
        (json!({ "name": "x", "backup": "" }), "/backup"),
        (json!({ "name": "x", "backup": "UPPER" }), "/backup"),
        (
            json!({ "name": "x", "labels": { "a": { "low": -1 } } }),
            "/labels/a/low",
        ),
        (json!({ "name": "x", "steps": [1, 2, 3] }), "/steps"),
        (json!({ "name": "x", "steps": [-1] }), "/steps/0"),
        (json!({ "name": "x", "budget": 9 }), "/budget"),
        (json!({ "name": "x", "mode": "loose" }), "/mode"),
        (json!({ "name": "x", "action": "wait" }), "/action"),
        (
            json!({ "name": "x", "way": { "kind": "sideways" } }),
            "/way",
        ),
        (json!({ "name": "forbidden" }), "/name"),
    ] {
        let problems = Bench::<Holder>::new(settings.clone()).unwrap_err();
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert!(paths.contains(&path), "{settings}: {problems:?}");
    }
    let both = Bench::<Holder>::new(json!({ "name": 7, "offset": "x" })).unwrap_err();
    assert_eq!(both.iter().count(), 2);
}
