//! Everything that fuzzing has found, replayed by the very properties that the fuzzer checks: the
//! corpora, and the inputs that once broke one (`fuzz/README.md`).

#[path = "../../../fuzz/src/files.rs"]
mod fuzzed;

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

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

/// Inputs made of what matters in them, in random orders: the fuzzer's properties, on every run.
#[test]
fn random_paths_and_ranges_hold_every_property() {
    const PATHS: [&str; 16] = [
        "/",
        "/",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%00",
        "%",
        "%25",
        "a",
        ".well-known",
        ";",
        "\\",
        "%c3%a9",
        "é",
    ];
    const RANGES: [&str; 14] = [
        "0",
        "9",
        "1",
        "-",
        "-",
        ",",
        ", ",
        "-5",
        "3-",
        "2-7",
        "bytes=",
        "400-500",
        "x",
        "18446744073709551615",
    ];
    // Numbers of a fixed sequence (xorshift): a failure comes again.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..50_000 {
        let mut path = vec![random(3) as u8];
        for _ in 0..random(9) {
            path.extend_from_slice(PATHS[random(PATHS.len())].as_bytes());
        }
        fuzzed::file_name(&path);
        let len = [0, 1, 8, 450, 1 << 20, u64::MAX][random(6)];
        let mut range = u64::to_be_bytes(len).to_vec();
        range.extend_from_slice(b"bytes=");
        for _ in 0..random(12) {
            range.extend_from_slice(RANGES[random(RANGES.len())].as_bytes());
        }
        fuzzed::ranges(&range);
    }
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
