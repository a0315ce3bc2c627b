//! The binary's settings, from outside: what it prints, what it refuses, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory of its own for one test, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ferricorn-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// Runs the binary there, with nothing in its environment but `variables`.
    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ferricorn"))
            .args(arguments)
            .current_dir(&self.0)
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn print_config_is_a_file_that_means_the_same() {
    let here = Directory::new("print");
    here.file(
        "ferricorn.toml",
        "timeout = \"1m\"\n\n[[listen]]\nbind = \"127.0.0.1:0\"\n",
    );
    let variables = [("WEB_CONCURRENCY", "3")];
    let first = here.run(&variables, &["--print-config", "-t", "7", "hello"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let printed = text(&first.stdout);
    for line in [
        "timeout = 7  # from command line --timeout",
        "workers = 3  # from variable WEB_CONCURRENCY",
        "bind = \"127.0.0.1:0\"  # from file ferricorn.toml:4",
        "app = \"hello\"  # from command line APP",
        "keep-alive = 65  # default",
    ] {
        assert!(
            printed.contains(&format!("\n{line}\n")),
            "no {line} in {printed}"
        );
    }
    here.file("again.toml", &printed);
    let second = here.run(&[], &["-c", "again.toml", "--print-config"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    let values = |printed: &str| -> Vec<String> {
        let lines = printed.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&text(&second.stdout)), values(&printed));
}

#[test]
fn check_config_tells_everything_that_is_wrong_and_exits_1() {
    let here = Directory::new("wrong");
    here.file(
        "ferricorn.toml",
        "workrs = 2\nkeep_alive = 5\ntimeout = []\n",
    );
    for arguments in [
        &["--check-config", "-b", "x:y"][..],
        &["check", "-b", "x:y"],
    ] {
        let output = here.run(&[("FERRICORN_BACKLOG", "many")], arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let errors = text(&output.stderr);
        for error in [
            "ferricorn.toml:1: unknown setting \"workrs\"; did you mean \"workers\" (section \
             Workers)?",
            "ferricorn.toml:2: unknown setting \"keep_alive\"; use \"keep-alive\" (section \
             Requests)",
            "ferricorn.toml:3: timeout: expected seconds",
            "FERRICORN_BACKLOG: expected a whole number from 1 to 1048576, found \"many\"",
            "--bind: expected a port from 0 to 65535, found \"y\" in \"x:y\"",
        ] {
            assert!(errors.contains(error), "no {error} in {errors}");
        }
    }
    // Nothing is served with a wrong configuration either.
    assert_eq!(here.run(&[], &[]).status.code(), Some(1));
}

#[test]
fn check_config_of_a_sound_configuration_says_one_line_and_exits_0() {
    let here = Directory::new("sound");
    for arguments in [
        &["--check-config"][..],
        &["check"],
        &["check", "-w", "2", "echo"],
    ] {
        let output = here.run(&[], arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), 1, "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_command_line_that_cannot_be_read_exits_2() {
    let here = Directory::new("usage");
    for arguments in [
        &["--nonsense"][..],
        &["--workers"],
        &["hello", "echo"],
        &["generate"],
    ] {
        let output = here.run(&[], arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            !output.stderr.is_empty() && output.stdout.is_empty(),
            "{arguments:?}"
        );
    }
    let output = here.run(&[], &["--no-control-socket"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Gunicorn has it, Ferricorn does not"));
}

#[test]
fn help_version_and_documents_go_to_standard_output() {
    let here = Directory::new("help");
    here.file("ferricorn.toml", "this is no TOML");
    let version = format!("ferricorn {}\n", env!("CARGO_PKG_VERSION"));
    for (arguments, start) in [
        (&["-h"][..], "A pre-fork application server\n"),
        (&["--help"], "A pre-fork application server\n"),
        (&["-V"], version.as_str()),
        (&["generate", "settings"], "# Settings\n"),
        (&["generate", "man"], ".\\\" Made by ferricorn generate"),
        (&["generate", "completions-bash"], "_ferricorn() {"),
    ] {
        let output = here.run(&[], arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).starts_with(start), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}
