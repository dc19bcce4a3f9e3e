//! Builds the guests that the tests need.
//!
//! A guest that does not build stops the tests with cargo's own message.

use std::path::Path;

fn main() {
    // Asked now, not when this was compiled: checkouts may share a target folder.
    let tests = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let tests = Path::new(&tests);
    let guests = ["guests/hostile", "../host/cli/guests/backup-first"].map(|dir| tests.join(dir));
    let built = match backstop_build::build_script::policies(&guests) {
        Ok(built) => built,
        Err(error) => panic!("build the guests of the tests: {error}"),
    };
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    for guest in built {
        let path = Path::new(&out).join(format!("{}.wasm", guest.package));
        std::fs::write(&path, &guest.component).expect("write the component");
    }
}
