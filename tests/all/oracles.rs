//! The numbers that `host/core` is held to are what independent packages say.
//!
//! `host/core/tests/oracle/NAME.json` is printed by `oracles/NAME.py`. Here
//! every script runs again, with the packages that `oracles/requirements*.txt`
//! pin, and nobody can bend an oracle to our code unseen. With
//! `BACKSTOP_BLESS=1` the files are written anew.

use crate::clients::{cache, found};
use backstop_tests::packages::Package;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Machines differ in the last digits of a sum.
const RELATIVE: f64 = 1e-9;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder with this ending, in order.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// Where two values differ, by the path that leads there.
fn difference(path: &str, kept: &Value, said: &Value) -> Option<String> {
    match (kept, said) {
        (Value::Number(kept), Value::Number(said)) => {
            let (kept, said) = (kept.as_f64().unwrap(), said.as_f64().unwrap());
            let room = RELATIVE * kept.abs().max(said.abs());
            ((kept - said).abs() > room).then(|| format!("{path}: {kept} is kept, {said} is said"))
        }
        (Value::Array(kept), Value::Array(said)) if kept.len() == said.len() => {
            let mut pairs = kept.iter().zip(said).enumerate();
            pairs.find_map(|(at, (kept, said))| difference(&format!("{path}[{at}]"), kept, said))
        }
        (Value::Object(kept), Value::Object(said)) if kept.keys().eq(said.keys()) => kept
            .iter()
            .find_map(|(key, kept)| difference(&format!("{path}.{key}"), kept, &said[key])),
        _ => (kept != said).then(|| format!("{path}: {kept} is kept, {said} is said")),
    }
}

#[test]
fn every_oracle_is_what_its_packages_say() {
    let requirements = files(&here("oracles"), ".txt");
    let made = Package::oracles(cache(), &requirements);
    let Some(packages) = found("the packages of the oracles", made) else {
        return;
    };
    let kept = files(&here("../host/core/tests/oracle"), ".json");
    assert!(!kept.is_empty());
    for file in kept {
        let name = file.file_stem().unwrap().to_string_lossy();
        let printed = packages
            .run(&here(&format!("oracles/{name}.py")), &[])
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        if env::var_os("BACKSTOP_BLESS").is_some() {
            fs::write(&file, &printed).unwrap();
        }
        let kept = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let said = serde_json::from_str(&printed).unwrap();
        if let Some(difference) = difference(&name, &kept, &said) {
            panic!("{difference}; BACKSTOP_BLESS=1 writes what the packages say");
        }
    }
}
