//! What the command line itself answers.

use std::time::Duration;

use super::*;
use crate::settings;

#[test]
fn actions() {
    for (arguments, action) in [
        (&[][..], Action::Serve),
        (&["--check-config"], Action::Check),
        (&["check"], Action::Check),
        (&["--print-config"], Action::Print),
        (&["--print-config", "--check-config"], Action::Print),
        (&["check", "--print-config"], Action::Print),
    ] {
        assert_eq!(fine("", &[], arguments).action, action, "{arguments:?}");
    }
    let config = fine(
        "",
        &[],
        &["-w", "2", "-t", "1", "check", "-w", "3", "hello"],
    );
    assert_eq!(
        (config.workers, config.patience().timeout),
        (3, Duration::from_secs(1))
    );
    assert_eq!(config.conf.mounts[0].app, "hello");
}

/// Exit code and text of a command line that is answered by clap.
fn usage(known: &Known<'_>, arguments: &[&str]) -> (i32, String) {
    let call = Call {
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: Vec::new(),
        directory: "/".into(),
        names: Default::default(),
    };
    match Config::load(&call, known) {
        Err(Refusal::Usage(error)) => (error.exit_code(), error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_line_that_cannot_be_read_is_a_usage_error() {
    for (arguments, part) in [
        (
            &["--nonsense"][..],
            "unexpected argument '--nonsense' found",
        ),
        (
            &["--keepalive", "2"],
            "a similar argument exists: '--keep-alive'",
        ),
        (
            &["--worker_class", "sync"],
            "a similar argument exists: '--worker-class'",
        ),
        (
            &["--reuse-port"],
            "tip: Gunicorn has it, Ferricorn does not: workers share the master's sockets",
        ),
        (
            &["--certfile=x"],
            "Ferricorn does not: TLS is not available yet",
        ),
        (&["--workers"], "a value is required for '--workers"),
        (&["hello", "echo"], "unexpected argument 'echo' found"),
        (
            &["generate", "poem"],
            "[possible values: man, man-toml, settings",
        ),
        (&["generate"], "required arguments were not provided"),
    ] {
        let arguments = [&["ferricorn"], arguments].concat();
        let (code, text) = usage(&KNOWN, &arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn help_and_version() {
    let (code, brief) = usage(&KNOWN, &["ferricorn", "-h"]);
    assert_eq!(code, 0);
    let (code, long) = usage(&KNOWN, &["ferricorn", "--help"]);
    assert_eq!(code, 0);
    for setting in settings::all().filter(|setting| setting.name != "app") {
        assert!(
            brief.contains(&format!("--{}", setting.name)),
            "{}",
            setting.name
        );
        assert!(
            long.contains(&format!("--{}", setting.name)),
            "{}",
            setting.name
        );
    }
    let mut at = 0;
    for section in settings::SECTIONS {
        let heading = brief
            .find(&format!("\n{}:\n", section.title()))
            .expect("a heading");
        assert!(heading > at, "{} is out of order", section.title());
        at = heading;
    }
    assert!(
        brief.starts_with("A pre-fork application server\n\nUsage: ferricorn [OPTIONS] [APP]\n")
    );
    let long = long.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(long.contains("Gunicorn's default of 2 seconds"));
    assert!(!brief.contains("Gunicorn's default of 2 seconds"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        usage(&KNOWN, &["ferricorn", "-V"]),
        (0, format!("ferricorn {version}\n"))
    );
}

#[test]
fn a_program_of_ones_own_has_its_name_and_no_app() {
    let one = Known {
        apps: &["shop"],
        classes: &["sync"],
        defaults: &[],
    };
    let (_, text) = usage(&one, &["./target/shop", "-h"]);
    assert!(text.contains("Usage: shop [OPTIONS]\n"), "{text}");
    assert!(!text.contains("APP]"), "{text}");
    let (_, text) = usage(&one, &["/usr/bin/shop", "-V"]);
    assert_eq!(
        text,
        format!("shop (ferricorn {})\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(usage(&one, &["shop", "hello"]).0, 2);
    let call = Call {
        directory: "/".into(),
        ..Call::default()
    };
    match Config::load(&call, &one) {
        Ok(Loaded::Config(config)) => assert_eq!(config.conf.mounts[0].app, "shop"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn generated_documents_need_no_configuration() {
    let call = Call {
        arguments: ["ferricorn", "generate", "settings"]
            .iter()
            .map(OsString::from)
            .collect(),
        environment: vec![("WEB_CONCURRENCY".into(), "nonsense".into())],
        directory: "/".into(),
        names: Default::default(),
    };
    match Config::load(&call, &KNOWN) {
        Ok(Loaded::Generated(text)) => assert!(text.starts_with("# Settings\n")),
        other => panic!("{other:?}"),
    }
}
