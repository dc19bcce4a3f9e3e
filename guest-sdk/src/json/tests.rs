//! Reading is held against `serde_json`.

use super::from_str;
use serde::{Deserialize, de};
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    counts: Vec<u8>,
    #[serde(default)]
    by_label: BTreeMap<String, Kind>,
    #[serde(default)]
    by_code: BTreeMap<u16, bool>,
    #[serde(default)]
    tagged: Option<Tagged>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Plain,
    New(i64),
    Pair(u8, u8),
    Full { deep: bool },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged {
    One { count: u32 },
    None,
}

#[test]
fn reads_what_serde_json_reads() {
    for text in [
        r#"{"name":""}"#,
        " { \"name\" : \"a\" , \"share\" : null }\n",
        r#"{"name":"\u00e9\ud83d\ude00\n\"\\\/é","share":-0.5e-2,"counts":[]}"#,
        r#"{"name":"x","share":1,"counts":[0,255]}"#,
        r#"{"name":"x","by_label":{"a":"plain","b/~":{"new":-7},"c":{"full":{"deep":true}},"d":{"pair":[1,2]}}}"#,
        r#"{"name":"x","by_code":{"404":true,"500":false}}"#,
        r#"{"tagged":{"count":3,"kind":"one"},"name":"x"}"#,
        r#"{"tagged":{"kind":"none"},"name":"x"}"#,
    ] {
        let ours: Sample = from_str(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let theirs: Sample = serde_json::from_str(text).unwrap();
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn numbers_are_exact_as_far_as_promised() {
    for text in [
        "0",
        "-0.0",
        "0.05",
        "0.1",
        "1e22",
        "1.5e-7",
        "123456789.012345",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "1E+3",
        "2.0",
    ] {
        let ours: f64 = from_str(text).unwrap();
        let theirs: f64 = text.parse().unwrap();
        assert_eq!(ours.to_bits(), theirs.to_bits(), "{text}");
    }
    for text in [
        "3.141592653589793238462643383279",
        "1e-300",
        "1.7976931348623157e308",
    ] {
        let ours: f64 = from_str(text).unwrap();
        let theirs: f64 = text.parse().unwrap();
        assert!((ours / theirs - 1.0).abs() < 1e-14, "{text}: {ours}");
    }
    assert!(from_str::<f64>("1e400").unwrap().is_infinite());
    assert_eq!(from_str::<f64>("1e-99999999999").unwrap().to_bits(), 0);
    assert_eq!(from_str::<u8>("2.0").unwrap(), 2);
    assert_eq!(from_str::<u64>("18446744073709551615").unwrap(), u64::MAX);
    assert!(from_str::<u8>("2.5").is_err());
    assert!(from_str::<u8>("256").is_err());
    assert!(from_str::<u8>("-1").is_err());
}

#[test]
fn mistakes_say_where_they_are() {
    for (text, path, message) in [
        (r#"{}"#, "", "needs `name`"),
        (r#"{"nam":1}"#, "", "has no place for `nam`"),
        (r#"{"name":"a","name":"b"}"#, "/name", "has twice `name`"),
        (r#"{"name":7}"#, "/name", "must not be a whole number"),
        (
            r#"{"name":"a","share":"b"}"#,
            "/share",
            "must not be a string",
        ),
        (
            r#"{"name":"a","counts":[1,2,300]}"#,
            "/counts/2",
            "is out of range",
        ),
        (
            r#"{"name":"a","by_label":{"b/~":"odd"}}"#,
            "/by_label/b~1~0",
            "must not be `odd`",
        ),
        (r#"{"name":"a"} 7"#, "", "unexpected text after the value"),
    ] {
        let error = from_str::<Sample>(text).unwrap_err();
        assert_eq!(
            (error.0.as_str(), error.1.as_str()),
            (path, message),
            "{text}"
        );
    }
}

#[test]
fn broken_text_is_an_error_and_never_a_panic() {
    let whole = r#"{"name":"\u00e9\ud83d\ude00","share":-1.5e-3,"counts":[1,2],"by_label":{"a":{"full":{"deep":true}}}}"#;
    for end in 0..whole.len() {
        let part = String::from_utf8_lossy(&whole.as_bytes()[..end]).into_owned();
        assert!(from_str::<Sample>(&part).is_err(), "{part}");
    }
    for text in [
        "nul",
        "tru",
        "-",
        "1e",
        "1e+",
        "[1,]",
        "[1 2]",
        "{\"a\"}",
        "{a:1}",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\u{1}\"",
        "\u{feff}{}",
        "[[",
        "]",
    ] {
        assert!(from_str::<de::IgnoredAny>(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        from_str::<de::IgnoredAny>(&deep).unwrap_err().1,
        "is nested too deeply"
    );
}
