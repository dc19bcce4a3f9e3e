//! What the acts are played on: the gateway on its sockets, its simulated
//! models, its files in a folder of their own, an operator's client, and the
//! traffic.

use super::traffic::{Tally, Traffic};
use crate::admin::{Admin, segment};
use crate::args::AdminArgs;
use crate::cmd::serve;
use crate::failure::Failure;
use anyhow::{Context, Result};
use backstop::{DecisionId, DecisionRecord};
use backstop_gateway::gateway::Gateway;
use backstop_gateway::launch::{LaunchOptions, Source, launch};
use backstop_gateway::upstream::Simulated;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The policy file of the route `triage`, as `demo.toml` names it.
const TRIAGE: &str = "triage.wasm";
/// The configuration's file.
const CONFIG: &str = "backstop.toml";
/// Longest wait for one piece of evidence. Each is there within two seconds on
/// an idle machine; a build next door must not spoil the demo.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often evidence is looked for.
const POLL: Duration = Duration::from_millis(20);
/// How many of the newest records are looked at. More than are made within
/// the longest wait at the demo's rate.
const RECORDS_SEEN: usize = 12_000;

/// What was not seen in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) String);

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Missing(crate::failure::render(&error))
    }
}

impl From<Failure> for Missing {
    fn from(failure: Failure) -> Self {
        failure.error.into()
    }
}

/// The running demo.
pub(crate) struct Stage {
    gateway: Gateway,
    traffic: Traffic,
    admin: Admin,
    data_address: SocketAddr,
    admin_address: SocketAddr,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Stage {
    /// Starts the gateway on free ports of loopback, and the traffic.
    ///
    /// # Errors
    ///
    /// The gateway does not start.
    pub(crate) async fn start(concurrency: u32) -> Result<Stage, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("backstop-demo-")
            .tempdir()
            .context("make a folder for the demo")?;
        let layered = backstop_policies::component("layered-fallback")
            .context("the policy `layered-fallback` is not embedded")?;
        std::fs::write(folder.path().join(TRIAGE), layered).context("write a policy file")?;
        let config = folder.path().join(CONFIG);
        std::fs::write(&config, include_str!("demo.toml")).context("write the configuration")?;

        let launched = launch(LaunchOptions {
            source: Source::File(config),
            watch: true,
            // SIGHUP is for the terminal's end, not for the demo's gateway.
            signal: false,
        })
        .await
        .map_err(serve::failure)?;
        let gateway = launched.gateway.clone();
        let (data_address, admin_address) = (launched.data_addr, launched.admin_addr);
        let admin = Admin::new(&AdminArgs {
            admin: format!("http://{admin_address}"),
            token: None,
        })?;
        let traffic = Traffic::start(data_address, concurrency);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let stopped = async {
                // Dropped or sent: the demo is over either way.
                let _ = stopped.await;
            };
            launched.run(stopped).await;
        });
        Ok(Stage {
            gateway,
            traffic,
            admin,
            data_address,
            admin_address,
            folder,
            stop,
            server,
        })
    }

    /// Where the gateway is, for people.
    pub(crate) fn opening(&self) -> String {
        format!(
            "a gateway on {} (admin {}), three routes, four policies",
            self.data_address, self.admin_address
        )
    }

    /// The traffic that flows.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The operator's client.
    pub(crate) fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The simulated models of a provider.
    pub(crate) fn simulated(&self, provider: &str) -> Result<Arc<Simulated>> {
        self.gateway
            .plant()
            .simulated(provider)
            .cloned()
            .with_context(|| format!("there is no simulated provider `{provider}`"))
    }

    /// The newest decision, to look for later ones.
    pub(crate) fn newest_decision(&self) -> DecisionId {
        let newest = self.gateway.host().records().newest(1);
        newest.first().map_or(DecisionId(0), |record| record.id)
    }

    /// Records of the policy `policy` after `mark`, newest first.
    pub(crate) fn decisions_since(
        &self,
        mark: DecisionId,
        policy: &str,
    ) -> Vec<Arc<DecisionRecord>> {
        let newest = self.gateway.host().records().newest(RECORDS_SEEN);
        newest
            .into_iter()
            .filter(|record| record.id > mark && *record.revision.policy == *policy)
            .collect()
    }

    /// The number of the revision that serves.
    pub(crate) fn serving(&self, policy: &str) -> Option<u64> {
        let policy = self.gateway.host().policy(policy)?;
        Some(policy.serving().number)
    }

    /// Puts another component in the place of the file of the policy `triage`,
    /// as an editor or a deployment does: written beside it, then renamed.
    pub(crate) fn replace_policy_file(&self, component: &[u8]) -> Result<()> {
        let (path, beside) = (self.path(TRIAGE), self.path("triage.wasm.new"));
        std::fs::write(&beside, component)
            .and_then(|()| std::fs::rename(&beside, &path))
            .with_context(|| format!("replace `{}`", path.display()))
    }

    /// Adds `text` to the configuration, in one step.
    pub(crate) fn add_to_config(&self, text: &str) -> Result<()> {
        let (path, beside) = (self.path(CONFIG), self.path("backstop.toml.new"));
        std::fs::read_to_string(&path)
            .and_then(|config| std::fs::write(&beside, config + text))
            .and_then(|()| std::fs::rename(&beside, &path))
            .with_context(|| format!("change `{}`", path.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Uploads a component over the admin API, as `backstop policy activate`.
    ///
    /// # Errors
    ///
    /// What the gateway says against it.
    pub(crate) async fn activate(
        &self,
        policy: &str,
        component: &'static [u8],
        options: &Value,
    ) -> Result<Value, Failure> {
        let path = format!(
            "/admin/v1/policies/{policy}/activate?options={}",
            segment(&options.to_string())
        );
        let body = ("application/wasm", Bytes::from_static(component));
        self.admin.send(Method::POST, &path, Some(body)).await
    }

    /// Waits for evidence.
    ///
    /// # Errors
    ///
    /// It was not there in time: `what` says what was missing, and the first
    /// failed requests are named where there are any.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut probe: impl FnMut() -> Option<T>,
    ) -> Result<T, Missing> {
        let begun = Instant::now();
        loop {
            if let Some(found) = probe() {
                return Ok(found);
            }
            if begun.elapsed() > WAIT_MAX {
                let mut text = format!("not seen within {} s: {what}", WAIT_MAX.as_secs());
                if let Some(failure) = self.traffic.failures().first() {
                    text.push_str("; a request failed: ");
                    text.push_str(failure);
                }
                return Err(Missing(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `count` of the requests since `mark` are as `of` counts them.
    ///
    /// # Errors
    ///
    /// As [`Stage::until`].
    pub(crate) async fn until_served(
        &self,
        what: &str,
        mark: &Tally,
        count: u64,
        of: impl Fn(&Tally) -> u64,
    ) -> Result<u64, Missing> {
        self.until(what, || {
            Some(of(&self.traffic.since(mark))).filter(|seen| *seen >= count)
        })
        .await
    }

    /// Ends the traffic, then the gateway; returns all that was sent.
    pub(crate) async fn finish(self) -> Tally {
        let tally = self.traffic.finish().await;
        // A server that has ended already needs no telling.
        let _ = self.stop.send(());
        let _ = self.server.await;
        tally
    }
}
