//! Running cargo on policy crates, with settings and an environment that give
//! the same bytes whoever calls.

use crate::TARGET;
use crate::component::{self, ComponentError, Inspection};
use crate::toolchain::{self, ToolchainError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Stack of a policy, in bytes. A decision needs a few kilobytes; what is
/// given beyond that is missing for the heap, and overrunning it traps.
const STACK_BYTES: u32 = 16 * 1024;

/// The profile. Speed of the decision comes first, and one unit with fat LTO
/// lets everything unused fall away.
const PROFILE: &[(&str, &str)] = &[
    ("opt-level", "3"),
    ("lto", "\"fat\""),
    ("codegen-units", "1"),
    ("panic", "\"abort\""),
    ("debug", "false"),
    ("debug-assertions", "false"),
    ("overflow-checks", "false"),
    ("incremental", "false"),
];

/// Variables of the surrounding environment that must not reach the nested
/// cargo: flags, wrappers and directories of the outer build, and what cargo
/// tells build scripts.
const REMOVED: &[&str] = &[
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "OUT_DIR",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
];

/// The same, by the beginning of their names.
const REMOVED_PREFIXES: &[&str] = &[
    "CARGO_PROFILE_",
    "CARGO_TARGET_WASM32_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "CARGO_PKG_",
    "DEP_",
];

/// Where cargo's own messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// To this process's standard error, as they come.
    Passed,
    /// Nowhere while all is well; into the error when the build fails.
    Kept,
}

/// How to build.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where cargo works. Must not be the target directory of a cargo that
    /// waits for this one. Crates built with the same directory share their
    /// dependencies.
    pub target_dir: PathBuf,
    /// Where cargo's messages go; kept by default.
    pub progress: Progress,
    /// Keep the names of functions, which makes traps readable and the
    /// component larger. Off by default.
    pub keep_names: bool,
    /// Never use the network, as cargo's `--offline`. Off by default.
    pub offline: bool,
}

impl Options {
    /// The defaults, with cargo working in `target_dir`.
    pub fn new(target_dir: impl Into<PathBuf>) -> Self {
        Self {
            target_dir: target_dir.into(),
            progress: Progress::Kept,
            keep_names: false,
            offline: false,
        }
    }

    /// Sets where cargo's messages go.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Keeps the names of functions.
    #[must_use]
    pub fn keep_names(mut self, keep: bool) -> Self {
        self.keep_names = keep;
        self
    }

    /// Never uses the network.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }
}

/// A policy that was built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Built {
    /// Name of its package.
    pub package: String,
    /// Folder of its package.
    pub dir: PathBuf,
    /// The component.
    pub component: Vec<u8>,
    /// What the component is.
    pub inspection: Inspection,
    /// Files that went into it, as far as they are in path dependencies.
    pub sources: Vec<PathBuf>,
}

/// Why a policy was not built. Nothing but the target directory has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No cargo, no compiler, no target.
    #[error("prepare the build")]
    Toolchain(#[from] ToolchainError),
    /// There is no package there.
    #[error("no crate at `{dir}`: expected a folder with a Cargo.toml of a package")]
    NoCrate {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// cargo cannot make sense of the manifest.
    #[error("read the manifest of `{dir}`:\n{output}")]
    Manifest {
        /// Folder of the package.
        dir: PathBuf,
        /// What cargo said.
        output: String,
    },
    /// The package makes no module.
    #[error(
        "package `{package}` is no cdylib: put `crate-type = [\"cdylib\", \"rlib\"]` under `[lib]` \
         in its Cargo.toml"
    )]
    NotACdylib {
        /// Name of the package.
        package: String,
    },
    /// The compiler refused; its messages were passed on or are in `output`.
    #[error("compile {packages}{}{output}", if output.is_empty() { ": see the compiler's messages above" } else { ":\n" })]
    Compile {
        /// Names of the packages.
        packages: String,
        /// What cargo said, where it was kept.
        output: String,
    },
    /// cargo ended well without naming the module.
    #[error("find the module of package `{package}`: cargo did not say where it is")]
    NoModule {
        /// Name of the package.
        package: String,
    },
    /// The module is no policy.
    #[error("package `{package}`")]
    Component {
        /// Name of the package.
        package: String,
        /// Why.
        #[source]
        source: ComponentError,
    },
    /// A file could not be read.
    #[error("read `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Builds the policy whose package is in `dir`, standing alone or in a
/// workspace. Adds the wasm target where it is missing.
///
/// # Errors
/// See [`BuildError`].
pub fn build_policy(dir: &Path, options: &Options) -> Result<Built, BuildError> {
    let mut built = build_policies(&[dir], options)?;
    built.pop().ok_or_else(|| BuildError::NoCrate {
        dir: dir.to_owned(),
    })
}

/// Builds several policies, those of one workspace in one go. The results are
/// in the order of `dirs`.
///
/// # Errors
/// The first that stands in the way; see [`BuildError`].
pub fn build_policies(
    dirs: &[impl AsRef<Path>],
    options: &Options,
) -> Result<Vec<Built>, BuildError> {
    let packages = dirs
        .iter()
        .map(|dir| find_package(dir.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = packages.first() else {
        return Ok(Vec::new());
    };
    toolchain::ensure_target(&first.dir, |line| {
        if options.progress == Progress::Passed {
            // Nothing is lost when nobody reads it.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    })?;
    let mut by_workspace: BTreeMap<&Path, Vec<&Package>> = BTreeMap::new();
    for package in &packages {
        by_workspace
            .entry(&package.workspace)
            .or_default()
            .push(package);
    }
    let mut modules = BTreeMap::new();
    for (workspace, packages) in by_workspace {
        compile(workspace, &packages, options, &mut modules)?;
    }
    packages
        .into_iter()
        .map(|package| finish(package, &modules))
        .collect()
}

/// A package as cargo sees it.
struct Package {
    id: String,
    name: String,
    dir: PathBuf,
    workspace: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    crate_types: Vec<String>,
}

fn find_package(dir: &Path) -> Result<Package, BuildError> {
    let no_crate = || BuildError::NoCrate {
        dir: dir.to_owned(),
    };
    let manifest = dir
        .join("Cargo.toml")
        .canonicalize()
        .map_err(|_| no_crate())?;
    let mut command = cargo_command();
    command
        .args([
            "metadata",
            "--no-deps",
            "--format-version=1",
            "--manifest-path",
        ])
        .arg(&manifest);
    let output = command.output().map_err(not_found)?;
    if !output.status.success() {
        return Err(BuildError::Manifest {
            dir: dir.to_owned(),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).map_err(|error| BuildError::Manifest {
            dir: dir.to_owned(),
            output: error.to_string(),
        })?;
    let package = metadata
        .packages
        .into_iter()
        .find(|package| {
            let path = &package.manifest_path;
            *path == manifest || path.canonicalize().is_ok_and(|path| path == manifest)
        })
        .ok_or_else(no_crate)?;
    let is_cdylib =
        |target: &MetadataTarget| target.crate_types.iter().any(|kind| kind == "cdylib");
    if !package.targets.iter().any(is_cdylib) {
        return Err(BuildError::NotACdylib {
            package: package.name,
        });
    }
    Ok(Package {
        id: package.id,
        name: package.name,
        dir: manifest.parent().unwrap_or(dir).to_owned(),
        workspace: metadata.workspace_root,
    })
}

/// Messages of cargo that matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Runs cargo on the packages of one workspace and notes their modules.
fn compile(
    workspace: &Path,
    packages: &[&Package],
    options: &Options,
    modules: &mut BTreeMap<String, PathBuf>,
) -> Result<(), BuildError> {
    let mut command = build_command(options);
    command
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .current_dir(workspace);
    for package in packages {
        command.args(["--package", &package.id]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(match options.progress {
            Progress::Passed => Stdio::inherit(),
            Progress::Kept => Stdio::piped(),
        });
    let output = command
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(not_found)?;
    if !output.status.success() {
        let names: Vec<_> = packages
            .iter()
            .map(|package| format!("`{}`", package.name))
            .collect();
        return Err(BuildError::Compile {
            packages: names.join(", "),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    for line in output.stdout.split(|&byte| byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            continue;
        };
        let is_wasm = |path: &&PathBuf| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        };
        if message.reason == "compiler-artifact"
            && let Some(id) = message.package_id
            && let Some(module) = message.filenames.iter().find(is_wasm)
        {
            modules.insert(id, module.clone());
        }
    }
    Ok(())
}

/// `cargo build` with everything that decides about the bytes.
fn build_command(options: &Options) -> Command {
    let mut command = cargo_command();
    command
        .args(["build", "--lib", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(&options.target_dir)
        // Intermediate files too: a configured build directory would be the
        // one that the outer cargo has locked.
        .env("CARGO_BUILD_BUILD_DIR", &options.target_dir);
    if options.offline {
        command.arg("--offline");
    }
    for (key, value) in PROFILE {
        command
            .arg("--config")
            .arg(format!("profile.release.{key}={value}"));
    }
    let strip = if options.keep_names {
        "\"debuginfo\""
    } else {
        "true"
    };
    command
        .arg("--config")
        .arg(format!("profile.release.strip={strip}"));
    let mut flags = vec![
        format!("-Clink-arg=-zstack-size={STACK_BYTES}"),
        "-Clink-arg=--gc-sections".to_owned(),
    ];
    if let Some(home) = cargo_home() {
        // Panic messages hold paths; those of this machine are nobody's business.
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    // Flags are separated by the unit separator here, so that paths may
    // contain spaces.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command
}

fn cargo_home() -> Option<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => Some(home.into()),
        None => std::env::home_dir().map(|home| home.join(".cargo")),
    }
}

/// cargo in a clean environment.
fn cargo_command() -> Command {
    let mut command = Command::new(toolchain::cargo());
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let is_clippy = name.ends_with("RUSTC_WRAPPER")
            && Path::new(&value)
                .file_stem()
                .is_some_and(|stem| stem == "clippy-driver");
        if REMOVED.contains(&name)
            || REMOVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
            || is_clippy
        {
            command.env_remove(name);
        }
    }
    command
}

fn not_found(source: std::io::Error) -> BuildError {
    let program = toolchain::cargo().to_string_lossy().into_owned();
    ToolchainError::NotFound { program, source }.into()
}

/// Reads the module of a package and makes a component of it.
fn finish(package: Package, modules: &BTreeMap<String, PathBuf>) -> Result<Built, BuildError> {
    let module_path = modules
        .get(&package.id)
        .ok_or_else(|| BuildError::NoModule {
            package: package.name.clone(),
        })?;
    let module = std::fs::read(module_path).map_err(|source| BuildError::Read {
        path: module_path.clone(),
        source,
    })?;
    let component = component::into_component(&module);
    let described = component.and_then(|bytes| Ok((component::inspect(&bytes)?, bytes)));
    let (inspection, component) = described.map_err(|source| BuildError::Component {
        package: package.name.clone(),
        source,
    })?;
    Ok(Built {
        package: package.name,
        sources: sources(module_path, &package.workspace),
        dir: package.dir,
        component,
        inspection,
    })
}

/// The files in the dependency list that cargo leaves beside a module; none
/// where it left no such list.
fn sources(module: &Path, workspace: &Path) -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_to_string(module.with_extension("d")) else {
        return Vec::new();
    };
    let Some((_, files)) = list.split_once(": ") else {
        return Vec::new();
    };
    // A space inside a name is written as `\ `.
    files
        .trim()
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|file| workspace.join(file.replace('\0', " ")))
        .collect()
}
