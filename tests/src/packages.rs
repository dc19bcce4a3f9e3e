//! The official `openai` packages, that of Standard Webhooks, and those that
//! our statistics are held against, installed once and kept between runs.
//!
//! Versions are pinned, of the clients here and of the others in
//! `oracles/requirements*.txt`. A package is installed beside its place and moved
//! there whole, so that a run that was broken off, or another run at the same
//! time, leaves nothing half done. Always holds: what is returned was found to
//! work. What keeps a package from being installed for no fault of this
//! repository (no Python, no node, no network) is [`Unavailable`]; anything
//! else is an error.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice;
use std::time::{Duration, Instant};

/// The Python package.
pub const PYTHON_VERSION: &str = "3.54.0";
/// The node package: the last major version that runs on node 20.
pub const NODE_VERSION: &str = "6.30.1";

/// The Python package `standardwebhooks`.
pub const WEBHOOKS_VERSION: &str = "1.1.0";

/// Longest installation; it takes seconds, on a busy machine a minute.
pub(crate) const INSTALL_MAX: Duration = Duration::from_secs(300);
/// Longest installation of the packages of the oracles: 2 GB of wheels.
const INSTALL_ORACLES_MAX: Duration = Duration::from_secs(1200);
/// Longest run of a client's script. Each request in it ends by itself before.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(120);
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };
const PYTHON_IN_VENV: &str = if cfg!(windows) {
    "Scripts/python.exe"
} else {
    "bin/python"
};

/// What pip, npm and apt say when they do not reach their registry.
const UNREACHED: &[&str] = &[
    "NewConnectionError",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Max retries exceeded",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ERR_SOCKET_TIMEOUT",
    "EIDLETIMEOUT",
    // apt:
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Unable to connect",
    "Connection timed out",
    "Connection failed",
    // Without its lists it knows no package.
    "Unable to locate package",
];

/// Why there is no client on this machine, with nobody to blame.
#[derive(Debug)]
pub enum Unavailable {
    /// A program is missing.
    Program(String),
    /// A registry cannot be reached.
    Registry(String),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unavailable::Program(what) => write!(f, "a program is missing: {what}"),
            Unavailable::Registry(what) => write!(f, "the registry cannot be reached: {what}"),
        }
    }
}

/// One of these packages, ready to run a script.
#[derive(Debug)]
pub enum Package {
    /// A virtual environment.
    Python(PathBuf),
    /// A folder with `node_modules`.
    Node(PathBuf),
}

/// What was made, or why there is none; an error where somebody is to blame.
pub type Made<T> = Result<Result<T, Unavailable>>;

impl Package {
    /// The Python package, from `cache` or installed there.
    ///
    /// # Errors
    /// When it could be installed but was not, or does not work.
    pub fn python(cache: &Path) -> Made<Self> {
        Self::venv(cache, "openai-python", "openai", PYTHON_VERSION)
    }

    /// The Python package that verifies webhooks, from `cache` or installed
    /// there.
    ///
    /// # Errors
    /// As [`Package::python`].
    pub fn webhooks(cache: &Path) -> Made<Self> {
        let package = "standardwebhooks";
        Self::venv(cache, package, package, WEBHOOKS_VERSION)
    }

    /// A virtual environment with one package in it.
    fn venv(cache: &Path, folder: &str, package: &str, version: &str) -> Made<Self> {
        let works = |dir: &Path| python_works(dir, package, version);
        let made = kept_or_made(cache, &format!("{folder}-{version}"), works, |dir| {
            let package = OsString::from(format!("{package}=={version}"));
            install_python(dir, slice::from_ref(&package), INSTALL_MAX)
        })?;
        Ok(made.map(Package::Python))
    }

    /// The Python packages of the oracles in one environment, from `cache` or
    /// installed there. `requirements` are files that pip reads; every line
    /// pins a version or is a comment.
    ///
    /// # Errors
    /// As [`Package::python`]; also when a file cannot be read.
    pub fn oracles(cache: &Path, requirements: &[PathBuf]) -> Made<Self> {
        let mut pins = Vec::new();
        let mut arguments = Vec::new();
        for file in requirements {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let pinned = text.lines().filter(|line| line.contains("=="));
            pins.extend(pinned.map(str::to_owned));
            arguments.extend([OsString::from("-r"), file.into()]);
        }
        let works = |dir: &Path| pins_hold(dir, &pins);
        let made = kept_or_made(cache, "oracles", works, |dir| {
            install_python(dir, &arguments, INSTALL_ORACLES_MAX)
        })?;
        Ok(made.map(Package::Python))
    }

    /// The node package, from `cache` or installed there.
    ///
    /// # Errors
    /// As [`Package::python`].
    pub fn node(cache: &Path) -> Made<Self> {
        for (program, argument) in [("node", "--version"), (NPM, "--version")] {
            if let Err(why) = run(Command::new(program).arg(argument), RUN_MAX)? {
                return Ok(Err(Unavailable::Program(format!("{program}: {why}"))));
            }
        }
        let name = format!("openai-node-{NODE_VERSION}");
        let made = kept_or_made(cache, &name, node_works, |dir| {
            let mut npm = Command::new(NPM);
            npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
                .args(["--fetch-retries=1", "--fetch-timeout=30000", "--prefix"])
                .arg(dir)
                .arg(format!("openai@{NODE_VERSION}"))
                .current_dir(dir);
            install(&mut npm, INSTALL_MAX)
        })?;
        Ok(made.map(Package::Node))
    }

    /// Runs `script` with these arguments and returns what it printed.
    ///
    /// # Errors
    /// When it does not end in time or with status 0; holds what it said.
    pub fn run(&self, script: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = match self {
            Package::Python(dir) => Command::new(dir.join(PYTHON_IN_VENV)),
            Package::Node(dir) => {
                let mut node = Command::new("node");
                node.current_dir(dir);
                node
            }
        };
        command.arg(script).args(arguments);
        // The gateway is on loopback, whatever proxy the machine uses.
        command.env("NO_PROXY", "127.0.0.1");
        match run(&mut command, RUN_MAX)? {
            Ok(printed) => Ok(printed),
            Err(why) => bail!("{}: {why}", script.display()),
        }
    }
}

/// Makes a virtual environment and has pip install what `arguments` name.
fn install_python(dir: &Path, arguments: &[OsString], time_max: Duration) -> Made<()> {
    let mut venv = Command::new(PYTHON);
    venv.args(["-m", "venv"]).arg(dir);
    if let Err(why) = run(&mut venv, INSTALL_MAX)? {
        return Ok(Err(Unavailable::Program(format!(
            "{PYTHON} -m venv: {why}"
        ))));
    }
    let mut pip = Command::new(dir.join(PYTHON_IN_VENV));
    pip.args(["-m", "pip", "install", "--no-input"])
        .args(["--disable-pip-version-check", "--retries", "1"])
        .args(["--timeout", "30"])
        .args(arguments);
    install(&mut pip, time_max)
}

/// Whether an environment has every `name==version`.
fn pins_hold(dir: &Path, pins: &[String]) -> bool {
    let check = "import sys, importlib.metadata as m\n\
                 for name, version in (pin.split('==') for pin in sys.argv[1:]):\n    \
                 assert m.version(name) == version.strip(), name";
    let mut python = Command::new(dir.join(PYTHON_IN_VENV));
    python.args(["-c", check]).args(pins);
    matches!(run(&mut python, RUN_MAX), Ok(Ok(_)))
}

fn python_works(dir: &Path, package: &str, version: &str) -> bool {
    let check = format!(
        "import {package}; from importlib.metadata import version; \
         assert version('{package}') == '{version}'"
    );
    let mut python = Command::new(dir.join(PYTHON_IN_VENV));
    matches!(run(python.args(["-c", &check]), RUN_MAX), Ok(Ok(_)))
}

fn node_works(dir: &Path) -> bool {
    let check = format!("if (require('openai/version').VERSION !== '{NODE_VERSION}') throw 1");
    let mut node = Command::new("node");
    node.args(["-e", &check]).current_dir(dir);
    matches!(run(&mut node, RUN_MAX), Ok(Ok(_)))
}

/// The folder `name` in `cache`, where it works; else made anew by `make`.
pub(crate) fn kept_or_made(
    cache: &Path,
    name: &str,
    works: impl Fn(&Path) -> bool,
    make: impl Fn(&Path) -> Made<()>,
) -> Made<PathBuf> {
    let place = cache.join(name);
    if place.is_dir() && works(&place) {
        return Ok(Ok(place));
    }
    fs::create_dir_all(cache).context("make the cache of packages")?;
    let fresh = tempfile::Builder::new()
        .prefix(name)
        .tempdir_in(cache)
        .context("make a folder in the cache of packages")?;
    if let Err(unavailable) = make(fresh.path())? {
        return Ok(Err(unavailable));
    }
    ensure!(
        works(fresh.path()),
        "`{name}` was installed and does not work"
    );
    if !works(&place) {
        // One that was there and does not work is of a Python that has gone.
        let _ = fs::remove_dir_all(&place);
        let moved = fs::rename(fresh.path(), &place);
        // Another run may have been first; then that one is as good.
        ensure!(moved.is_ok() || works(&place), "move `{name}`: {moved:?}");
    }
    Ok(Ok(place))
}

/// Runs an installation.
pub(crate) fn install(command: &mut Command, time_max: Duration) -> Made<()> {
    let Err(why) = run(command, time_max)? else {
        return Ok(Ok(()));
    };
    if UNREACHED.iter().any(|words| why.contains(words)) {
        return Ok(Err(Unavailable::Registry(why)));
    }
    bail!("{command:?}: {why}");
}

/// Runs a program to its end: what it printed, or why it failed and what it
/// said. A program that takes longer than `time_max` is ended.
pub(crate) fn run(command: &mut Command, time_max: Duration) -> Result<Result<String, String>> {
    let output = tempfile::tempdir().context("make a folder for output")?;
    let (out, err) = (output.path().join("out"), output.path().join("err"));
    let child = command
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error).context(format!("start {command:?}")),
    };
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > time_max {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} took longer than {time_max:?}");
        }
        std::thread::sleep(LOOK);
    };
    let printed = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
    if status.success() {
        return Ok(Ok(printed));
    }
    let said = String::from_utf8_lossy(&fs::read(&err)?).into_owned();
    Ok(Err(format!("{status}\n{printed}{said}")))
}
