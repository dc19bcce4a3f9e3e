//! Building policies from a build script, to embed them.

use crate::cargo::{BuildError, Built, Options, build_policies};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Builds the policies in `dirs` for a build script: tells cargo to run the
/// script again when their sources, those of the SDK, or the contract change,
/// and works in [`target_dir`].
///
/// # Errors
/// See [`BuildError`]; the output of the nested cargo is part of it.
pub fn policies(dirs: &[impl AsRef<Path>]) -> Result<Vec<Built>, BuildError> {
    // Said first, so that mending a build that failed is noticed.
    for dir in dirs {
        for part in ["Cargo.toml", "build.rs", "src"] {
            let path = dir.as_ref().join(part);
            if path.exists() {
                rerun_if_changed(&path);
            }
        }
    }
    let built = build_policies(dirs, &Options::new(target_dir()))?;
    for source in built.iter().flat_map(|policy| &policy.sources) {
        rerun_if_changed(source);
    }
    Ok(built)
}

/// Where build scripts of one workspace build policies: beside the directories
/// of the outer cargo, which holds the lock on those while the script runs.
/// Shared between build scripts and profiles, so that dependencies are compiled
/// once.
pub fn target_dir() -> PathBuf {
    let out_dir = std::env::var_os("OUT_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    target_dir_beside(&out_dir)
}

/// `…/target/debug/build/PACKAGE-HASH/out` gives `…/target/backstop-policies`.
fn target_dir_beside(out_dir: &Path) -> PathBuf {
    out_dir
        .ancestors()
        .find(|dir| dir.ends_with("build"))
        .and_then(|build| build.parent()?.parent())
        .unwrap_or(out_dir)
        .join("backstop-policies")
}

fn rerun_if_changed(path: &Path) {
    // Nothing is lost when the other end is closed: then nobody runs scripts.
    let _ = writeln!(
        std::io::stdout(),
        "cargo::rerun-if-changed={}",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_scripts_share_a_directory_outside_of_the_locked_ones() {
        for out_dir in ["/t/debug/build/a-1/out", "/t/release/build/b-2/out"] {
            let dir = target_dir_beside(Path::new(out_dir));
            assert_eq!(dir, Path::new("/t/backstop-policies"));
        }
        let odd = target_dir_beside(Path::new("/elsewhere"));
        assert_eq!(odd, Path::new("/elsewhere/backstop-policies"));
    }
}
