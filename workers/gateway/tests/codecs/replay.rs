//! Everything that fuzzing has found, replayed by the very properties that the fuzzer checks: the
//! corpora, and the inputs that once broke one (`fuzz/README.md`).

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use crate::fuzzed;

#[test]
fn every_input_kept_holds_every_property() {
    let mut broken = Vec::new();
    for (target, check) in fuzzed::TARGETS {
        let corpus = inputs("corpus", target);
        assert!(!corpus.is_empty(), "{target} has no corpus");
        for file in corpus.into_iter().chain(inputs("regressions", target)) {
            let data = fs::read(&file).expect("a file that was just listed");
            if panic::catch_unwind(|| check(&data)).is_err() {
                broken.push(file.display().to_string());
            }
        }
    }
    assert!(broken.is_empty(), "broken by:\n{}", broken.join("\n"));
}

fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let entries = fs::read_dir(root.join(kind).join(target));
    let entries = entries.into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory can be read to its end").path())
        .collect();
    paths.sort();
    paths
}
