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

/// The table of every MUST: each row has its section, in order, a place and a test that exist, or says
/// why there is none.
#[test]
fn every_must_names_a_place_and_a_test_that_exist() {
    let page = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let (_, tables) = page.split_once("\n## Every MUST\n").unwrap();
    let tables = tables.split("\n## ").next().unwrap();
    let mut wrong = Vec::new();
    for table in tables.split("\n### RFC ").skip(1) {
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| § "))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert!(rows.len() >= 30, "only {} rows", rows.len());
        let section = |row: &[&str]| -> Vec<u32> {
            row[0]
                .split('.')
                .map(|part| part.parse().unwrap())
                .collect()
        };
        assert!(rows.is_sorted_by_key(|row| section(row)), "not in order");
        for row in &rows {
            let [_, what, place, test] = row[..] else {
                panic!("a row has four cells: {row:?}")
            };
            let reasoned = ["application", "not done"].map(|why| test.starts_with(why));
            if places(test).is_empty() && !reasoned.contains(&true) {
                wrong.push(format!("{what}: neither a test nor why there is none"));
            }
            let there = |(path, name): (&str, &str), found: fn(&str, &str) -> bool| {
                let source = fs::read_to_string(root().join(path)).unwrap_or_default();
                (!found(&source, name)).then(|| format!("{what}: there is no {path}::{name}"))
            };
            let places_of = |cell| places(cell).into_iter();
            wrong.extend(places_of(place).filter_map(|named| there(named, defines)));
            wrong.extend(places_of(test).filter_map(|named| there(named, tests)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the code spans of a cell name: paths, each with an item of that file, or none.
fn places(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| span.contains(".rs"))
        .map(|span| span.split_once("::").unwrap_or((span, "")))
        .collect()
}

/// Whether a source defines this item; of no name, whether there is any source.
fn defines(source: &str, name: &str) -> bool {
    let in_word = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let kinds = ["fn", "struct", "enum", "trait", "const", "static"];
    let by_kind = |kind: &&str| {
        let definition = format!("{kind} {name}");
        let mut behind = source.split(definition.as_str()).skip(1);
        behind.any(|rest| !in_word(rest))
    };
    !source.is_empty() && (name.is_empty() || kinds.iter().any(by_kind))
}

/// Whether a source has this test.
fn tests(source: &str, name: &str) -> bool {
    let indents = ["", "    "];
    indents
        .iter()
        .any(|indent| source.contains(&format!("#[test]\n{indent}fn {name}(")))
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

/// Each hook says in which process it runs, and the example has them all.
#[test]
fn every_hook_names_its_process_and_is_in_the_example() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let code = read("workers/base/src/hooks.rs");
    let (_, rest) = code.split_once("pub trait Hooks").unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let example = read("examples/hooks.rs");
    let mut hooks = Vec::new();
    let mut doc = "";
    for line in body.lines().map(str::trim) {
        match line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split_once('('))
        {
            Some((name, _)) => {
                let process = ["**Master**: ", "**Worker**: "];
                assert!(
                    process.iter().any(|process| doc.starts_with(process)),
                    "{name}: {doc}"
                );
                assert!(example.contains(&format!("    fn {name}(")), "{name}");
                hooks.push(name);
                doc = "";
            }
            None if doc.is_empty() => doc = line.strip_prefix("/// ").unwrap_or_default(),
            None => {}
        }
    }
    let gunicorns = [
        "on_starting",
        "on_reload",
        "when_ready",
        "pre_fork",
        "post_fork",
        "post_worker_init",
        "worker_int",
        "worker_abort",
        "pre_exec",
        "pre_request",
        "post_request",
        "child_exit",
        "worker_exit",
        "nworkers_changed",
        "on_exit",
    ];
    assert_eq!(hooks, gunicorns);
}
