//! The shape of the tree, as DESIGN and ARCHITECTURE promise it: imports point one way, `unsafe`
//! lives in two modules, every file says what it is.
//!
//! The process boundary is the crate boundary. What supervises may run as root and must not be able
//! to reach a parser of anything that comes from the network but through what it links; what
//! handles client bytes must not know of the supervisor at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each package with its height: it may depend on lower ones only.
const HEIGHTS: &[(&str, u8)] = &[
    ("ferricorn-http", 0),
    ("ferricorn-base", 1),
    ("ferricorn-loop", 2),
    ("ferricorn-aide", 3),
    ("ferricorn-apps", 3),
    ("ferricorn-gateway", 2),
    ("ferricorn-files", 3),
    ("ferricorn-sync", 3),
    ("ferricorn-threads", 3),
    ("ferricorn", 4),
    ("ferricorn-micro", 5),
];

/// The only files that may contain `unsafe`: modules `sys`, the last in parts, and a test.
const ISLANDS: [&str; 5] = [
    "src/sys.rs",
    "workers/base/src/sys.rs",
    "workers/base/src/sys/breath.rs",
    "workers/base/src/sys/spawn.rs",
    // An allocator that counts: what implements one says so.
    "workers/sync/tests/allocations.rs",
];

#[test]
fn imports_point_one_way() {
    for package in packages() {
        let name = text(&package["name"]);
        let height = height(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = text(&dependency["name"]);
            let ours = other == "ferricorn" || other.starts_with("ferricorn-");
            // What a package's tests use does not bind those who link it.
            if ours && dependency["kind"] != "dev" {
                assert!(
                    self::height(other) < height,
                    "{name} must not depend on {other}"
                );
            }
        }
    }
}

#[test]
fn http_does_no_io() {
    let http = packages()
        .into_iter()
        .find(|package| package["name"] == "ferricorn-http")
        .unwrap();
    for dependency in http["dependencies"].as_array().unwrap() {
        let name = text(&dependency["name"]);
        assert!(
            !["libc", "mio", "nix", "socket2", "tempfile"].contains(&name),
            "the HTTP crate must not depend on {name}"
        );
    }
    for file in sources(&["workers/http/src"]) {
        for (number, line) in code(&file) {
            for word in [
                "Stream",
                "Listener",
                "Instant::now",
                "SystemTime::now",
                "std::fs",
            ] {
                assert!(
                    !line.contains(word),
                    "{}:{number}: the HTTP crate must not use {word}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn only_the_system_modules_contain_unsafe() {
    let islands = ISLANDS.map(|file| root().join(file));
    for file in sources(&["src", "workers", "examples", "fuzz"]) {
        if islands.contains(&file) {
            continue;
        }
        for (number, line) in code(&file) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(
                !words.any(|word| word == "unsafe"),
                "{}:{number}: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn every_crate_forbids_unsafe_but_for_the_system_modules() {
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kind = text(&target["kind"][0]);
            if !["lib", "bin"].contains(&kind) {
                continue;
            }
            let file = PathBuf::from(text(&target["src_path"]));
            let shown = file.display().to_string();
            let content = fs::read_to_string(&file).unwrap();
            let island = file.with_file_name("sys.rs");
            let holds_island = kind == "lib" && ISLANDS.iter().any(|i| root().join(i) == island);
            if !holds_island {
                assert!(content.contains("#![forbid(unsafe_code)]"), "{shown}");
                continue;
            }
            assert!(content.contains("#![deny(unsafe_code)]"), "{shown}");
            // The one exception is for the island.
            let mut lines = content.lines();
            assert!(
                lines.any(|line| line == "#[allow(unsafe_code)]"),
                "{shown}: no exception for {}",
                island.display()
            );
            let next = lines.next().unwrap_or("");
            assert!(next.ends_with("mod sys;"), "{shown}: exception for {next}");
            assert!(
                !lines.any(|line| line.contains("allow(unsafe_code")),
                "{shown}: more than one exception"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for file in sources(&["src", "workers", "examples", "tests", "benches", "fuzz"]) {
        let content = fs::read_to_string(&file).unwrap();
        assert!(
            content.starts_with("//! "),
            "{}: the first line is not //!",
            file.display()
        );
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn height(package: &str) -> u8 {
    let entry = HEIGHTS.iter().find(|(name, _)| *name == package);
    entry
        .unwrap_or_else(|| panic!("{package} is new: give it a height in HEIGHTS"))
        .1
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// All Rust files under these directories of the tree, as far as they exist.
fn sources(directories: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left: Vec<PathBuf> = directories.iter().map(|d| root().join(d)).collect();
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The lines of a file without texts and comments, numbered from 1.
fn code(file: &Path) -> Vec<(usize, String)> {
    let content = fs::read_to_string(file).unwrap();
    let bare = |line: &str| {
        let without_texts: String = line.split('"').step_by(2).collect();
        without_texts.split("//").next().unwrap_or("").to_owned()
    };
    let lines = content.lines().enumerate();
    lines.map(|(index, line)| (index + 1, bare(line))).collect()
}
