//! Runs a program of `benches/` as a test: its gates hold, or it says why it cannot measure here.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What the programs exit with where they cannot measure.
const SKIPPED: i32 = 77;

/// Runs `benches/NAME`; its last argument is the server to measure.
#[track_caller]
pub fn check(name: &str, arguments: &[&str], binary: &OsStr) {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches")
        .join(name);
    let mut command = Command::new("python3");
    command
        .arg(bench)
        .args(arguments)
        .arg("--binary")
        .arg(binary);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: python3 cannot be run: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        return println!("skipped: {said}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    println!("{said}");
}
