//! A real Prometheus, from Debian, scrapes the gateway, and the gateway asks it:
//! what it counts comes back as evidence.

use crate::clients::{cache, found};
use backstop_core::evidence::SubjectRef;
use backstop_tests::caller::Caller;
use backstop_tests::debian;
use backstop_tests::gateway::{FREE_PORTS, Running};
use http::StatusCode;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Prometheus starts, scrapes twice and is asked within seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: u32 = 7;

/// Ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `program` in `dir`, to scrape `admin`.
fn start(program: &Path, dir: &Path, at: SocketAddr, admin: SocketAddr) -> Server {
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: backstop\n    \
         static_configs:\n      - targets: ['{admin}']\n"
    );
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address={at}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Server(child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_counts_of_the_gateway_comes_back_as_evidence() {
    let made = debian::program(cache(), "prometheus", "usr/bin/prometheus");
    let Some(program) = found("Debian's Prometheus", made) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // Free now, and again once this has been dropped.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = free.local_addr().unwrap();
    drop(free);
    let config = dir.path().join("backstop.toml");
    let text = format!(
        r#"
        include = "builtin:demo"
        {FREE_PORTS}
        [prometheus]
        url = "http://{at}"
        every_s = 1
        [prometheus.queries]
        requests = "sum(backstop_requests_total)"
        memory = "process_resident_memory_bytes{{job=\"backstop\"}}"
        nothing = "absent_metric"
        "#
    );
    std::fs::write(&config, text).unwrap();
    let gateway = Running::launch(&config, false).await.unwrap();
    let caller = Caller::new(gateway.data);
    for _ in 0..REQUESTS {
        let answer = caller.chat("chat").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let _server = start(&program, dir.path(), at, gateway.admin);
    let read = |metric: &str| {
        let now_ms = gateway.gateway.clock().now_ms();
        let store = gateway.gateway.evidence().store();
        store
            .quantile(metric, SubjectRef::Route("chat"), 60, 1.0, now_ms)
            .unwrap()
    };
    let began = Instant::now();
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.03;
    while !near(read("prom:requests").value, f64::from(REQUESTS)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", read("prom:requests"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(read("prom:memory").value > 1e6);
    assert_eq!(read("prom:nothing").samples, 0);
    gateway.stop().await;
}
