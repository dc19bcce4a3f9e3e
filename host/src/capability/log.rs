//! `log`: bounded lines under the policy's name.

use crate::bindings::log as wit;
use crate::record::{HostCall, LogLevel};
use crate::run_state::{Mode, RunState};
use backstop_core::text::{REASON_BYTES_MAX, sanitize};
use wasmtime::Result;

impl wit::Host for RunState {
    fn write(&mut self, level: wit::Level, message: String) -> Result<()> {
        self.enter("log.write")?;
        if self.log_lines_left == 0 {
            self.log_lines_dropped += 1;
            return Ok(());
        }
        self.log_lines_left -= 1;
        let message = sanitize(message, REASON_BYTES_MAX);
        let level = match level {
            wit::Level::Debug => LogLevel::Debug,
            wit::Level::Info => LogLevel::Info,
            wit::Level::Warn => LogLevel::Warn,
            wit::Level::Error => LogLevel::Error,
        };
        if matches!(self.mode, Mode::Live) {
            let policy = &*self.policy;
            match level {
                LogLevel::Debug => tracing::debug!(target: "backstop::policy", policy, "{message}"),
                LogLevel::Info => tracing::info!(target: "backstop::policy", policy, "{message}"),
                LogLevel::Warn => tracing::warn!(target: "backstop::policy", policy, "{message}"),
                LogLevel::Error => tracing::error!(target: "backstop::policy", policy, "{message}"),
            }
        }
        self.settle(HostCall::Log { level, message })
    }
}
