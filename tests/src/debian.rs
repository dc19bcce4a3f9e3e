//! Programs from Debian's packages, unpacked into a folder of their own and kept
//! between runs. Nothing is installed, and nobody has to be root: the lists of
//! packages are fetched into that folder as well.

use crate::packages::{INSTALL_MAX, Made, RUN_MAX, Unavailable, install, kept_or_made, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program at `binary` in the Debian package `package`, from `cache` or
/// unpacked there.
///
/// # Errors
/// When it could be unpacked but was not, or does not tell its version.
pub fn program(cache: &Path, package: &str, binary: &str) -> Made<PathBuf> {
    for tool in ["apt-get", "dpkg-deb"] {
        if let Err(why) = run(Command::new(tool).arg("--version"), RUN_MAX)? {
            return Ok(Err(Unavailable::Program(format!("{tool}: {why}"))));
        }
    }
    let works = |dir: &Path| {
        let mut told = Command::new(dir.join(binary));
        matches!(run(told.arg("--version"), RUN_MAX), Ok(Ok(_)))
    };
    let name = format!("debian-{package}");
    let made = kept_or_made(cache, &name, works, |dir| unpack(dir, package))?;
    Ok(made.map(|dir| dir.join(binary)))
}

fn unpack(dir: &Path, package: &str) -> Made<()> {
    let lists = dir.join("apt");
    fs::create_dir_all(lists.join("lists/partial")).context("make a folder for apt")?;
    fs::create_dir_all(lists.join("archives/partial")).context("make a folder for apt")?;
    let apt = |verb: &str| {
        let mut apt = Command::new("apt-get");
        apt.args([
            "-o",
            "Acquire::Retries=1",
            "-o",
            "Acquire::http::Timeout=30",
        ])
        .arg("-o")
        .arg(format!(
            "Dir::State::lists={}",
            lists.join("lists").display()
        ))
        .arg("-o")
        .arg(format!("Dir::Cache={}", lists.display()))
        .arg(verb)
        .current_dir(dir);
        apt
    };
    if let Err(unavailable) = install(&mut apt("update"), INSTALL_MAX)? {
        return Ok(Err(unavailable));
    }
    if let Err(unavailable) = install(apt("download").arg(package), INSTALL_MAX)? {
        return Ok(Err(unavailable));
    }
    let archive = archive(dir)?;
    let mut dpkg = Command::new("dpkg-deb");
    if let Err(why) = run(dpkg.arg("-x").arg(&archive).arg(dir), RUN_MAX)? {
        anyhow::bail!("unpack {}: {why}", archive.display());
    }
    fs::remove_dir_all(&lists).context("remove the lists of packages")?;
    fs::remove_file(&archive).context("remove the archive")?;
    Ok(Ok(()))
}

/// The one archive in `dir`.
fn archive(dir: &Path) -> Result<PathBuf> {
    let mut archives: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).context("read the folder of the package")? {
        let path = entry.context("read the folder of the package")?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            archives.push(path);
        }
    }
    ensure!(archives.len() == 1, "one archive, not {archives:?}");
    Ok(archives.remove(0))
}
