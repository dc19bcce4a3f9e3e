//! What Prometheus answers to an instant query.
//!
//! Source: the HTTP API's `/api/v1/query`. Always holds: one finite number, or
//! a word why there is none.

use serde::Deserialize;
use serde_json::Value;

/// Why an answer is no number, in a word for metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoNumber {
    /// It was not reached, or the exchange broke.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("no answer within {0} ms")]
    Timeout(u128),
    /// It refused the query.
    #[error("refused: {0}")]
    Refused(String),
    /// What it says is none of its answers.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The query finds nothing.
    #[error("the query finds no sample")]
    Empty,
    /// It finds more than one sample.
    #[error("the query finds {0} samples; aggregate them to one, with `sum` for example")]
    Several(usize),
    /// The number is NaN or infinite.
    #[error("the number is {0}")]
    NotFinite(String),
}

impl NoNumber {
    /// The word in metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            NoNumber::Unreachable(_) => "unreachable",
            NoNumber::Timeout(_) => "timeout",
            NoNumber::Refused(_) => "refused",
            NoNumber::Malformed(_) => "malformed",
            NoNumber::Empty => "empty",
            NoNumber::Several(_) => "several",
            NoNumber::NotFinite(_) => "not-finite",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// The number in an answer with this status.
pub(super) fn number(status: u16, body: &[u8]) -> Result<f64, NoNumber> {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        // Proxies refuse in HTML.
        Err(_) if !(200..300).contains(&status) => {
            return Err(NoNumber::Refused(format!("status {status}")));
        }
        Err(error) => return Err(NoNumber::Malformed(error.to_string())),
    };
    let data = match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => data,
        _ => {
            let said = answer.error.unwrap_or_else(|| format!("status {status}"));
            return Err(NoNumber::Refused(said));
        }
    };
    let pair = match (data.result_type.as_str(), &data.result) {
        ("scalar", pair) => pair,
        ("vector", Value::Array(samples)) => match samples.as_slice() {
            [] => return Err(NoNumber::Empty),
            [one] => &one["value"],
            several => return Err(NoNumber::Several(several.len())),
        },
        (other, _) => {
            let why = format!("a {other}, where a scalar or a vector is needed");
            return Err(NoNumber::Malformed(why));
        }
    };
    let text = pair.get(1).and_then(Value::as_str);
    let number = text.and_then(|text| text.parse::<f64>().ok());
    match (number, text) {
        (Some(number), _) if number.is_finite() => Ok(number),
        (Some(_), Some(text)) => Err(NoNumber::NotFinite(text.to_owned())),
        _ => Err(NoNumber::Malformed("a sample without a number".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(kind: &str, result: &str) -> Result<f64, NoNumber> {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        number(200, body.as_bytes())
    }

    #[test]
    fn one_finite_number_is_read_and_everything_else_has_a_word() {
        let sample = r#"{"metric":{"job":"a"},"value":[1700000000.1,"0.25"]}"#;
        assert_eq!(success("scalar", r#"[1700000000,"42"]"#), Ok(42.0));
        assert_eq!(success("vector", &format!("[{sample}]")), Ok(0.25));
        let words = |answer: Result<f64, NoNumber>| answer.map_err(|why| why.word());
        let two = format!("[{sample},{sample}]");
        let many = success("vector", &two);
        assert_eq!(many, Err(NoNumber::Several(2)));
        for (answer, word) in [
            (success("vector", "[]"), "empty"),
            (many, "several"),
            (success("scalar", r#"[1,"NaN"]"#), "not-finite"),
            (success("scalar", r#"[1,"+Inf"]"#), "not-finite"),
            (success("scalar", r#"[1]"#), "malformed"),
            (success("matrix", "[]"), "malformed"),
            (success("string", r#"[1,"a"]"#), "malformed"),
            (number(200, b"<html>"), "malformed"),
            (number(502, b"<html>"), "refused"),
            (number(200, b"{\"status\":\"success\"}"), "refused"),
        ] {
            assert_eq!(words(answer.clone()), Err(word), "{answer:?}");
        }
        let refused = br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        let why = number(400, refused);
        assert_eq!(why, Err(NoNumber::Refused("parse error".to_owned())));
    }
}
