//! The log: tracing's events on stderr, filtered by `RUST_LOG`.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::fmt;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object for each event.
    Json,
}

/// Starts the log; events below `filter` are dropped unless `RUST_LOG` says
/// otherwise. Called once, by the verbs that run a gateway.
pub(crate) fn start(filter: &str, format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only fails where a log runs already; that one stays.
    let _ = match format {
        Format::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
}
