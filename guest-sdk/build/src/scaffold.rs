//! A new policy: a crate that builds and passes its own tests at once.

use std::path::{Path, PathBuf};

/// Longest name of a policy, as the contract says.
const NAME_CHARS_MAX: usize = 64;

/// The files, by their places in the new crate. `NAME` and `SDK` are replaced.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("README.md", include_str!("template/README.md")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    // What a build and a gateway that serves from here leave.
    (".gitignore", "/target\n/data\n*.wasm\n"),
];

/// Where the new policy gets the SDK from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SdkDependency {
    /// A folder on this machine.
    Path(PathBuf),
    /// A released version.
    Version(String),
}

/// Why no policy was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewPolicyError {
    /// The name is none for a policy.
    #[error(
        "policy name `{name}` must be 1 to {NAME_CHARS_MAX} characters of `a`-`z`, `0`-`9` and \
         `-`, and begin with a letter"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Something is there already.
    #[error("`{dir}` is not empty: choose another folder or remove it")]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// The SDK is not where it should be.
    #[error("no SDK at `{path}`: expected the folder of the crate `backstop-sdk`")]
    NoSdk {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written; those written before it are left there.
    #[error("write `{path}`")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Writes the crate of a new policy called `name` into `dir`, which must be
/// empty or missing: a fallback policy with one setting, its tests and a
/// README. Returns the files written.
///
/// The crate has a workspace table of its own, so it may live anywhere, also
/// inside another workspace's folder.
///
/// # Errors
/// See [`NewPolicyError`]. Except for a write that fails midway, nothing has
/// been written.
pub fn new_policy(
    dir: &Path,
    name: &str,
    sdk: &SdkDependency,
) -> Result<Vec<PathBuf>, NewPolicyError> {
    check_name(name)?;
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(NewPolicyError::NotEmpty {
            dir: dir.to_owned(),
        });
    }
    let dependency = dependency(sdk)?;
    let mut written = Vec::new();
    for (place, template) in FILES {
        let path = dir.join(place);
        let text = template
            .replace("{{NAME}}", name)
            .replace("{{TYPE}}", &type_name(name))
            .replace("{{SDK}}", &dependency);
        write(&path, &text).map_err(|source| NewPolicyError::Write {
            path: path.clone(),
            source,
        })?;
        written.push(path);
    }
    Ok(written)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, text)
}

fn check_name(name: &str) -> Result<(), NewPolicyError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fine = name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(allowed);
    if fine {
        Ok(())
    } else {
        Err(NewPolicyError::Name {
            name: name.to_owned(),
        })
    }
}

/// The dependency as a TOML inline table.
fn dependency(sdk: &SdkDependency) -> Result<String, NewPolicyError> {
    match sdk {
        SdkDependency::Version(version) => Ok(format!("{{ version = {} }}", quoted(version))),
        SdkDependency::Path(path) => {
            let missing = || NewPolicyError::NoSdk { path: path.clone() };
            let full = path.canonicalize().map_err(|_| missing())?;
            if !full.join("Cargo.toml").is_file() {
                return Err(missing());
            }
            Ok(format!("{{ path = {} }}", quoted(&full.to_string_lossy())))
        }
    }
}

/// A TOML basic string: the escapes of JSON are among its own.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `my-policy` gives `MyPolicy`.
fn type_name(name: &str) -> String {
    name.split('-')
        .flat_map(|word| {
            let mut characters = word.chars();
            let first = characters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(characters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> SdkDependency {
        SdkDependency::Version("0.1.0".to_owned())
    }

    #[test]
    fn a_name_that_no_host_would_take_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "My-Policy", "1st", "a_b", "-a", &"a".repeat(65)] {
            let error = new_policy(&dir.path().join("x"), name, &version()).unwrap_err();
            assert!(matches!(error, NewPolicyError::Name { .. }), "{name}");
        }
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn nothing_that_is_there_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("notes"), "mine").unwrap();
        let error = new_policy(dir.path(), "mine", &version()).unwrap_err();
        assert!(matches!(error, NewPolicyError::NotEmpty { .. }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_sdk_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let sdk = SdkDependency::Path(dir.path().join("nowhere"));
        let error = new_policy(&dir.path().join("x"), "mine", &sdk).unwrap_err();
        assert!(error.to_string().contains("nowhere"));
    }

    #[test]
    fn every_place_is_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        let files = new_policy(dir.path(), "my-policy", &version()).unwrap();
        assert_eq!(files.len(), FILES.len());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("{{"), "{}", file.display());
        }
        let source = std::fs::read_to_string(dir.path().join("src/lib.rs")).unwrap();
        assert!(source.contains("export!(MyPolicy: fallback);"));
    }
}
