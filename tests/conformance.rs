//! The raw HTTP/1.1 cases of `tests/conformance` against the test application: nothing may fail,
//! and what is not answered as a strict server would is a decision of `docs/conformance.md`. The
//! table of groups there is the one that is measured here.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "conformance/decisions.rs"]
mod decisions;
#[path = "conformance/listeners.rs"]
mod listeners;
mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use support::{PATIENCE, Server, ferricorn, testapp};

/// What cases need that is not offered here: these are about files, which another application has.
const NOT_OFFERED: [&str; 1] = ["static"];

/// Runs the cases: the table that is printed, and the results.
fn run(server: &Server, options: &[&str]) -> (String, Value) {
    let (address, results) = (server.address(), server.dir.path("results.json"));
    let mut run = Command::new("python3")
        .arg("tests/conformance/run_cases.py")
        .arg(address.ip().to_string())
        .arg(address.port().to_string())
        .args(options)
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
    (table, serde_json::from_str(&results).unwrap())
}

/// The ids of the cases with this verdict.
fn with_verdict(results: &Value, verdict: &str) -> BTreeSet<String> {
    let all = results["results"].as_array().unwrap().iter();
    all.filter(|result| result["verdict"] == verdict)
        .map(|result| result["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The page with the decisions.
fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");
    std::fs::read_to_string(path).unwrap()
}

/// The part of the page under a heading, up to the next.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// The first cell of each row of the tables in a part of the page, but for those of its head.
fn first_cells(part: &str) -> BTreeSet<String> {
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

/// The groups as rows of the page: strict, soft, failed.
fn rows(results: &Value) -> Vec<String> {
    let groups = results["groups"].as_object().unwrap().iter();
    groups
        .map(|(name, group)| {
            let (pass, soft, fail) = (&group["pass"], &group["soft"], &group["fail"]);
            format!("| {name} | {pass} | {soft} | {fail} |")
        })
        .collect()
}

#[test]
fn no_case_fails_and_what_is_soft_is_a_decision() {
    let server = testapp().file(listeners::FILE).no_bind().ready();
    let proxied = listeners::proxied(&server).port().to_string();
    let options = [
        "--hdr-path",
        "/__hdr",
        "--env-path",
        "/__env",
        "--proxy-port",
        &proxied,
    ];
    let (table, results) = run(&server, &options);
    assert_eq!(with_verdict(&results, "fail"), BTreeSet::new(), "{table}");
    assert_eq!(results["alive_after"], true, "{table}");

    let count = |verdict: &str| results["totals"][verdict].as_u64().unwrap();
    let all = count("pass") + count("soft") + count("fail");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/cases.jsonl");
    let cases = std::fs::read_to_string(path).unwrap();
    let ours = cases.lines().filter(|line| {
        let case: Value = serde_json::from_str(line).unwrap();
        !NOT_OFFERED.contains(&case["needs"].as_str().unwrap_or_default())
    });
    assert_eq!(all, ours.count() as u64, "some cases were not run\n{table}");
    assert!(100 * count("pass") >= 98 * all, "{table}");

    let page = page();
    let decided = first_cells(part(&page, "Soft verdicts"));
    assert_eq!(with_verdict(&results, "soft"), decided, "{table}");
    let measured = part(&page, "The cases by group");
    for row in rows(&results) {
        assert!(measured.contains(&row), "not in the page: {row}\n{table}");
    }
    server.stop();
}

#[test]
fn files_are_served_as_their_cases_want() {
    let server = ferricorn().args("--mount /=echo --mount /static=static:docroot");
    let docroot = server.dir().path("docroot");
    let made = Command::new("python3")
        .args(["tests/conformance/run_cases.py", "--make-docroot"])
        .arg(docroot)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(made.unwrap().success());
    let server = server.ready();
    let options = ["--static-prefix", "/static", "--group", "static"];
    let (table, results) = run(&server, &options);
    assert_eq!(with_verdict(&results, "fail"), BTreeSet::new(), "{table}");
    assert_eq!(results["alive_after"], true, "{table}");
    let (page, rows) = (page(), rows(&results));
    let measured = part(&page, "The cases by group");
    assert!(
        measured.contains(&rows[0]),
        "{rows:?} is not in the page\n{table}"
    );
    server.stop();
}

#[test]
fn echo_answers_all_of_its_cases_strictly() {
    let server = ferricorn().args("echo --workers 2").ready();
    let (table, results) = run(&server, &[]);
    assert_eq!(with_verdict(&results, "fail"), BTreeSet::new(), "{table}");
    assert_eq!(with_verdict(&results, "soft"), BTreeSet::new(), "{table}");
    assert_eq!(results["alive_after"], true, "{table}");
    server.stop();
}
