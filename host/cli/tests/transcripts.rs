//! What a person types and reads, in `tests/cmd/*.trycmd`: command, output and
//! exit code, against the real binary.
//!
//! `TRYCMD=overwrite cargo test -p backstop-cli --test transcripts` writes what
//! is printed now.

#[test]
fn transcripts_hold() {
    trycmd::TestCases::new()
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}
