//! A whole gateway on free ports, from a configuration file.

use backstop_gateway::gateway::Gateway;
use backstop_gateway::launch::{LaunchError, LaunchOptions, Source, launch};
use backstop_gateway::server::Stopped;
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a configuration needs to run beside others: free ports.
pub const FREE_PORTS: &str = "server = { listen = \"127.0.0.1:0\", admin = \"127.0.0.1:0\" }\n";

/// A gateway that serves until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    /// The gateway.
    pub gateway: Gateway,
    /// Where callers reach it.
    pub data: SocketAddr,
    /// Where operators reach it.
    pub admin: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Stopped>,
}

impl Running {
    /// Launches the gateway of the file at `config`, whose addresses should be
    /// [`FREE_PORTS`]. With `watch`, changed files are reloaded.
    ///
    /// # Errors
    /// As [`launch`].
    pub async fn launch(config: &Path, watch: bool) -> Result<Self, LaunchError> {
        let launched = launch(LaunchOptions {
            source: Source::File(config.to_owned()),
            watch,
            signal: false,
        })
        .await?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self {
            gateway: launched.gateway.clone(),
            data: launched.data_addr,
            admin: launched.admin_addr,
            stop,
            serving: tokio::spawn(launched.run(async {
                // A `Running` that is dropped stops its gateway, too.
                let _ = stopped.await;
            })),
        })
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// When serving panicked.
    pub async fn stop(self) -> Stopped {
        let _ = self.stop.send(());
        self.serving.await.expect("the gateway does not panic")
    }
}
