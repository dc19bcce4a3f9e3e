//! `[server]` and `[sandbox]`: where the gateway listens, and what its
//! policies may take from the machine.

use super::secret::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Listeners, data and limits of the gateway itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where callers reach the data plane; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where operators reach the admin plane; beyond loopback only with a token.
    pub admin: SocketAddr,
    /// Bearer token that the admin plane asks for.
    pub admin_token: Option<Secret>,
    /// Folder for reviews, incidents, rollouts and compiled policies.
    pub data_dir: PathBuf,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// How long running requests may go on after a stop was asked for.
    pub shutdown_grace: Duration,
}

/// What the sandbox as a whole may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Keep compiled policies in the data folder, so that a start need not
    /// compile them again.
    pub cache: bool,
    /// How many decisions may run at the same time.
    pub instances_max: u32,
    /// Largest memory of any policy in bytes.
    pub memory_bytes_max: usize,
    /// Largest component in bytes.
    pub component_bytes_max: usize,
    /// How many decision records are kept in memory.
    pub records_max: usize,
    /// How many former revisions of each policy stay ready.
    pub revisions_kept: usize,
}
