//! `--print-config`, its way back, and what a reload would change.

use super::*;
use crate::settings;

/// The configuration without what says where it came from.
fn meaning(config: &Config) -> String {
    let mut config = config.clone();
    config.file = None;
    config.shown.clear();
    config.listens.clear();
    config.mounts.clear();
    config.warnings.clear();
    let binds = config.binds.iter_mut().chain(&mut config.metrics_binds);
    binds.for_each(|bind| bind.origin = Origin::Default);
    format!("{config:#?}")
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same() {
    let everything = VALUES
        .iter()
        .rev()
        .fold(String::new(), |file, (name, written, _)| {
            let again = file
                .lines()
                .any(|line| line.starts_with(&format!("{name} =")));
            if again {
                file
            } else {
                format!("{name} = {written}\n{file}")
            }
        });
    let tables = format!("{LISTENERS}\n[[mount]]\nprefix = \"/a\"\napp = \"echo\"\n");
    for (file, variables, arguments) in [
        ("", &[][..], &[][..]),
        (everything.as_str(), &[], &[]),
        (
            tables.as_str(),
            &[("TMPDIR", "/")],
            &["hello", "-e", "A=\"\\\u{1}"],
        ),
        (
            tables.as_str(),
            &[("PORT", "80")],
            &["-b", ":1", "--backlog=5", "--user=0", "--mount=/=echo"],
        ),
    ] {
        let config = fine(file, variables, arguments);
        let printed = config.print();
        let again = fine(&printed, &[], &[]);
        assert_eq!(meaning(&again), meaning(&config), "{printed}");
        // And once more, character by character but for the remarks.
        let values = |config: &Config| -> Vec<String> {
            let text = config.print();
            let values = text.lines().filter(|line| !line.starts_with('#'));
            values
                .map(|line| line.split("  # ").next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(values(&again), values(&config));
        for setting in settings::all() {
            let there = printed.contains(&format!("{} = ", setting.name));
            assert!(
                there || setting.name == "mount" || setting.name == "bind",
                "{}",
                setting.name
            );
        }
    }
}

#[test]
fn what_is_printed_names_the_origins() {
    let config = fine("\ntimeout = 5\n", &[("PORT", "1")], &["-w", "2"]);
    for expected in [
        "timeout = 5  # from file ferricorn.toml:2",
        "workers = 2  # from command line --workers",
        "bind = [\"0.0.0.0:1\"]  # from variable PORT",
        "keep-alive = 65  # default",
        "user = \"\"  # default: the master's user",
        "app = \"welcome\"  # default",
    ] {
        let name = expected.split(' ').next().unwrap();
        assert_eq!(line(&config, name), expected);
    }
    let number = crate::cpus::available();
    let expected = format!("workers = \"auto\"  # default: {number} here");
    assert_eq!(line(&fine("", &[], &[]), "workers"), expected);
    assert!(
        config
            .print()
            .contains("\n# config = \"/ferricorn.toml\"  # default\n")
    );
}
