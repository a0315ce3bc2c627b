//! What the prose promises about the tree: links lead somewhere, and tests that it names exist.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_link_to_a_file_leads_somewhere() {
    for page in files(root(), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let file = page.with_file_name(target);
            assert!(
                file.exists(),
                "{}: there is no {target}",
                page.strip_prefix(root()).unwrap().display()
            );
        }
    }
}

#[test]
fn every_test_that_fork_safety_names_exists() {
    let page = fs::read_to_string(root().join("docs/FORK_SAFETY.md")).unwrap();
    let sources: String = ["src", "tests", "workers"]
        .iter()
        .flat_map(|directory| files(&root().join(directory), "rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    // Number, hazard, rule, place, test.
    let shown = rows.filter_map(|row| row.split('|').nth(5));
    let mut named = 0;
    for name in shown.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        assert!(sources.contains(&format!("fn {name}(")), "no test {name}");
        named += 1;
    }
    assert!(named > 0);
}

#[test]
fn architecture_is_one_page() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    assert!(page.lines().count() < 300);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension below a directory, but for build output and hidden ones.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.append(&mut files(&path, extension));
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}
