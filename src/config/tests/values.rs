//! Values of every kind, from every source, and which source counts.

use std::time::Duration;

use super::*;
use crate::control::Place;
use crate::settings;

#[test]
fn the_defaults_of_the_table_are_those_of_the_types() {
    let mut config = fine("", &[], &[]);
    assert_eq!(config.workers, crate::cpus::available());
    assert_eq!(config.conf.workers, config.workers);
    assert_eq!(config.binds.len(), 1);
    assert_eq!(
        config.binds[0].address,
        Address::Tcp("127.0.0.1:8000".parse().unwrap())
    );
    assert_eq!(config.binds[0].backlog, 2048);
    assert_eq!(config.conf.listeners[0].bind, "127.0.0.1:8000");
    assert_eq!(config.conf.mounts.len(), 1);
    assert_eq!(config.conf.mounts[0].prefix, "/");
    assert_eq!(config.conf.mounts[0].app, "welcome");

    let plain = Config::default();
    assert_eq!(config.place.take(), Some("/ferricorn.toml".into()));
    config.binds.clear();
    config.shown.clear();
    config.workers = plain.workers;
    config.conf.workers = plain.conf.workers;
    config.conf.tmp_dir = plain.conf.tmp_dir.clone();
    config.conf.listeners.clear();
    config.conf.mounts.clear();
    assert_eq!(format!("{config:#?}"), format!("{plain:#?}"));
}

#[test]
fn several_threads_and_gunicorns_name_for_them_are_the_class_threads() {
    for (arguments, class, threads) in [
        (&["--threads", "1"][..], "sync", 1),
        (&["--threads", "4"], "threads", 4),
        (&["--threads", "4", "-k", "sync"], "threads", 4),
        (&["--threads", "128", "-k", "odd"], "odd", 128),
        (&["-k", "gthread"], "threads", 1),
        (&["-k", "gthread", "--threads=2"], "threads", 2),
    ] {
        let config = fine("", &[], arguments);
        assert_eq!(config.conf.worker_class, class, "{arguments:?}");
        assert_eq!(config.conf.threads, threads, "{arguments:?}");
        let printed = fine(&config.print(), &[], &[]);
        assert_eq!(printed.conf.worker_class, class, "{arguments:?}");
    }
    let file = "threads = 3\nworker-class = \"sync\"";
    let config = fine(file, &[], &[]);
    assert_eq!(
        line(&config, "worker-class"),
        "worker-class = \"threads\"  # from file ferricorn.toml:2: as there are several threads"
    );
    for wrong_number in ["0", "129"] {
        let errors = wrong("", &[], &["--threads", wrong_number]);
        assert!(errors[0].contains("from 1 to 128"), "{errors:?}");
    }
}

#[test]
fn a_program_without_the_class_says_that_there_are_no_threads() {
    let known = Known {
        classes: &["sync"],
        ..KNOWN
    };
    let call = Call {
        arguments: ["app", "--threads", "2"].map(OsString::from).into(),
        ..Call::default()
    };
    let none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    let Err(Refusal::Errors(errors)) = load::load(&call, &known, &none) else {
        panic!("there are");
    };
    let text = "--threads: more than one needs the worker class threads, and there is none";
    assert_eq!(errors[0].to_string(), text);
}

#[test]
fn a_default_of_the_program_gives_way_to_every_other_source() {
    let known = Known {
        defaults: &[("bind", "unix:/app.sock"), ("pidfile", "/pid")],
        ..KNOWN
    };
    let load = |arguments: &[&str], environment: &[(&str, &str)], known: &Known<'_>| {
        let words = ["app"].iter().chain(arguments);
        let variables = environment.iter();
        let call = Call {
            arguments: words.map(OsString::from).collect(),
            environment: variables.map(|(n, v)| (n.into(), v.into())).collect(),
            directory: "/".into(),
            names: Default::default(),
        };
        let none = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        load::load(&call, known, &none)
    };
    for (arguments, environment, expected) in [
        (&[][..], &[][..], "unix:/app.sock"),
        (&["--bind", "127.0.0.1:1"], &[], "127.0.0.1:1"),
        (&[], &[("FERRICORN_BIND", "127.0.0.1:2")], "127.0.0.1:2"),
        (&[], &[("PORT", "3")], "0.0.0.0:3"),
    ] {
        let Ok(Loaded::Config(config)) = load(arguments, environment, &known) else {
            panic!("no configuration");
        };
        let binds: Vec<&str> = config.binds.iter().map(|bind| &*bind.text).collect();
        assert_eq!(binds, [expected]);
        assert_eq!(config.pidfile.as_deref(), Some(Path::new("/pid")));
    }
    let slip = Known {
        defaults: &[("binds", "unix:/app.sock")],
        ..KNOWN
    };
    assert!(matches!(load(&[], &[], &slip), Err(Refusal::Errors(_))));
    let help = load(&["-h"], &[], &known).unwrap_err();
    assert!(format!("{help:?}").contains("[default: unix:/app.sock]"));
}

#[test]
fn every_setting_is_read_from_the_file() {
    for (name, written, shown) in VALUES {
        let config = fine(&format!("\n{name} = {written}\n"), &[], &[]);
        let expected = format!("{name} = {shown}  # from file ferricorn.toml:2");
        assert_eq!(line(&config, name), expected, "{written}");
    }
    for setting in settings::all().filter(|setting| setting.in_file()) {
        let tested = VALUES.iter().any(|(name, ..)| *name == setting.name);
        assert!(
            tested || ["bind", "mount"].contains(&setting.name),
            "{}",
            setting.name
        );
    }
}

#[test]
fn every_setting_is_read_from_the_environment_and_the_command_line() {
    for (name, written, shown) in VALUES {
        // What a shell would pass: no quotes, no lists, no TOML numbers.
        let word = written.trim_matches('"');
        if word.contains(['[', '{', '\'', '_']) || word.starts_with("0x") {
            continue;
        }
        let setting = settings::find(name).expect("a setting");
        let (argument, flag) = match *name {
            "app" => (word.to_owned(), "APP".to_owned()),
            _ => (format!("--{name}={word}"), format!("--{name}")),
        };
        let config = fine("", &[], &[&argument]);
        let expected = format!("{name} = {shown}  # from command line {flag}");
        assert_eq!(line(&config, name), expected);

        let Some(variable) = setting.environment().filter(|_| !word.is_empty()) else {
            continue;
        };
        let config = fine("", &[(&variable, word)], &[]);
        assert_eq!(
            line(&config, name),
            format!("{name} = {shown}  # from variable {variable}")
        );
    }
}

#[test]
fn values_arrive_where_they_are_used() {
    let config = fine(
        r#"
        app = "echo"
        workers = 8
        max-surge = "30%"
        max-unavailable = 2
        timeout = 10
        boot-timeout = 20
        heartbeat-timeout = 25
        graceful-timeout = 15
        superseded-timeout = 4
        pre-stop-delay = 3
        chdir = "/usr"
        pidfile = "run/a.pid"
        user = "root"
        umask = "0077"
        proc-name = "shop"
        access-logfile = "access.log"
        error-logfile = "/var/log/error.log"
        log-level = "critical"
        server-header = ""
        max-requests = 100
        limit-request-body = "2M"
        tmp-dir = "share"
        env = ["A=1", "B="]
        "#,
        &[],
        &["-D", "--no-sendfile"],
    );
    let seconds = Duration::from_secs;
    assert_eq!(
        (config.workers, config.max_surge, config.max_unavailable),
        (8, Share::Percent(30), Share::Number(2))
    );
    assert_eq!(
        (config.patience().timeout, config.boot_timeout),
        (seconds(10), seconds(20))
    );
    let patience = config.patience();
    assert_eq!(
        (patience.heartbeat, patience.longest),
        (seconds(25), seconds(300))
    );
    assert_eq!(config.graceful_timeout, seconds(15));
    assert_eq!(config.superseded_timeout, seconds(4));
    assert_eq!(config.pre_stop_delay, seconds(3));
    assert_eq!(config.conf.deadlines.graceful, seconds(15));
    assert_eq!(config.directory, Path::new("/usr"));
    assert_eq!(config.pidfile.as_deref(), Some(Path::new("/usr/run/a.pid")));
    let user = config.user.clone().expect("a user");
    assert_eq!(
        (user.uid, user.gid, user.name.as_deref()),
        (0, Some(0), Some("root"))
    );
    assert_eq!(config.gid(), Some(0));
    assert_eq!(
        (config.umask, config.proc_name.as_deref()),
        (0o077, Some("shop"))
    );
    assert_eq!(
        config.access_log,
        Some(Destination::File("/usr/access.log".into()))
    );
    assert_eq!(
        config.error_log,
        Destination::File("/var/log/error.log".into())
    );
    assert_eq!(config.log_level, LevelFilter::Error);
    assert_eq!(
        config.env,
        [("A".into(), "1".into()), ("B".into(), "".into())]
    );
    assert!(config.daemon && !config.conf.sendfile);
    assert_eq!(
        (config.conf.server.as_deref(), config.conf.max_requests),
        (None, 100)
    );
    assert_eq!(config.conf.limits.body, 2 << 20);
    assert_eq!(config.conf.tmp_dir, Path::new("/usr/share"));
    assert!(
        config
            .conf
            .access_format
            .is_some_and(|format| format.starts_with("%(h)s"))
    );
    assert_eq!(config.conf.mounts[0].app, "echo");
}

#[test]
fn command_line_over_environment_over_file_over_default() {
    let file = "workers = 2\nbind = \":2\"\n";
    let known = [("WEB_CONCURRENCY", "5"), ("PORT", "5")];
    let variables = [("FERRICORN_WORKERS", "3"), ("FERRICORN_BIND", ":3")];
    let both = [known, variables].concat();
    let arguments = ["-w", "4", "-b", ":4"];
    for (file, variables, arguments, workers, bind) in [
        (
            "",
            &known[..],
            &[][..],
            "5  # from variable WEB_CONCURRENCY",
            "0.0.0.0:5",
        ),
        (
            file,
            &known[..],
            &[],
            "2  # from file ferricorn.toml:1",
            ":2",
        ),
        (
            file,
            &both[..],
            &[],
            "3  # from variable FERRICORN_WORKERS",
            ":3",
        ),
        (
            file,
            &both[..],
            &arguments[..],
            "4  # from command line --workers",
            ":4",
        ),
        (
            "",
            &[],
            &arguments[..],
            "4  # from command line --workers",
            ":4",
        ),
    ] {
        let config = fine(file, variables, arguments);
        assert_eq!(line(&config, "workers"), format!("workers = {workers}"));
        let binds: Vec<_> = config.binds.iter().map(|bind| bind.text.as_str()).collect();
        assert_eq!(binds, [bind]);
    }
    // An empty variable counts as unset.
    let config = fine(file, &[("FERRICORN_WORKERS", ""), ("PORT", "")], &[]);
    assert_eq!(config.workers, 2);
}

#[test]
fn the_file_that_is_named_is_read() {
    let named = [("FERRICORN_CONFIG", "other.toml")];
    for (variables, arguments, workers) in [
        (&[][..], &[][..], 2),
        (&[], &["-c", "other.toml"], 9),
        (&[], &["--config=/other.toml"], 9),
        (&named, &[], 9),
        (&named, &["-c", "ferricorn.toml"], 2),
        (&[], &["-c", "", "-w", "7"], 7),
    ] {
        let config = fine("workers = 2", variables, arguments);
        assert_eq!(config.workers, workers, "{variables:?} {arguments:?}");
    }
    let config = fine("workers = 2", &[], &[]);
    assert_eq!(config.file.as_deref(), Some(Path::new("/ferricorn.toml")));
    assert_eq!(fine("", &[], &[]).file, None);
    let message = "--config: cannot read \"nope.toml\": entity not found";
    assert_eq!(wrong("", &[], &["-c", "nope.toml"]), [message]);
}

#[test]
fn the_last_of_several_counts_except_where_several_are_meant() {
    let config = fine(
        "",
        &[],
        &[
            "-w", "2", "-w", "3", "-b", ":1", "-b", ":2", "-e", "A=1", "-e", "B=2",
        ],
    );
    assert_eq!(
        (config.workers, config.binds.len(), config.env.len()),
        (3, 2, 2)
    );
    for (arguments, on) in [
        (&["--sendfile", "--no-sendfile"][..], false),
        (&["--no-sendfile", "--sendfile"], true),
        (&["--sendfile=no"], false),
        (&[], true),
    ] {
        assert_eq!(fine("", &[], arguments).conf.sendfile, on, "{arguments:?}");
    }
    assert!(!fine("", &[], &["-D", "--daemon=false"]).daemon);
    let config = fine("", &[("FERRICORN_BIND", ":1, :2")], &[]);
    assert_eq!(config.binds.len(), 2);
}

#[test]
fn paths_and_variables_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt;
    let odd = |start: &str| {
        let mut bytes = start.as_bytes().to_vec();
        bytes.push(0xff);
        OsString::from_vec(bytes)
    };
    let mut call = Call {
        directory: "/".into(),
        ..Call::default()
    };
    call.arguments = vec!["ferricorn".into(), "--pidfile".into(), odd("/a")];
    call.arguments.extend(["-e".into(), odd("A=")]);
    match Config::load(&call, &KNOWN) {
        Ok(Loaded::Config(config)) => {
            assert_eq!(config.pidfile, Some(odd("/a").into()));
            assert_eq!(config.env, [("A".into(), odd(""))]);
        }
        other => panic!("{other:?}"),
    }
    call.arguments = vec!["ferricorn".into(), "-w".into(), odd("4")];
    match Config::load(&call, &KNOWN) {
        Err(Refusal::Errors(errors)) => assert_eq!(errors.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_the_documents_is_a_configuration() {
    let config = fine(
        &crate::generate::EXAMPLE.replace("www-data", "root"),
        &[],
        &[],
    );
    assert_eq!(
        (config.workers, config.binds.len(), config.conf.mounts.len()),
        (4, 2, 2)
    );
}

#[test]
fn a_client_finds_the_socket_in_a_configuration_that_is_broken() {
    let place = |file: &str, environment: &[(&str, &str)], arguments: &[&str]| {
        let all = [arguments, &["ctl", "status"]].concat();
        match load_all(file, environment, &all) {
            Ok(Loaded::Ctl(call)) => call.place,
            other => panic!("{other:?}"),
        }
    };
    let at = |path: &str| Place::At(path.into());
    for (file, environment, arguments, expected) in [
        ("", &[][..], &[][..], Place::Auto),
        ("control-socket = \"none\"", &[], &[], Place::Nowhere),
        ("control-socket = \"c\"", &[], &[], at("/c")),
        (
            "chdir = \"/var\"\ncontrol-socket = \"c\"\n",
            &[],
            &[],
            at("/var/c"),
        ),
        ("wrokers = 1\ncontrol-socket = \"c\"\n", &[], &[], at("/c")),
        (
            "workers = [\ncontrol-socket = \"c\"\n",
            &[],
            &[],
            Place::Auto,
        ),
        (
            "control-socket = \"c\"\nworkers = = 4\n",
            &[],
            &[],
            at("/c"),
        ),
        (
            "control-socket = \"c\"",
            &[("FERRICORN_CONTROL_SOCKET", "/e")],
            &[],
            at("/e"),
        ),
        (
            "control-socket = \"c\"",
            &[],
            &["--control-socket=/l"],
            at("/l"),
        ),
    ] {
        assert_eq!(
            place(file, environment, arguments),
            expected,
            "{file} {arguments:?}"
        );
    }
}
