//! A whole gateway from a file: both planes, reload, and its end.

use backstop_gateway::launch::{LaunchOptions, Source, launch};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::oneshot;

const CONFIG: &str = r#"
include = "builtin:demo"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
data_dir = "data"
[providers.primary]
latency_ms = 1
latency_jitter_ms = 0
tokens = 1
[rules.sorry]
text = "closed"
[routes.closed]
kind = "chat"
rules = ["sorry"]
"#;

async fn send(addr: SocketAddr, method: &str, path: &str, body: &str) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"))
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn says(addr: SocketAddr, route: &str) -> String {
    let body = crate::kit::chat(route, false).to_string();
    let (status, text) = send(addr, "POST", "/v1/chat/completions", &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let text = body["choices"][0]["message"]["content"].as_str();
    text.unwrap().to_owned()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn the_demo_configuration_serves_reloads_and_keeps_the_last_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backstop.toml");
    write(&path, CONFIG);
    let launched = launch(LaunchOptions {
        source: Source::File(path.clone()),
        watch: false,
        signal: false,
    })
    .await
    .unwrap();
    let (data, admin) = (launched.data_addr, launched.admin_addr);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(launched.run(async {
        let _ = stopped.await;
    }));

    assert!(!says(data, "chat").await.is_empty());
    assert_eq!(says(data, "closed").await, "closed");
    let (status, ready) = send(admin, "GET", "/readyz", "").await;
    assert_eq!(status, StatusCode::OK, "{ready}");
    let (_, metrics) = send(admin, "GET", "/metrics", "").await;
    for line in [
        r#"backstop_requests_total{route="chat",outcome="answered"} 1"#,
        r#"backstop_policy_decisions_total{policy="layered",point="fallback",decided_by="policy"} 1"#,
        r#"backstop_config_synchronized 1"#,
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
    let (_, rollouts) = send(admin, "GET", "/admin/v1/rollouts", "").await;
    let rollouts: Value = serde_json::from_str(&rollouts).unwrap();
    assert_eq!(
        rollouts["data"][0]["share_percent"],
        json!(5.0),
        "{rollouts}"
    );

    // Changed, and changed into something broken.
    write(&path, &CONFIG.replace("\"closed\"", "\"open again\""));
    let (status, text) = send(admin, "POST", "/admin/v1/reload", "").await;
    assert!(status.is_success(), "{text}");
    assert_eq!(says(data, "closed").await, "open again");
    write(
        &path,
        &CONFIG.replace("rules = [\"sorry\"]", "rules = [\"sory\"]"),
    );
    let (_, text) = send(admin, "POST", "/admin/v1/reload", "").await;
    assert!(text.contains("sory"), "{text}");
    assert_eq!(says(data, "closed").await, "open again");
    let (_, metrics) = send(admin, "GET", "/metrics", "").await;
    assert!(metrics.contains("backstop_config_synchronized 0"));

    let _ = stop.send(());
    assert_eq!(server.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_gateway_that_cannot_start_says_everything_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backstop.toml");
    let wrong = [
        "[policies.layered.settings]",
        "no_such_setting = 1",
        "[policies.confidence.settings]",
        "accept_at = 7",
    ];
    write(&path, &format!("{CONFIG}\n{}", wrong.join("\n")));
    let refused = launch(LaunchOptions {
        source: Source::File(path),
        watch: false,
        signal: false,
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains("layered") && refused.contains("accept_at"),
        "{refused}"
    );
}
