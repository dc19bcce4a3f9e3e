//! Components of policies: from where the configuration says they are.

use crate::config::ComponentSource;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a component was not read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// There is no such shipped policy.
    #[error("there is no shipped policy `{0}`")]
    UnknownBuiltin(String),
    /// The file cannot be read.
    #[error("read component `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than is accepted.
    #[error("component `{}` is larger than {bytes_max} bytes; raise `sandbox.component_bytes_max` if it has to be", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: usize,
    },
}

/// Reads the component at `source`, at most `bytes_max` of it.
///
/// # Errors
///
/// See [`ComponentError`].
pub async fn read(source: &ComponentSource, bytes_max: usize) -> Result<Arc<[u8]>, ComponentError> {
    match source {
        ComponentSource::Builtin(name) => backstop_policies::component(name)
            .map(Arc::from)
            .ok_or_else(|| ComponentError::UnknownBuiltin(name.to_string())),
        ComponentSource::File(path) => {
            let path = path.clone();
            let reading = tokio::task::spawn_blocking(move || read_file(path, bytes_max)).await;
            reading.unwrap_or_else(|gone| {
                Err(ComponentError::Read {
                    path: PathBuf::new(),
                    source: std::io::Error::other(gone),
                })
            })
        }
    }
}

fn read_file(path: PathBuf, bytes_max: usize) -> Result<Arc<[u8]>, ComponentError> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more tells a file that is too large from one that fits.
        std::fs::File::open(&path)?
            .take(bytes_max as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() > bytes_max => Err(ComponentError::TooLarge { path, bytes_max }),
        Ok(bytes) => Ok(bytes.into()),
        Err(source) => Err(ComponentError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.wasm");
        std::fs::write(&path, b"12345").unwrap();
        let source = ComponentSource::File(path.clone());
        assert_eq!(&*read(&source, 5).await.unwrap(), b"12345");
        assert!(matches!(
            read(&source, 4).await,
            Err(ComponentError::TooLarge { .. })
        ));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            read(&source, 5).await,
            Err(ComponentError::Read { .. })
        ));
    }
}
