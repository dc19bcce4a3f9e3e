//! Finding cargo, and having the wasm target.

use crate::TARGET;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why there is nothing to build with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolchainError {
    /// A program could not be started.
    #[error("run `{program}`: install Rust from https://rustup.rs, or put it on the PATH")]
    NotFound {
        /// Which program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The compiler did not answer as expected.
    #[error("ask `{program}` where its targets are: {message}")]
    Compiler {
        /// The compiler.
        program: String,
        /// What it said.
        message: String,
    },
    /// The target is missing and there is no rustup to add it.
    #[error(
        "target `{TARGET}` is not installed and there is no rustup to add it: install the target \
         with the package manager that Rust came from, or Rust from https://rustup.rs"
    )]
    NoRustup {
        /// Why rustup could not be started.
        #[source]
        source: std::io::Error,
    },
    /// `rustup target add` failed, most often for want of a network.
    #[error(
        "add target `{TARGET}`: run `rustup target add {TARGET}` yourself; rustup said: {message}"
    )]
    TargetAdd {
        /// What rustup said.
        message: String,
    },
}

/// The cargo to use: the one that runs this program, else the one on the PATH.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Sees to it that the toolchain that is active in `dir` can compile for
/// [`TARGET`]; adds the target with rustup where it is missing. `say` is told
/// before anything is downloaded.
///
/// # Errors
/// There is no compiler, no rustup, or the download failed. Nothing has been
/// changed then.
pub(crate) fn ensure_target(dir: &Path, say: impl FnOnce(&str)) -> Result<(), ToolchainError> {
    if target_libdir(dir)?.is_dir() {
        return Ok(());
    }
    say(&format!("adding target {TARGET} with rustup"));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(dir);
    let output = rustup
        .output()
        .map_err(|source| ToolchainError::NoRustup { source })?;
    if output.status.success() {
        return Ok(());
    }
    let message = last_lines(&output.stderr);
    Err(ToolchainError::TargetAdd { message })
}

fn target_libdir(dir: &Path) -> Result<PathBuf, ToolchainError> {
    let program = rustc();
    let name = program.to_string_lossy().into_owned();
    let output = Command::new(&program)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(dir)
        .output()
        .map_err(|source| ToolchainError::NotFound {
            program: name.clone(),
            source,
        })?;
    if !output.status.success() {
        return Err(ToolchainError::Compiler {
            program: name,
            message: last_lines(&output.stderr),
        });
    }
    let path = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(path.trim()))
}

/// The end of a program's output, for an error message.
fn last_lines(output: &[u8]) -> String {
    /// Enough for rustup's and rustc's errors with their causes.
    const LINES_MAX: usize = 8;
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}
