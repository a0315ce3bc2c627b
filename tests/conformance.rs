//! The raw HTTP/1.1 cases of `tests/conformance` against `ferricorn echo`: nothing may fail, and at
//! least 95 of 100 must pass strictly. The table of groups is printed.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{PATIENCE, ferricorn};

/// The share of cases that must be answered as a strict server does.
const STRICT: f64 = 0.95;

#[test]
fn echo_fails_no_case_and_is_strict_in_nearly_all() {
    let server = ferricorn().args("echo --workers 2").ready();
    let (address, results) = (server.address(), server.dir.path("results.json"));
    let mut run = Command::new("python3")
        .arg("tests/conformance/run_cases.py")
        .arg(address.ip().to_string())
        .arg(address.port().to_string())
        .args(["--jobs", "8", "-v", "--json"])
        .arg(&results)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there: tests/run installs it");
    let mut output = run.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        text
    });
    let give_up = Instant::now() + 3 * PATIENCE;
    while run.try_wait().unwrap().is_none() {
        if Instant::now() > give_up {
            run.kill().unwrap();
            run.wait().unwrap();
            panic!("the cases took too long:\n{}", reader.join().unwrap());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let table = reader.join().unwrap();
    println!("{table}");
    let results = std::fs::read_to_string(results).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let count = |verdict: &str| results["totals"][verdict].as_u64().unwrap();
    let (pass, soft, fail) = (count("pass"), count("soft"), count("fail"));
    let all = pass + soft + fail;
    assert!(all > 250, "{table}");
    assert_eq!(fail, 0, "{table}");
    assert_eq!(results["alive_after"], true, "{table}");
    assert!(pass as f64 >= STRICT * all as f64, "{table}");
    server.stop();
}
