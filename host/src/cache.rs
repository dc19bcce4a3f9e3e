//! Compiled code on disk, so that a start does not compile what it has
//! compiled before.
//!
//! Reading compiled code back runs it as native code, so only files that this
//! host wrote may be read: the folder must belong to this user and be writable
//! by nobody else, and every file carries the digest of its content. Keys are
//! the component's digest and the engine's compatibility hash, so a new
//! version of either compiles anew.

use crate::error::StartError;
use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Most files in the folder; the oldest go first. Two for each revision.
const FILES_MAX: usize = 256;
/// Length of a SHA-256 digest.
const DIGEST_BYTES: usize = 32;

/// A folder of compiled code.
pub(crate) struct CodeCache {
    dir: PathBuf,
}

impl CodeCache {
    /// Opens or creates the folder.
    ///
    /// # Errors
    ///
    /// When it cannot be created, or others could write to it.
    pub(crate) fn open(dir: &Path) -> Result<Self, StartError> {
        let path = || dir.display().to_string();
        let failed = |source| StartError::Cache {
            path: path(),
            source,
        };
        create_private(dir).map_err(failed)?;
        if !is_private(dir).map_err(failed)? {
            return Err(StartError::CacheNotPrivate { path: path() });
        }
        Ok(CodeCache {
            dir: dir.to_owned(),
        })
    }

    /// The compiled form of `wasm`, from the folder or compiled now. Problems
    /// with the folder cost time, never an activation.
    pub(crate) fn compile(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let path = self.dir.join(key(engine, wasm));
        if let Some(component) = read(engine, &path) {
            return Ok(component);
        }
        let component = Component::new(engine, wasm)?;
        if let Err(error) = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|code| self.write(&path, &code))
        {
            tracing::warn!(path = %path.display(), %error, "compiled code is not kept");
        }
        Ok(component)
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        self.make_room()?;
        // Written beside and renamed, so that no reader sees half a file.
        let temporary = path.with_extension(format!("{:016x}", fastrand::u64(..)));
        let mut file = fs::File::create_new(&temporary)?;
        let written = file
            .write_all(&Sha256::digest(code))
            .and_then(|()| file.write_all(code));
        match written.and_then(|()| fs::rename(&temporary, path)) {
            Ok(()) => Ok(()),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(FILES_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn key(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!(
        "{}-{:016x}.cwasm",
        hex::encode(Sha256::digest(wasm)),
        hasher.finish()
    )
}

/// Reads a file that this host wrote; none when there is none, or it is not
/// what was written.
fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let content = fs::read(path).ok()?;
    let (digest, code) = content.split_at_checked(DIGEST_BYTES)?;
    if !is_private(path).ok()? || *Sha256::digest(code) != *digest {
        tracing::warn!(path = %path.display(), "compiled code was changed by somebody else; compiling anew");
        let _ = fs::remove_file(path);
        return None;
    }
    #[expect(
        unsafe_code,
        reason = "the file is in a folder that only this user can write to, carries the digest that this \
                  host wrote, and its name holds the engine's compatibility hash"
    )]
    // SAFETY: see the reason above.
    let component = unsafe { Component::deserialize(engine, code) };
    component.ok()
}

#[cfg(unix)]
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn create_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// True when nobody but this user can write to `path`.
#[cfg(unix)]
fn is_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(path)?;
    // The owner of this process's own entry tells who this user is.
    let me = fs::metadata("/proc/self")
        .or_else(|_| fs::metadata(std::env::temp_dir()))
        .map(|own| own.uid());
    let mine = me.is_ok_and(|uid| uid == metadata.uid());
    Ok(mine && metadata.mode() & 0o022 == 0 && !metadata.file_type().is_symlink())
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> io::Result<bool> {
    // The folder is created inside the user's profile; other systems' access
    // lists are the operator's.
    Ok(true)
}
