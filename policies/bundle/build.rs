//! Compiles the shipped policies and puts their components where `lib.rs`
//! embeds them from. Runs again when a policy, the SDK or the contract has
//! changed: the build crate names every file that went into a component.

use anyhow::Context;
use std::path::PathBuf;

/// Folders beside this package, each a policy of the same name.
const POLICIES: [&str; 5] = [
    "adaptive-threshold",
    "canary-rollback",
    "confidence-threshold",
    "drift-guard",
    "layered-fallback",
];

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let dirs = POLICIES.map(|name| folder.join("..").join(name));
    for built in backstop_build::build_script::policies(&dirs)? {
        let path = out.join(format!("{}.wasm", built.package));
        std::fs::write(&path, &built.component)
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}
