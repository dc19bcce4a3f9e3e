//! A client of the admin plane of a running gateway.
//!
//! One request per command over hyper's own client; answers are JSON. What the
//! gateway says about a failure is handed on in its words.

use crate::args::AdminArgs;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, OrExit};
use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;

/// How long a request may take. An activation compiles a component and runs it
/// several times, each within a second.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer: 200 decision records with all their calls stay below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client of one gateway.
pub(crate) struct Admin {
    base: String,
    token: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Admin {
    /// A client for the gateway that `args` name. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The address or the token cannot be one.
    pub(crate) fn new(args: &AdminArgs) -> Result<Admin, Failure> {
        let base = args.admin.trim_end_matches('/').to_owned();
        let uri: Uri = base
            .parse()
            .with_context(|| format!("`{base}` is no address of an admin plane"))
            .or_exit(ExitCode::Usage)?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(Failure::usage(format!(
                "`{base}` is no address of an admin plane: give one like http://127.0.0.1:8081 \
                 (for a distant gateway, forward a local port to it)"
            )));
        }
        let token = args
            .token
            .as_deref()
            .map(|token| HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .context("the token holds characters that a header cannot carry")
            .or_exit(ExitCode::Usage)?
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        Ok(Admin {
            base,
            token,
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// `GET path`.
    ///
    /// # Errors
    ///
    /// As [`Admin::send`].
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    ///
    /// As [`Admin::send`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = Bytes::from(body.to_string());
        self.send(Method::POST, path, Some(("application/json", body)))
            .await
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    ///
    /// `Unreachable` when there is no answer or the token is not accepted,
    /// `Refused` when a policy was refused, else `Failed`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = match body {
            Some((content_type, body)) => {
                request = request.header(CONTENT_TYPE, content_type);
                body
            }
            None => Bytes::new(),
        };
        let request = request
            .body(Full::new(body))
            .with_context(|| format!("ask for `{path}`"))
            .or_exit(ExitCode::Usage)?;
        let exchange = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        let (status, bytes) = exchange
            .unwrap_or_else(|_| Err(anyhow!("no answer within {} s", TIMEOUT.as_secs())))
            .with_context(|| {
                format!(
                    "reach the admin plane at {} (is the gateway running? `--admin` says where)",
                    self.base
                )
            })
            .or_exit(ExitCode::Unreachable)?;
        answer(status, &bytes)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow!("read the answer: {error}"))?;
        Ok((status, body.to_bytes()))
    }
}

/// The answer's value, or what its error says.
fn answer(status: StatusCode, bytes: &Bytes) -> Result<Value, Failure> {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    if status.is_success() {
        return match value {
            Some(value) => Ok(value),
            None if bytes.is_empty() => Ok(Value::Null),
            None => Err(Failure::new(
                ExitCode::Failed,
                anyhow!("the answer is not JSON: is this the admin plane of a gateway?"),
            )),
        };
    }
    let said = value.as_ref().and_then(|value| {
        let error = &value["error"];
        error["message"].as_str().or_else(|| error.as_str())
    });
    let text = match said {
        Some(message) => message.to_owned(),
        None => format!("the gateway answered {status}"),
    };
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::new(
            ExitCode::Unreachable,
            anyhow!("{text}; give the token with `--token` or BACKSTOP_ADMIN_TOKEN"),
        ),
        StatusCode::UNPROCESSABLE_ENTITY => Failure::new(ExitCode::Refused, anyhow!(text)),
        _ => Failure::new(ExitCode::Failed, anyhow!(text)),
    })
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(url: &str) -> Result<Admin, Failure> {
        Admin::new(&AdminArgs {
            admin: url.to_owned(),
            token: None,
        })
    }

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        assert!(admin("http://127.0.0.1:8081/").is_ok());
        for url in ["127.0.0.1:8081", "ftp://x", "https://x", "http://"] {
            let failure = admin(url).err();
            assert_eq!(failure.map(|f| f.code), Some(ExitCode::Usage), "{url}");
        }
    }

    #[test]
    fn errors_keep_the_words_of_the_gateway() {
        let body = Bytes::from_static(b"{\"error\":{\"message\":\"no policy `x`\"}}");
        let failure = answer(StatusCode::NOT_FOUND, &body).unwrap_err();
        assert_eq!(failure.error.to_string(), "no policy `x`");
        assert_eq!(failure.code, ExitCode::Failed);
        let refused = answer(StatusCode::UNPROCESSABLE_ENTITY, &body).unwrap_err();
        assert_eq!(refused.code, ExitCode::Refused);
        let unknown = answer(StatusCode::UNAUTHORIZED, &Bytes::new()).unwrap_err();
        assert_eq!(unknown.code, ExitCode::Unreachable);
        assert!(unknown.error.to_string().contains("--token"));
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_said_to_be_unreachable() {
        // Bound and dropped: nobody listens on this port now.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let admin = admin(&format!("http://{address}")).ok().unwrap();
        let failure = admin.get("/admin/v1/policies").await.unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable);
    }

    #[test]
    fn names_are_safe_in_a_path() {
        assert_eq!(segment("layered-fallback"), "layered-fallback");
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
    }
}
