//! Configuration files and what their authors are told.
//!
//! Every file in `tests/config/valid` resolves. Every file in
//! `tests/config/invalid` is refused with exactly the text beside it (`.err`).
//! With `BACKSTOP_BLESS=1` in the environment the texts are written anew; read
//! the difference before committing it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it found"
)]

use backstop_gateway::config::{Config, ConfigError};
use std::fs;
use std::path::{Path, PathBuf};

/// What no message may hold: the secret of every test file, and of the
/// environment.
const SECRET: &str = "hunter2";

fn env(name: &str) -> Option<String> {
    match name {
        "PRESENT" => Some(SECRET.to_owned()),
        "WEBHOOK_SECRET" => Some(format!("whsec_{SECRET}{}", "A".repeat(36))),
        "URL" => Some("https://models.example".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).unwrap();
    let origin = path.file_name().unwrap().to_string_lossy();
    Config::from_str(&text, &origin, Path::new("/etc/backstop"), &env)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(folder);
    let entries = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

/// Compares with the text beside the file, or writes it. True when it differs.
fn differs(path: &Path, extension: &str, told: &str) -> bool {
    let expected_path = path.with_extension(extension);
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    if expected == told {
        return false;
    }
    if std::env::var_os("BACKSTOP_BLESS").is_some() {
        fs::write(&expected_path, told).unwrap();
        return false;
    }
    println!(
        "{}:\n--- expected\n{expected}\n--- told\n{told}",
        path.display()
    );
    true
}

#[test]
fn valid_files_resolve() {
    for path in files("valid") {
        if let Err(error) = read(&path) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn invalid_files_are_refused_with_all_their_mistakes() {
    let mut wrong = Vec::new();
    for path in files("invalid") {
        let Err(error) = read(&path) else {
            panic!("{} was accepted", path.display());
        };
        let told = format!("{error}\n");
        let json = serde_json::to_string(error.mistakes()).unwrap();
        assert!(!told.contains(SECRET) && !json.contains(SECRET), "{told}");
        if differs(&path, "err", &told) {
            wrong.push(path);
        }
    }
    assert!(
        wrong.is_empty(),
        "BACKSTOP_BLESS=1 writes them anew: {wrong:#?}"
    );
}

#[test]
fn machines_are_told_the_same_mistakes() {
    let path = files("invalid");
    let path = path
        .iter()
        .find(|path| path.ends_with("five-mistakes.toml"))
        .unwrap();
    let error = read(path).unwrap_err();
    let ConfigError::Mistakes(mistakes) = &error else {
        panic!("{error}");
    };
    assert_eq!(mistakes.mistakes.len(), 5);
    let told = serde_json::to_string_pretty(mistakes).unwrap() + "\n";
    assert!(!differs(path, "json", &told));
}
