//! The gateway as a process of its own: this program again, under a command
//! that nobody types. Parent and child talk over the child's input and output.

use crate::kit::Fallible;
use anyhow::Context;
use backstop_tests::gateway::Running;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The gateway's own end of the run.
#[derive(clap::Args)]
pub(crate) struct GatewayOptions {
    /// Its configuration.
    config: PathBuf,
}

/// The gateway's process.
pub(super) struct Process {
    child: Child,
    /// Where callers reach it.
    pub(super) address: SocketAddr,
    out: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one with the configuration at `config`.
    pub(super) fn start(config: &Path) -> Fallible<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("gateway")
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("the gateway's output")?;
        let mut out = BufReader::new(out);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let address = line.trim().parse().context("the gateway's address")?;
        Ok(Process {
            child,
            address,
            out,
        })
    }

    /// Resident memory in KiB.
    pub(super) fn resident_kib(&self) -> Fallible<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next());
        Ok(kib.context("no VmRSS")?.parse()?)
    }

    /// Stops it; what it has counted.
    pub(super) fn stop(mut self) -> Fallible<BTreeMap<String, u64>> {
        drop(self.child.stdin.take());
        let mut counted = String::new();
        self.out.read_to_string(&mut counted)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&counted)?)
    }
}

/// Serves until its input ends, and then says what it has counted.
pub(crate) async fn gateway(options: GatewayOptions) -> Fallible<()> {
    let running = Running::launch(&options.config, false).await?;
    println!("{}", running.data);
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let gateway = running.gateway.clone();
    running.stop().await;
    gateway.settle().await;
    let text = gateway
        .telemetry()
        .encode(&backstop_gateway::telemetry::Snapshot::default())?;
    let ended: u64 = text
        .lines()
        .filter(|line| line.starts_with("backstop_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    let written = gateway.telemetry().requests().written();
    println!("{}", json!({"requests": ended, "records": written}));
    Ok(())
}
