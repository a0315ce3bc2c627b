//! The gates of `benches/run` that are exact on a busy machine, and the tests of what it computes.

use std::path::Path;
use std::process::Command;

#[path = "support/bench.rs"]
mod bench;

/// System calls; of a release build (`cargo test --release`) also user instructions.
#[test]
fn a_request_takes_no_more_system_calls_than_it_needs() {
    let ferricorn = env!("CARGO_BIN_EXE_ferricorn");
    let gates = if cfg!(debug_assertions) {
        "--check-syscalls"
    } else {
        "--check-exact"
    };
    bench::check("run", &["--quick", gates], ferricorn.as_ref());
}

#[test]
fn what_benches_compute_and_write_is_right() {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/tests");
    let mut command = Command::new("python3");
    command.args(["-m", "unittest", "discover"]).arg(benches);
    match command.output() {
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{complaint}");
        }
        Err(error) => println!("skipped: python3 cannot be run: {error}"),
    }
}
