//! The gate of `benches/run` that is exact on a busy machine: system calls per request.

use std::path::Path;
use std::process::Command;

/// What `benches/run` exits with where it cannot measure.
const SKIPPED: i32 = 77;

#[test]
fn a_kept_alive_request_takes_at_most_three_system_calls() {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/run");
    let output = Command::new("python3")
        .arg(bench)
        .args(["--quick", "--check-syscalls", "--binary"])
        .arg(env!("CARGO_BIN_EXE_ferricorn"))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return println!("skipped: python3 cannot be run: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        return println!("skipped: {said}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
}
