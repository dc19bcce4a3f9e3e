//! Compiles the policies that only the demo uses into components, to embed
//! them: one that is swapped in while traffic flows, and one that misbehaves.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The crates under `guests/`; each becomes `OUT_DIR/NAME.wasm`.
const GUESTS: [&str; 2] = ["backup-first", "hostile"];

fn main() -> Result<()> {
    let out_dir = PathBuf::from(std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    // Asked now, not when this was compiled: checkouts may share a target folder.
    let package = std::env::var("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let folder = Path::new(&package).join("guests");
    let dirs = GUESTS.map(|name| folder.join(name));
    let built =
        backstop_build::build_script::policies(&dirs).context("build the demo's policies")?;
    ensure!(
        built.len() == GUESTS.len(),
        "a policy of the demo is missing"
    );
    for (name, policy) in GUESTS.iter().zip(built) {
        let path = out_dir.join(format!("{name}.wasm"));
        std::fs::write(&path, &policy.component)
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}
