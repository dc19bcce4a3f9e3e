//! Reloading with real files.

use super::*;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for something that must happen: far beyond what it takes, and
/// only used up by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration whose first line names a component file, and whose other
/// lines must all read `good`.
struct Files {
    config: PathBuf,
    serving: Mutex<String>,
    reloads: AtomicUsize,
    slow: Duration,
    running: AtomicUsize,
}

impl Reload for Files {
    fn reload(&self) -> BoxFuture<'_, Result<Applied, Refused>> {
        Box::pin(async move {
            assert_eq!(
                self.running.fetch_add(1, Ordering::SeqCst),
                0,
                "two at once"
            );
            self.reloads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.slow).await;
            let result = self.load();
            self.running.fetch_sub(1, Ordering::SeqCst);
            result
        })
    }
}

impl Files {
    fn load(&self) -> Result<Applied, Refused> {
        let refused = |mistakes: Vec<String>, files| Err(Refused { mistakes, files });
        let text = match std::fs::read_to_string(&self.config) {
            Ok(text) => text,
            Err(error) => return refused(vec![error.to_string()], vec![self.config.clone()]),
        };
        let mut lines = text.lines();
        let component = self.config.with_file_name(lines.next().unwrap_or_default());
        let files = vec![self.config.clone(), component.clone()];
        let mistakes: Vec<_> = lines
            .enumerate()
            .filter(|(_, line)| *line != "good")
            .map(|(n, line)| format!("line {}: `{line}`", n + 2))
            .collect();
        if !mistakes.is_empty() {
            return refused(mistakes, files);
        }
        match std::fs::read_to_string(&component) {
            Ok(content) => {
                *self.serving.lock() = content.clone();
                let moved = (content == "moved").then(|| "server.listen".to_owned());
                Ok(Applied {
                    digest: content,
                    files,
                    needs_restart: moved.into_iter().collect(),
                })
            }
            Err(error) => refused(vec![error.to_string()], files),
        }
    }
}

struct Setup {
    dir: TempDir,
    files: Arc<Files>,
    telemetry: Arc<Telemetry>,
    reloader: Reloader,
}

fn write(dir: &Path, name: &str, content: &str) {
    std::fs::write(dir.join(name), content).unwrap();
}

async fn start(slow: Duration, watch: bool) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config", "a.wasm\ngood");
    write(dir.path(), "a.wasm", "one");
    let files = Arc::new(Files {
        config: dir.path().join("config"),
        serving: Mutex::default(),
        reloads: AtomicUsize::new(0),
        slow,
        running: AtomicUsize::new(0),
    });
    let telemetry = Arc::new(Telemetry::new());
    let options = ReloaderOptions {
        applied: None,
        read_at: SystemTime::now(),
        watch,
        signal: false,
    };
    let reloader = Reloader::start(files.clone(), telemetry.clone(), options);
    let setup = Setup {
        dir,
        files,
        telemetry,
        reloader,
    };
    setup.until(|status| status.applied.is_some()).await;
    setup
}

impl Setup {
    async fn until(&self, holds: impl Fn(&ConfigStatus) -> bool) -> Arc<ConfigStatus> {
        let waited = async {
            loop {
                let status = self.reloader.status();
                if holds(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(status) => status,
            Err(_) => panic!("still {:#?}", self.reloader.status()),
        }
    }

    fn serving(&self) -> String {
        self.files.serving.lock().clone()
    }

    fn gauge(&self) -> String {
        let text = self.telemetry.encode(&Default::default()).unwrap();
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix("backstop_config_synchronized "))
            .unwrap()
            .to_owned()
    }
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_one_and_a_mended_one_is_applied() {
    let setup = start(Duration::ZERO, true).await;
    assert_eq!((setup.serving(), setup.gauge()), ("one".into(), "1".into()));

    write(setup.dir.path(), "a.wasm", "two");
    write(setup.dir.path(), "config", "a.wasm\nbad\ngood\nworse");
    let status = setup.until(|status| !status.synchronized).await;
    assert_eq!(status.mistakes, ["line 2: `bad`", "line 4: `worse`"]);
    assert_eq!(status.last_trigger, Some(Trigger::File));
    assert_eq!((setup.serving(), setup.gauge()), ("one".into(), "0".into()));
    let applied = status.applied.as_ref().unwrap();
    assert_eq!(applied.digest, "one", "what serves is still told");

    write(setup.dir.path(), "config", "a.wasm\ngood\ngood");
    let status = setup.until(|status| status.synchronized).await;
    assert!(status.mistakes.is_empty());
    assert_eq!((setup.serving(), setup.gauge()), ("two".into(), "1".into()));
}

#[tokio::test]
async fn a_component_that_is_replaced_by_renaming_is_seen() {
    let setup = start(Duration::ZERO, true).await;
    for content in ["two", "three"] {
        write(setup.dir.path(), "a.wasm.tmp", content);
        let (new, old) = ("a.wasm.tmp", "a.wasm");
        std::fs::rename(setup.dir.path().join(new), setup.dir.path().join(old)).unwrap();
        setup
            .until(|status| status.applied.as_ref().is_some_and(|a| a.digest == content))
            .await;
        assert_eq!(setup.serving(), content);
    }
}

#[tokio::test]
async fn a_component_that_appears_later_mends_the_configuration() {
    let setup = start(Duration::ZERO, true).await;
    write(setup.dir.path(), "config", "b.wasm");
    setup.until(|status| !status.synchronized).await;
    write(setup.dir.path(), "b.wasm", "bee");
    setup.until(|status| status.synchronized).await;
    assert_eq!(setup.serving(), "bee");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_is_turned_to_another_folder_is_seen() {
    use std::os::unix::fs::symlink;
    let setup = start(Duration::ZERO, true).await;
    let dir = setup.dir.path();
    for (folder, content) in [("v1", "first"), ("v2", "second")] {
        std::fs::create_dir(dir.join(folder)).unwrap();
        write(&dir.join(folder), "b.wasm", content);
    }
    // As mounted configuration is updated: a link to a file through a link to
    // a folder, which is replaced.
    symlink("v1", dir.join("now")).unwrap();
    symlink("now/b.wasm", dir.join("b.wasm")).unwrap();
    write(dir, "config", "b.wasm");
    setup
        .until(|s| s.applied.as_ref().is_some_and(|a| a.digest == "first"))
        .await;
    symlink("v2", dir.join("next")).unwrap();
    std::fs::rename(dir.join("next"), dir.join("now")).unwrap();
    setup
        .until(|s| s.applied.as_ref().is_some_and(|a| a.digest == "second"))
        .await;
}

#[tokio::test]
async fn files_that_nobody_named_cause_no_reload() {
    let setup = start(Duration::ZERO, true).await;
    // The files are so new that they may be read twice at the start.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = setup.files.reloads.load(Ordering::SeqCst);
    write(setup.dir.path(), "backstop.db-wal", "noise");
    // Reading is no change either.
    std::fs::read(setup.dir.path().join("config")).unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(setup.files.reloads.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_burst_of_requests_is_served_by_two_reloads() {
    let setup = start(Duration::from_millis(100), false).await;
    let before = setup.files.reloads.load(Ordering::SeqCst);
    let first = tokio::spawn({
        let reloader = setup.reloader.clone();
        async move { reloader.reload().await }
    });
    // The first one runs by now; what follows must not be answered by it.
    tokio::time::sleep(Duration::from_millis(30)).await;
    write(setup.dir.path(), "a.wasm", "two");
    let rest = futures_util::future::join_all((0..20).map(|_| setup.reloader.reload()));
    for status in rest.await {
        let applied = status.unwrap().applied.clone().unwrap();
        assert_eq!(
            (applied.digest.as_str(), applied.trigger),
            ("two", Trigger::Admin)
        );
    }
    first.await.unwrap().unwrap();
    assert_eq!(setup.files.reloads.load(Ordering::SeqCst) - before, 2);
}

#[tokio::test]
async fn what_changes_while_a_reload_runs_causes_another() {
    let setup = start(Duration::from_millis(150), true).await;
    // The files are so new that they may be read twice at the start.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let before = setup.reloader.status().reloads_applied;
    let reload = setup.reloader.reload();
    let change = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Read by this reload or not, it must not be missed.
        write(setup.dir.path(), "a.wasm", "two");
    };
    let (status, ()) = tokio::join!(reload, change);
    status.unwrap();
    let status = setup
        .until(|status| status.reloads_applied == before + 2)
        .await;
    assert_eq!(status.applied.as_ref().unwrap().digest, "two");
}

#[cfg(unix)]
#[tokio::test]
async fn sighup_reloads() {
    let setup = start(Duration::ZERO, false).await;
    let options = ReloaderOptions {
        applied: Some(Applied {
            digest: "given".into(),
            files: Vec::new(),
            needs_restart: vec!["server.listen".into()],
        }),
        read_at: SystemTime::now(),
        watch: false,
        signal: true,
    };
    let reloader = Reloader::start(setup.files.clone(), setup.telemetry.clone(), options);
    assert_eq!(reloader.status().applied.as_ref().unwrap().digest, "given");
    let setup = Setup { reloader, ..setup };
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &std::process::id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let status = setup.until(|status| status.reloads_applied == 2).await;
    assert_eq!(status.last_trigger, Some(Trigger::Signal));
    assert!(status.needs_restart.is_empty(), "as the last reload says");
}

#[tokio::test]
async fn what_changed_while_the_gateway_started_is_not_missed() {
    let setup = start(Duration::ZERO, false).await;
    let files = vec![setup.files.config.clone(), setup.dir.path().join("a.wasm")];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = |read_at| {
        let options = ReloaderOptions {
            applied: Some(Applied {
                digest: "one".into(),
                files: files.clone(),
                needs_restart: Vec::new(),
            }),
            read_at,
            watch: true,
            signal: false,
        };
        Reloader::start(setup.files.clone(), setup.telemetry.clone(), options)
    };
    let read_at = SystemTime::now();
    let untouched = begin(read_at);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(untouched.status().reloads_applied, 1, "nothing has changed");
    drop(untouched);

    write(setup.dir.path(), "a.wasm", "two");
    let setup = Setup {
        reloader: begin(read_at),
        ..setup
    };
    setup.until(|status| status.reloads_applied == 2).await;
    assert_eq!(setup.serving(), "two");
}

#[tokio::test]
async fn mistakes_are_kept_in_bounds() {
    let setup = start(Duration::ZERO, false).await;
    let bad = "bad\n".repeat(MISTAKES_MAX + 5);
    write(setup.dir.path(), "config", &format!("a.wasm\n{bad}"));
    let status = setup.reloader.reload().await.unwrap();
    assert_eq!(status.mistakes.len(), MISTAKES_MAX + 1);
    assert_eq!(status.mistakes.last().unwrap(), "and 5 more");
}

#[tokio::test]
async fn what_needs_a_restart_needs_none_once_it_was_changed_back() {
    let setup = start(Duration::ZERO, false).await;
    for (content, keys) in [
        ("moved", &["server.listen"][..]),
        ("moved", &["server.listen"]),
        ("one", &[]),
    ] {
        write(setup.dir.path(), "a.wasm", content);
        let status = setup.reloader.reload().await.unwrap();
        assert_eq!(status.needs_restart, keys, "{content}");
    }
}
