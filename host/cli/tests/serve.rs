//! `backstop serve` as an operator runs it: started, asked, changed with the
//! policy verbs, and stopped with a signal.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
admin_token = "${TEST_ADMIN_TOKEN}"
data_dir = "data"
shutdown_grace_s = 5

[providers.primary]
kind = "simulated"

[models.big]
provider = "primary"

[policies.chat]
component = "builtin:layered-fallback"
grants = { metrics = ["*"] }

[rules.sorry]
text = "not now"

[routes.chat]
kind = "chat"
models = ["big"]
rules = ["sorry"]
fallback = "chat"
"#;
const TOKEN: &str = "let-me-in";
/// Longest start and longest stop.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn backstop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command
        .env("TEST_ADMIN_TOKEN", TOKEN)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// A gateway that is stopped when the test is over, however it ends.
struct Serving {
    child: Child,
    ready: serde_json::Value,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Already ended where the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(config: &Path) -> Serving {
        let mut child = backstop()
            .args(["serve", "--json", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        for line in stdout.lines() {
            text.push_str(&line.unwrap());
            if text.ends_with('}') {
                break;
            }
        }
        let ready = serde_json::from_str(&text).expect("a JSON object when it is ready");
        Serving { child, ready }
    }

    /// Runs a verb of the admin plane.
    fn policy(&self, args: &[&str]) -> Output {
        let admin = self.ready["admin"].as_str().unwrap();
        backstop()
            .args(args)
            .args(["--admin", admin, "--token", TOKEN])
            .output()
            .unwrap()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.policy(&[args, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}{errors}");
        serde_json::from_str(&text).unwrap()
    }

    fn ask(&self) -> String {
        let address = self.ready["data"].as_str().unwrap().strip_prefix("http://");
        let mut stream = TcpStream::connect(address.unwrap()).unwrap();
        let body = r#"{"model": "chat", "messages": [{"role": "user", "content": "hi"}]}"#;
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends SIGTERM and waits for the end.
    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("still running after {WAIT_MAX:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_gateway_is_run_changed_and_stopped_from_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("backstop.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let serving = Serving::start(&config);
    assert_eq!(serving.ready["routes"][0], "chat");

    let answer = serving.ask();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-backstop-model: big"), "{answer}");

    let requests = serving.json(&["log", "requests", "--outcome", "answered"]);
    let id = requests["data"][0]["id"].as_str().unwrap();
    assert!(answer.contains(&format!("x-backstop-request: {id}")));
    let table = text(&serving.policy(&["log", "requests"]).stdout);
    assert!(table.contains(id) && table.contains("big"), "{table}");
    let table = text(&serving.policy(&["log", "requests", id]).stdout);
    assert!(
        table.contains("plan") && table.contains("answered"),
        "{table}"
    );

    let list = serving.json(&["policy", "list"]);
    assert_eq!(list["data"][0]["name"], "chat");
    assert_eq!(list["data"][0]["decisions"], 1);

    let activated = serving.json(&[
        "policy",
        "activate",
        "chat",
        "builtin:layered-fallback",
        "--settings",
        r#"{"trials_min": 5}"#,
        "--by",
        "ana",
    ]);
    assert_eq!(activated["revision"]["number"], 2);
    let refused = serving.policy(&[
        "policy",
        "activate",
        "chat",
        "builtin:layered-fallback",
        "--settings",
        r#"{"trials_min": 0}"#,
    ]);
    assert_eq!(refused.status.code(), Some(3));
    let why = text(&refused.stderr);
    assert!(
        why.contains("/trials_min") && why.contains("revision 2 still serves"),
        "{why}"
    );

    let back = serving.json(&["policy", "rollback", "chat"]);
    assert_eq!(back["revision"]["number"], 1);
    let history = serving.json(&["policy", "history", "chat"]);
    assert_eq!(history["serving"], 1);
    assert_eq!(history["data"][0]["source"], "roll-back");
    assert_eq!(history["data"][1]["by"], "ana");

    let table = text(&serving.policy(&["policy", "history", "chat"]).stdout);
    assert!(
        table.contains("serving revision 1; ready to go back to: 2"),
        "{table}"
    );
    let table = text(&serving.policy(&["policy", "list"]).stdout);
    assert!(table.contains("layered-fallback"), "{table}");
    assert!(serving.policy(&["reload"]).status.success());

    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn a_wrong_token_and_a_gateway_that_is_gone_have_their_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("backstop.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let serving = Serving::start(&config);
    let admin = serving.ready["admin"].as_str().unwrap().to_owned();
    let list = |token: &str| {
        let output = backstop()
            .args(["policy", "list", "--admin", &admin, "--token", token])
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, why) = list("something-else");
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("--token"), "{why}");
    assert_eq!(serving.terminate(), Some(0));
    let (code, why) = list(TOKEN);
    assert_eq!(code, Some(4), "{why}");
    assert!(why.contains("is the gateway running?"), "{why}");
}

#[test]
fn a_configuration_that_cannot_be_served_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("backstop.toml");
    for (text, expected) in [
        (CONFIG.replace("\"big\"]", "\"bgi\"]"), 2),
        (CONFIG.replace("grants = { metrics = [\"*\"] }", ""), 3),
    ] {
        std::fs::write(&config, text).unwrap();
        let output = backstop()
            .args(["serve", "--config"])
            .arg(&config)
            .env("RUST_LOG", "off")
            .output()
            .unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{why}");
        assert!(why.starts_with("error: "), "{why}");
        assert!(output.stdout.is_empty());
    }
}
