//! Every message about what is wrong, word for word.

use super::*;

#[test]
fn everything_that_is_wrong_in_a_file_is_told_with_its_line() {
    let file = r#"worker_class = "sync"
workers = true
timeout = "30 sec"
keepalive = 5
spew = true
workrs = 3
socket-mode = 660
umask = 0x22
bind = 8000
max-surge = "200%"
log-level = "warn"
user = "no-such-user"
env = ["A=1", "B"]
chdir = "/no-such-directory"
worker-class = "snc"
backlog = "10"
max-requests = -1
boot-timeout = 0
limit-request-fields = 0
limit-request-body = "1KB"
daemon = "yes"
pidfile = 1979-05-27
group = "no-such-group"
check-config = true
proc-name = "a\nb"
access-logfile = []
sendfile = {}
tmp-dir = "/etc/passwd"
workers-and-more = 1
colour = "red"
server-header = "a\r\nSet-Cookie: b"
access-logformat = "%(h)s %(zz)s"
body-timeout = 0

[server]
workers = 1
[[listens]]

[[listen]]
bindd = ":80"
workers = 4

[[listen]]
bind = ["127.0.0.1:1"]
backlog = 0

[[mount]]
prefix = "/a/"
app = "helo"

[[mount]]
prefix = "/b"
ap = "hello"
"#;
    let expected = r#"
1: unknown setting "worker_class"; use "worker-class" (section Workers)
2: workers: expected a whole number from 1 to 256 or "auto", found true
3: timeout: expected seconds such as 30 or 0.5, or a time such as "500ms" or "5m", a year at most, found "30 sec"
4: unknown setting "keepalive"; use "keep-alive" (section Requests)
5: unknown setting "spew"; Gunicorn has it, Ferricorn does not: it belongs to Python
6: unknown setting "workrs"; did you mean "workers" (section Workers)?
7: socket-mode: expected an octal mode such as "0660" or 0o660, found 660
8: umask: expected an octal mode such as "0660" or 0o660, found 0x22
9: bind: expected an address, found 8000
10: max-surge: expected a whole number or a percentage up to "100%", found "200%"
11: log-level: expected one of trace, debug, info, warning, error, critical, found "warn"; did you mean "warning"?
12: user: unknown user "no-such-user"
13: env: expected a text such as "NAME=VALUE", a list of them, or a table, found "B"
14: chdir: cannot use "/no-such-directory": No such file or directory (os error 2)
15: worker-class: unknown worker class "snc", expected one of sync, threads, odd; did you mean "sync"?
16: backlog: expected a whole number from 1 to 1048576, found "10"
17: max-requests: expected a whole number from 0 to 4294967295, found -1
18: boot-timeout: expected seconds such as 30 or 0.5, or a time such as "500ms" or "5m", above 0 and a year at most, found 0
19: limit-request-fields: expected a whole number from 1 to 32768, found 0
20: limit-request-body: expected a size such as 4096, "64KiB" or "1GiB", found "1KB"
21: daemon: expected true or false, found "yes"
22: pidfile: expected a path, found the date 1979-05-27
23: group: unknown group "no-such-group"
24: check-config cannot be given in the file
25: proc-name: expected a text without control characters, found "a\nb"
26: access-logfile: expected a path, "-", "auto" or "journald", found a list
27: sendfile: expected true or false, found a table
28: tmp-dir: "/etc/passwd" is not a directory
29: unknown setting "workers-and-more"
30: unknown setting "colour"
31: server-header: expected a text of printable ASCII, found "a\u000D\nSet-Cookie: b"
32: access-logformat: byte 6: unknown atom `zz`
33: body-timeout: expected seconds such as 30 or 0.5, or a time such as "500ms" or "5m", above 0 and a year at most, found 0
35: unknown table "server"; settings stand at the top, without a table
37: unknown table "listens"; did you mean "listen"?
39: [[listen]] without bind
40: unknown setting "bindd" in [[listen]]; did you mean "bind"?
41: workers is a setting of the server, not of [[listen]]; give it above the first table
44: bind: expected an address, found a list
45: backlog: expected a whole number from 1 to 1048576, found 0
48: prefix: expected a prefix without a final "/": "/a"
49: app: unknown application "helo"; did you mean "hello"?
51: mount: a mount has a prefix and an app
53: unknown setting "ap" in [[mount]]; did you mean "app"?
"#;
    let expected: Vec<String> = expected
        .trim()
        .lines()
        .map(|line| format!("ferricorn.toml:{line}"))
        .collect();
    assert_eq!(wrong(file, &[], &[]), expected);
}

#[test]
fn errors_of_syntax_have_their_line() {
    let file = "workers = 2\nbind = \nfoo = 0660\n";
    let errors = wrong(file, &[], &["-w", "x"]);
    let lines: Vec<_> = errors
        .iter()
        .map(|error| error.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["ferricorn.toml:2:", "ferricorn.toml:3:", "--workers:"]
    );
    let errors = wrong("workers = 2\nworkers = 3\n", &[], &[]);
    assert_eq!(errors, ["ferricorn.toml:2: duplicate key"]);
}

#[test]
fn a_wrong_variable_and_a_wrong_option_are_named() {
    let whole = "expected a whole number from 1 to 256 or \"auto\"";
    for (variables, arguments, message) in [
        (
            &[("WEB_CONCURRENCY", "many")][..],
            &[][..],
            format!("WEB_CONCURRENCY: {whole}, found \"many\""),
        ),
        (
            &[("FERRICORN_WORKERS", "0")],
            &[],
            format!("FERRICORN_WORKERS: {whole}, found \"0\""),
        ),
        (
            &[],
            &["-w", "0"],
            format!("--workers: {whole}, found \"0\""),
        ),
        (
            &[],
            &["--graceful-timeout", "1000000000"],
            "--graceful-timeout: expected seconds such as 30 or 0.5, or a time such as \"500ms\" or \
             \"5m\", a year at most, found \"1000000000\""
                .to_owned(),
        ),
        (
            &[],
            &["-w", "257"],
            format!("--workers: {whole}, found \"257\""),
        ),
        (
            &[("PORT", "http")],
            &[],
            "PORT: expected a port from 0 to 65535, found \"http\" in \"0.0.0.0:http\"".to_owned(),
        ),
        (
            &[("FERRICORN_BIND", ":1 x:y")],
            &[],
            "FERRICORN_BIND: expected a port from 0 to 65535, found \"y\" in \"x:y\"".to_owned(),
        ),
        (
            &[],
            &["helo"],
            "APP: unknown application \"helo\"; did you mean \"hello\"?".to_owned(),
        ),
        (
            &[],
            &["--mount", "/a"],
            "--mount: expected a text such as \"PREFIX=APP\", a list of them, or tables \
             [[mount]], found \"/a\""
                .to_owned(),
        ),
        (
            &[],
            &["--mount", "a=hello"],
            "--mount: expected a prefix that starts with \"/\", found \"a\"".to_owned(),
        ),
        (
            &[],
            &["-b", ":1", "-b", ":1"],
            "--bind: \":1\" is given twice".to_owned(),
        ),
        (
            &[],
            &["--initgroups"],
            "--initgroups: needs user".to_owned(),
        ),
        (
            &[],
            &["--control-socket=/c", "-b", "unix:/c"],
            "--control-socket: the same as bind unix:/c".to_owned(),
        ),
        (
            &[],
            &["--daemon=perhaps"],
            "--daemon: expected true or false, found \"perhaps\"".to_owned(),
        ),
    ] {
        assert_eq!(wrong("", variables, arguments), [message]);
    }
    let errors = wrong("workers = 0", &[("FERRICORN_TIMEOUT", "x")], &["-k", "x"]);
    let origins: Vec<_> = errors
        .iter()
        .map(|error| error.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        origins,
        ["ferricorn.toml:1:", "FERRICORN_TIMEOUT:", "--worker-class:"]
    );
}

#[test]
fn whom_to_trust_is_not_guessed() {
    for (arguments, message) in [
        (
            "--forwarded-allow-ips=localhost",
            "--forwarded-allow-ips: expected an IP address, a network such as 10.0.0.0/8, or *, \
             found \"localhost\"",
        ),
        (
            "--forwarded-allow-ips=10.0.0.0/8,,::1",
            "--forwarded-allow-ips: expected an IP address, a network such as 10.0.0.0/8, or *, \
             found \"\"",
        ),
        (
            "--proxy-allow-from=10.0.0.1/8",
            "--proxy-allow-from: \"10.0.0.1/8\" has bits behind its prefix; did you mean \
             \"10.0.0.0/8\"?",
        ),
        (
            "--forwarded-fields=x-forwarded-for,forwarded",
            "--forwarded-fields: forwarded together with x-forwarded-*: they could say two \
             things; name the family that the proxies write",
        ),
        (
            "--forwarded-fields=x-forwarded-fro",
            "--forwarded-fields: unknown forwarding field \"x-forwarded-fro\"; did you mean \
             \"x-forwarded-for\"?",
        ),
        (
            "--forwarded-hops=0",
            "--forwarded-hops: expected a whole number from 1 to 32, found \"0\"",
        ),
        (
            "--secure-scheme-headers=https",
            "--secure-scheme-headers: expected a text such as \"NAME=VALUE\", a list of them, or \
             a table, found \"https\"",
        ),
        (
            "--secure-scheme-headers=X A=on",
            "--secure-scheme-headers: \"X A\" is no name of a field",
        ),
        (
            "--secure-scheme-headers=X-A=",
            "--secure-scheme-headers: X-A: \"\" is no value of a field",
        ),
        (
            "--forwarder-headers=A B",
            "--forwarder-headers: \"A B\" is no name of a field",
        ),
        (
            "--header-map=dorp",
            "--header-map: expected one of drop, refuse, dangerous, found \"dorp\"; did you \
             mean \"drop\"?",
        ),
        (
            "--proxy-protocol=v3",
            "--proxy-protocol: expected one of off, v1, v2, auto, found \"v3\"; did you mean \
             \"v1\"?",
        ),
    ] {
        assert_eq!(wrong("", &[], &[arguments]), [message]);
    }
}

/// What nobody asked for is no way around what the proxies are said to write.
#[test]
fn the_usual_scheme_fields_count_only_with_the_usual_forwarding_fields() {
    let schemes = |arguments: &[&str]| fine("", &[], arguments).conf.trust.schemes.len();
    assert_eq!(schemes(&[]), 3);
    assert_eq!(schemes(&["--forwarded-fields=x-forwarded-for"]), 0);
    assert_eq!(schemes(&["--forwarded-fields=forwarded"]), 0);
    let asked = [
        "--forwarded-fields=forwarded",
        "--secure-scheme-headers=X-A=on",
    ];
    assert_eq!(schemes(&asked), 1);
    let config = fine("", &[], &["--forwarded-fields=forwarded"]);
    let again = fine(&config.print(), &[], &[]);
    assert_eq!(again.conf.trust, config.conf.trust);
}

#[test]
fn settings_that_contradict_one_another_are_errors() {
    let errors = wrong(
        "limit-request-head = 1000\nlimit-request-field-size = 1000",
        &[],
        &[],
    );
    let message = "limit-request-head: smaller than limit-request-line, which is 4094";
    assert_eq!(errors, [format!("ferricorn.toml:1: {message}")]);
    let errors = wrong("", &[], &["--limit-request-field-size=1M", "--initgroups"]);
    assert_eq!(
        errors,
        [
            "--initgroups: needs user",
            "--limit-request-field-size: larger than limit-request-head, never reached",
        ]
    );
}

#[test]
fn a_path_to_ask_for_is_one_as_a_client_sends_it() {
    for (name, path, good) in [
        ("readiness-path", "/ready", true),
        ("readiness-path", "ready", false),
        ("readiness-path", "/is it", false),
        ("readiness-path", "/ready?now", false),
        ("readiness-path", "/ready#", false),
        ("reload-check-path", "/health?deep=1", true),
        ("reload-check-path", "*", false),
    ] {
        let file = format!("{name} = \"{path}\"\n");
        if good {
            fine(&file, &[], &[]);
            continue;
        }
        let errors = wrong(&file, &[], &[]);
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        let start = format!("ferricorn.toml:1: {name}: expected a path such as /");
        assert!(errors[0].starts_with(&start), "{errors:?}");
    }
}

#[test]
fn files_to_watch_are_paths_of_files() {
    for (value, message) in [
        (
            "[\"a\", 1]",
            "expected the path of a file or a list of paths, found 1",
        ),
        ("[\"a\", \"/usr\"]", "\"/usr\" is a directory"),
    ] {
        let errors = wrong(&format!("reload-extra-file = {value}\n"), &[], &[]);
        let expected = format!("ferricorn.toml:1: reload-extra-file: {message}");
        assert_eq!(errors, [expected]);
    }
    let both = ["--reload-extra-file=a", "--reload-extra-file", "/b"];
    let config = fine("chdir = \"/usr\"\n", &[], &both);
    assert_eq!(
        config.reload_extra_files,
        [Path::new("/usr/a"), Path::new("/b")]
    );
}

#[test]
fn what_is_odd_but_harmless_is_a_warning() {
    let variables = [
        ("FERRICORN_WORKRES", "2"),
        ("FERRICORN_PORT", "tcp://10.0.0.1:8000"),
        ("FERRICORN_SERVICE_HOST", "10.0.0.1"),
    ];
    let file = "max-requests-jitter = 5\naccess-logfile = \"-\"";
    let config = fine(file, &variables, &["-D"]);
    let warnings: Vec<_> = config.warnings.iter().map(ConfigError::to_string).collect();
    assert_eq!(
        warnings,
        [
            "FERRICORN_WORKRES: no such setting; did you mean FERRICORN_WORKERS?",
            "ferricorn.toml:1: max-requests-jitter: has no effect without max-requests",
            "--daemon: the error log is lost; set error-logfile",
            "--daemon: the access log is lost; set access-logfile",
        ]
    );
    assert!(fine("", &[], &[]).warnings.is_empty());
}

#[test]
fn what_the_aide_listens_at_is_nobody_elses() {
    for (arguments, message) in [
        (
            ["--bind=127.0.0.1:9000", "--metrics-bind=127.0.0.1:9000"],
            "--metrics-bind: \"127.0.0.1:9000\" is given twice, first at --bind",
        ),
        (
            ["--metrics-bind=unix:/m", "--metrics-bind=unix:/m"],
            "--metrics-bind: \"unix:/m\" is given twice",
        ),
        (
            ["--metrics-bind=unix:/c", "--control-socket=/c"],
            "--control-socket: the same as metrics-bind unix:/c",
        ),
        (
            ["--metrics-bind=9000", "--workers=1"],
            "--metrics-bind: expected an address, found \"9000\"; for a port on every address \
             write \":9000\"",
        ),
    ] {
        assert_eq!(wrong("", &[], &arguments), [message], "{arguments:?}");
    }
    // The system gives each another port.
    let both = fine(
        "",
        &[],
        &["--bind=127.0.0.1:0", "--metrics-bind=127.0.0.1:0"],
    );
    assert_eq!((both.binds.len(), both.metrics_binds.len()), (1, 1));
    let proxied = [
        "--proxy-protocol=auto",
        "--socket-mode=600",
        "--metrics-bind=unix:/m",
    ];
    let proxied = fine("", &[], &proxied);
    let bind = &proxied.metrics_binds[0];
    assert_eq!((bind.proxy_protocol, bind.socket_mode), (None, 0o600));
}
