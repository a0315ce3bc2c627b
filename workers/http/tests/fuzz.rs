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
            let known = known || fuzzed::GATEWAY.iter().any(|target| name == *target);
            let known = known || fuzzed::FILES.iter().any(|target| name == *target);
            assert!(known, "{} is replayed by nobody", directory.display());
        }
    }
}

/// Heads that have much in common, in random orders: the fuzzer's property, on every run.
#[test]
fn what_is_recalled_of_random_heads_is_what_reading_finds() {
    const LINES: [&str; 18] = [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "POST /a?b HTTP/1.1",
        "GET http://h/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "Host: h",
        "Host: h:80",
        "Accept: */*",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Connection: close",
        "Connection: keep-alive, upgrade",
        "Upgrade: x",
        "Content-Length: 2",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "x_y: z",
        "Cookie: a=1",
        "Cookie: a=2",
    ];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 33) as usize % bound
    };
    for _ in 0..20_000 {
        // Of defaults mostly: small limits are met at once.
        let mut input = vec![[0, 0, 0, 1, 2, 3][below(6)]];
        input.extend((0..5).map(|_| below(256) as u8));
        let mut lines: Vec<&str> = vec![LINES[below(5)], "Host: h"];
        lines.extend((0..below(5)).map(|_| LINES[5 + below(13)]));
        for _ in 0..2 + below(4) {
            let any = lines.len();
            match below(6) {
                0 => lines[0] = LINES[below(5)],
                1 => lines.push(LINES[5 + below(13)]),
                2 => drop(lines.pop()),
                3 => lines.swap(below(any), below(any)),
                _ => {}
            }
            if lines.is_empty() {
                lines.push(LINES[0]);
            }
            let mut head = lines.join("\r\n").into_bytes();
            head.extend_from_slice(b"\r\n\r\n");
            if below(8) == 0 {
                let at = below(head.len());
                head[at] = below(255) as u8 + 1;
            }
            if below(8) == 0 {
                head.truncate(below(head.len()));
            }
            input.extend_from_slice(&head);
            if below(3) > 0 {
                input.push(0);
            }
        }
        fuzzed::recall::check(&input);
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
