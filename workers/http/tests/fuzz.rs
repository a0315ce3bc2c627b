//! Everything that fuzzing has found, replayed by the very properties that the fuzzer checks: the
//! corpora, and the inputs that once broke one (`fuzz/README.md`).

#[path = "../../../fuzz/src/lib.rs"]
mod fuzzed;

use std::{
    fs,
    panic::{self, UnwindSafe},
    path::{Path, PathBuf},
};

#[test]
fn every_input_kept_holds_every_property() {
    let mut broken = Vec::new();
    for (target, check) in fuzzed::TARGETS {
        let corpus = inputs("corpus", target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for file in corpus.into_iter().chain(inputs("regressions", target)) {
            let data = fs::read(&file).expect("a file that was just listed");
            if holds(|| check(&data)).is_err() {
                broken.push(file.display().to_string());
            }
        }
    }
    assert!(broken.is_empty(), "broken by:\n{}", broken.join("\n"));
}

#[test]
fn every_kept_directory_is_of_a_target() {
    for kind in ["corpus", "regressions"] {
        for directory in listed(&root().join(kind)) {
            let name = directory.file_name().unwrap_or_default();
            let known = fuzzed::TARGETS.iter().any(|(target, _)| name == *target);
            assert!(known, "{} is replayed by nobody", directory.display());
        }
    }
}

fn holds(check: impl FnOnce() + UnwindSafe) -> Result<(), ()> {
    panic::catch_unwind(check).map_err(drop)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    listed(&root().join(kind).join(target))
}

/// What a directory holds, in order; nothing where there is none.
fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory can be read to its end").path())
        .collect();
    paths.sort();
    paths
}
