//! A whole gateway from a configuration: store, sandbox, both planes, reload.
//!
//! [`launch`] puts together what the other modules offer, in the one order
//! that works, and returns a [`Launched`] that only has to be run. The command
//! line and the demo start gateways with it; who needs other parts (another
//! store, no admin plane) puts them together like this module does.

use crate::admin::{self, AdminParts, AdminState};
use crate::chain::chain;
use crate::config::{Config, ConfigError, Mistake};
use crate::gateway::{ApplyError, Gateway, GatewayParts, StartError};
use crate::reload::{Applied, Refused, Reload, Reloader, ReloaderOptions};
use crate::server::{Server, Stopped};
use crate::store::{Incidents, SqliteStore, Store, StoreError, StoreOptions};
use crate::telemetry::Telemetry;
use backstop::BoxFuture;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;

/// Where a gateway's configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// This file; it can be reloaded.
    File(PathBuf),
    /// This value; a reload applies it again, which finds changed components.
    Value(Box<Config>),
}

/// How a gateway is launched.
#[derive(Debug, Clone)]
pub struct LaunchOptions {
    /// Its configuration.
    pub source: Source,
    /// Watch the configuration file and the components for changes.
    pub watch: bool,
    /// Reload on SIGHUP. There is one such signal in a process.
    pub signal: bool,
}

/// Why a gateway was not launched. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error("open the store")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("listen on `{address}` (`{key}`)")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A gateway that listens and only has to be run.
#[derive(Debug)]
pub struct Launched {
    /// The gateway.
    pub gateway: Gateway,
    /// Where callers reach it.
    pub data_addr: SocketAddr,
    /// Where operators reach it.
    pub admin_addr: SocketAddr,
    /// Reloads its configuration.
    pub reloader: Reloader,
    store: Arc<SqliteStore>,
    server: Server,
}

impl Launched {
    /// Serves until `shutdown` resolves, then finishes what runs and closes
    /// the store.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Stopped {
        let stopped = self.server.run(shutdown).await;
        drop(self.reloader);
        self.store.close().await;
        stopped
    }
}

/// Launches a gateway: reads the configuration, opens the store, binds both
/// addresses, starts the sandbox and activates every policy.
///
/// # Errors
///
/// The first of these steps that fails, with everything that is wrong in it.
pub async fn launch(options: LaunchOptions) -> Result<Launched, LaunchError> {
    let read_at = SystemTime::now();
    let (config, digest) = read(&options.source)?;
    let data = listen("server.listen", config.server.listen).await?;
    let operators = listen("server.admin", config.server.admin).await?;
    let store = Arc::new(SqliteStore::open(
        &config.server.data_dir,
        StoreOptions::default(),
    )?);
    let incidents = Incidents::start(store.clone()).await?;
    let telemetry = Arc::new(Telemetry::new());
    let token = config.server.admin_token.clone();
    let component_bytes_max = config.sandbox.component_bytes_max;
    let applied = Applied {
        digest,
        files: files(&options.source, &config),
        needs_restart: Vec::new(),
    };
    let parts = GatewayParts {
        store: store.clone(),
        incidents: incidents.clone(),
        telemetry: telemetry.clone(),
    };
    let gateway = Gateway::start(config, parts).await?;
    let again = Again {
        gateway: gateway.clone(),
        source: options.source,
    };
    let reloader = Reloader::start(
        Arc::new(again),
        telemetry.clone(),
        ReloaderOptions {
            applied: Some(applied),
            read_at,
            watch: options.watch,
            signal: options.signal,
        },
    );
    let router = admin::router(AdminState::new(AdminParts {
        host: gateway.host().clone(),
        control: Arc::new(gateway.clone()),
        store: store.clone() as Arc<dyn Store>,
        incidents,
        telemetry,
        evidence: gateway.evidence().clone(),
        baselines: gateway.baselines().clone(),
        clock: gateway.clock(),
        reloader: reloader.clone(),
        token,
        component_bytes_max,
    }));
    let address = |key, listener: &TcpListener, wanted| {
        listener.local_addr().map_err(|source| LaunchError::Listen {
            key,
            address: wanted,
            source,
        })
    };
    let wanted = gateway.plant().config().server.clone();
    Ok(Launched {
        data_addr: address("server.listen", &data, wanted.listen)?,
        admin_addr: address("server.admin", &operators, wanted.admin)?,
        server: Server::new(gateway.clone(), data).with_admin(operators, router),
        gateway,
        reloader,
        store,
    })
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, LaunchError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| LaunchError::Listen {
            key,
            address,
            source,
        })
}

/// The configuration, and a digest of what it was read from.
fn read(source: &Source) -> Result<(Config, String), ConfigError> {
    match source {
        Source::File(path) => {
            // Read twice, because the digest is of the text; whoever writes in
            // between causes another reload.
            let digest = digest(&std::fs::read(path).unwrap_or_default());
            Ok((Config::load(path)?, digest))
        }
        Source::Value(config) => Ok(((**config).clone(), "built-in".to_owned())),
    }
}

fn digest(text: &[u8]) -> String {
    use std::fmt::Write;
    let mut digest = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// Every file that the configuration is made of.
fn files(source: &Source, config: &Config) -> Vec<PathBuf> {
    let own = match source {
        Source::File(path) => Some(path.clone()),
        Source::Value(_) => None,
    };
    own.into_iter()
        .chain(config.component_files().map(|(_, path)| path.clone()))
        .collect()
}

/// Reads and applies the configuration again.
struct Again {
    gateway: Gateway,
    source: Source,
}

impl Again {
    async fn again(&self) -> Result<Applied, Refused> {
        let source = self.source.clone();
        // Reading files does not belong on the threads that serve.
        let read = tokio::task::spawn_blocking(move || read(&source)).await;
        let (config, digest) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                return Err(Refused {
                    mistakes: mistakes(&error),
                    files: self.own_file(),
                });
            }
            Err(gone) => {
                return Err(Refused {
                    mistakes: vec![gone.to_string()],
                    files: self.own_file(),
                });
            }
        };
        let files = files(&self.source, &config);
        match self.gateway.apply(config).await {
            Ok(applied) => Ok(Applied {
                digest,
                files,
                needs_restart: applied
                    .needs_restart
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            }),
            Err(error) => Err(Refused {
                mistakes: problems(&error),
                files,
            }),
        }
    }

    fn own_file(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::File(path) => vec![path.clone()],
            Source::Value(_) => Vec::new(),
        }
    }
}

impl Reload for Again {
    fn reload(&self) -> BoxFuture<'_, Result<Applied, Refused>> {
        Box::pin(self.again())
    }
}

fn mistakes(error: &ConfigError) -> Vec<String> {
    let listed: Vec<String> = error.mistakes().iter().map(Mistake::to_string).collect();
    if listed.is_empty() {
        vec![chain(error)]
    } else {
        listed
    }
}

fn problems(error: &ApplyError) -> Vec<String> {
    error
        .problems
        .iter()
        .map(|problem| chain(problem))
        .collect()
}

/// Launches the gateway of the file at `path`, watched.
///
/// # Errors
///
/// As [`launch`].
pub async fn launch_file(path: &Path) -> Result<Launched, LaunchError> {
    launch(LaunchOptions {
        source: Source::File(path.to_owned()),
        watch: true,
        signal: true,
    })
    .await
}
