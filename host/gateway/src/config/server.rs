//! `[server]` and `[sandbox]`: where the gateway listens, and what its
//! policies may take from the machine.

use super::check::shown;
use super::mistake::MistakeKind;
use super::schema::{Default, Key, Kind, Schema, TEXT_BYTES_MAX};
use super::secret::Secret;
use super::section::{Resolver, Section};
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

/// `[server]`.
pub(super) static SERVER: Schema = Schema {
    name: "server",
    about: "Where the gateway listens, and what it keeps.",
    keys: &[
        Key {
            name: "listen",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Text("127.0.0.1:8080"),
            about: "Address and port of the data plane; port 0 takes a free one.",
        },
        Key {
            name: "admin",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Text("127.0.0.1:8081"),
            about: "Address and port of the admin plane; beyond loopback only with `admin_token`.",
        },
        Key {
            name: "admin_token",
            kind: Kind::Secret,
            default: Default::Words("no token is asked for"),
            about: "Bearer token of the admin plane.",
        },
        Key {
            name: "data_dir",
            kind: Kind::Text(TEXT_BYTES_MAX),
            default: Default::Text("data"),
            about: "Folder for reviews, incidents, rollouts and compiled policies, relative to the \
                    folder of the file.",
        },
        Key {
            name: "body_bytes_max",
            kind: Kind::Integer(1 << 10, BODY_BYTES_MAX),
            default: Default::Integer(8 << 20),
            about: "Largest request body in bytes; larger ones get status 413.",
        },
        Key {
            name: "shutdown_grace_s",
            kind: Kind::Integer(0, 3_600),
            default: Default::Integer(30),
            about: "Seconds for which running requests may go on after a stop was asked for.",
        },
    ],
};

/// Largest `body_bytes_max`: bodies are held in memory while models are tried.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// `[sandbox]`. Ranges and defaults are those of [`backstop::HostOptions`].
pub(super) static SANDBOX: Schema = Schema {
    name: "sandbox",
    about: "What policies together may take from the machine.",
    keys: &[
        Key {
            name: "cache",
            kind: Kind::Bool,
            default: Default::Bool(true),
            about: "Keep compiled policies in the data folder, so that a start need not compile them.",
        },
        Key {
            name: "instances_max",
            kind: Kind::Integer(1, 4_096),
            default: Default::Integer(256),
            about: "Decisions that may run at the same time, three quarters of them for policies that wait for models; others wait half a second at most.",
        },
        Key {
            name: "memory_bytes_max",
            kind: Kind::Integer(64 << 10, 256 << 20),
            default: Default::Integer(16 << 20),
            about: "Largest memory of any policy in bytes; `limits` of policies stay within it.",
        },
        Key {
            name: "component_bytes_max",
            kind: Kind::Integer(1 << 10, 256 << 20),
            default: Default::Integer(16 << 20),
            about: "Largest component that is accepted, in bytes.",
        },
        Key {
            name: "records_max",
            kind: Kind::Integer(1, 10_000_000),
            default: Default::Integer(10_000),
            about: "Decision records that are kept in memory.",
        },
        Key {
            name: "revisions_kept",
            kind: Kind::Integer(3, 16),
            default: Default::Integer(3),
            about: "Former revisions of each policy that stay ready to go back to.",
        },
    ],
};

/// Resolves `[server]`.
pub(super) fn resolve_server(cx: &mut Resolver<'_>, section: &Section<'_>) -> Server {
    let listen = address(cx, section, "listen");
    let admin = address(cx, section, "admin");
    let admin_token = cx.secret(section, "admin_token");
    if listen == admin && listen.port() != 0 {
        let message = format!("`server.listen` and `server.admin` are both {admin}");
        // Told where the file says it, rather than what it includes.
        let (listen, admin) = (section.place_of("listen"), section.place_of("admin"));
        let key = if listen.source < admin.source {
            "listen"
        } else {
            "admin"
        };
        cx.note(MistakeKind::Conflict, section, key, message);
    }
    if !admin.ip().is_loopback() && section.node("admin_token").is_none() {
        let message = format!(
            "`server.admin` is {admin}, beyond loopback, and would let anybody in; set `admin_token`"
        );
        cx.note(MistakeKind::Conflict, section, "admin", message);
    }
    Server {
        listen,
        admin,
        admin_token,
        data_dir: cx.base_dir.join(section.text("data_dir").text),
        body_bytes_max: section.integer("body_bytes_max"),
        shutdown_grace: Duration::from_secs(section.integer("shutdown_grace_s")),
    }
}

fn address(cx: &mut Resolver<'_>, section: &Section<'_>, key: &str) -> SocketAddr {
    let text = section.text(key).text;
    text.parse().unwrap_or_else(|_| {
        // The check has spoken about an empty text and about other types.
        if !text.is_empty() {
            let message = format!(
                "`{}` is `{}`, must be an IP address and a port, such as `127.0.0.1:8080`",
                section.key_path(key),
                shown(text)
            );
            cx.note(MistakeKind::Invalid, section, key, message);
        }
        // Different for each, so that no conflict follows from a mistake.
        let port = u16::from(key == "admin");
        SocketAddr::from(([127, 0, 0, 1], port))
    })
}

/// Resolves `[sandbox]`.
pub(super) fn resolve_sandbox(section: &Section<'_>) -> Sandbox {
    Sandbox {
        cache: section.boolean("cache"),
        instances_max: section.integer("instances_max"),
        memory_bytes_max: section.integer("memory_bytes_max"),
        component_bytes_max: section.integer("component_bytes_max"),
        records_max: section.integer("records_max"),
        revisions_kept: section.integer("revisions_kept"),
    }
}
