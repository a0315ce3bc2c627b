//! Finding the examples, and the test application, which is one. `cargo test` builds them; `cargo test
//! --test server` does not, so that they are built here when missing or older than their sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

pub fn example(name: &str) -> PathBuf {
    // target/debug/deps/server-0123: beside deps there is examples.
    let own = std::env::current_exe().expect("a test program has a path");
    let profile = own.ancestors().nth(2).expect("it lies in target");
    let path = profile.join("examples").join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [
        "src",
        "workers",
        "tests/testapp",
        "examples",
        "Cargo.toml",
        "Cargo.lock",
    ];
    let newest = sources
        .iter()
        .filter_map(|source| newest(&root.join(source)))
        .max();
    let built = fs::metadata(&path).and_then(|file| file.modified()).ok();
    if built < newest {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--locked", "--example", name])
            .arg("--target-dir")
            .arg(profile.parent().expect("it lies in target"))
            .current_dir(root);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo
            .status()
            .expect("cargo runs the tests, so it is there");
        assert!(status.success(), "{name} cannot be built");
    }
    assert!(path.exists(), "{} was built", path.display());
    path
}

/// When the newest source below `path` was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        let entries = fs::read_dir(path).ok()?;
        return entries
            .filter_map(|entry| newest(&entry.ok()?.path()))
            .max();
    }
    let is_source = path
        .extension()
        .is_some_and(|end| ["rs", "toml", "lock"].map(AsRef::as_ref).contains(&end));
    is_source
        .then(|| fs::metadata(path).ok()?.modified().ok())
        .flatten()
}
