//! What a user would notice of the configuration: values, precedence, messages, the round trip.

mod errors;
mod print;
mod tables;
mod usage;
mod values;

use super::*;

const KNOWN: Known<'_> = Known {
    apps: &["welcome", "hello", "echo"],
    classes: &["sync", "threads", "odd"],
    defaults: &[],
};

/// Loads `file` (as ./ferricorn.toml), variables and arguments.
fn load_all(
    file: &str,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Loaded, Refusal> {
    let mut words = vec![OsString::from("ferricorn")];
    words.extend(arguments.iter().map(OsString::from));
    let call = Call {
        arguments: words,
        environment: environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        directory: "/".into(),
        names: Default::default(),
    };
    let read = |path: &Path| match path.to_str() {
        Some("/ferricorn.toml") if !file.is_empty() => Ok(file.to_owned()),
        Some("/other.toml") => Ok("workers = 9".to_owned()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    load::load(&call, &KNOWN, &read)
}

fn attempt(
    file: &str,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Config, Refusal> {
    match load_all(file, environment, arguments)? {
        Loaded::Config(config) => Ok(*config),
        Loaded::Generated(text) => panic!("a document: {text}"),
        Loaded::Ctl(call) => panic!("a command: {call:?}"),
        Loaded::Top(call) => panic!("a view: {call:?}"),
    }
}

#[track_caller]
fn fine(file: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Config {
    attempt(file, environment, arguments).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[track_caller]
fn wrong(file: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Vec<String> {
    match attempt(file, environment, arguments) {
        Err(Refusal::Errors(errors)) => errors.iter().map(ConfigError::to_string).collect(),
        other => panic!("no configuration errors: {other:?}"),
    }
}

/// The line of a setting in what `--print-config` prints.
#[track_caller]
fn line(config: &Config, name: &str) -> String {
    let start = format!("{name} = ");
    let text = config.print();
    let line = text.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .to_owned()
}

/// Every setting of one value, in the file and as it is printed.
const VALUES: &[(&str, &str, &str)] = &[
    ("app", "\"hello\"", "\"hello\""),
    ("backlog", "1", "1"),
    ("socket-mode", "\"600\"", "\"0600\""),
    ("socket-mode", "0o600", "\"0600\""),
    ("socket-owner", "\"root\"", "\"root\""),
    ("socket-owner", "12345", "\"12345\""),
    ("socket-group", "\"root\"", "\"root\""),
    ("metrics-bind", "\"unix:m\"", "[\"unix:m\"]"),
    (
        "metrics-bind",
        "[\"127.0.0.1:9000\", \"[::1]:9000\"]",
        "[\"127.0.0.1:9000\", \"[::1]:9000\"]",
    ),
    ("outage-delay", "\"90s\"", "90"),
    ("retry-after", "60", "60"),
    ("workers", "3", "3"),
    ("workers", "\"3\"", "3"),
    ("worker-class", "\"odd\"", "\"odd\""),
    ("threads", "1", "1"),
    ("worker-connections", "10", "10"),
    ("max-requests", "1_000", "1000"),
    ("max-requests-jitter", "0", "0"),
    ("max-lifetime", "\"1h\"", "3600"),
    ("max-lifetime-jitter", "90", "90"),
    ("max-memory", "\"256MiB\"", "\"256MiB\""),
    ("max-memory-jitter", "\"16M\"", "\"16MiB\""),
    ("max-memory-samples", "5", "5"),
    ("max-memory-hard", "\"1GiB\"", "\"1GiB\""),
    ("spawn-rate", "8", "8"),
    ("min-workers", "2", "2"),
    ("max-workers", "9", "9"),
    ("scale-down-delay", "\"1m\"", "60"),
    ("timeout", "0", "0"),
    ("timeout", "0.25", "0.25"),
    ("timeout", "\"1m\"", "60"),
    ("boot-timeout", "\"1500ms\"", "1.5"),
    ("preload", "true", "true"),
    ("reload-check-path", "\"/health\"", "\"/health\""),
    ("heartbeat-timeout", "5", "5"),
    ("timeout-cap", "\"10m\"", "600"),
    ("dump-cores", "true", "true"),
    ("graceful-timeout", "\"2h\"", "7200"),
    ("superseded-timeout", "5", "5"),
    ("pre-stop-delay", "\"3s\"", "3"),
    ("readiness-path", "\"/ready\"", "\"/ready\""),
    ("stream-threads", "1", "1"),
    ("max-surge", "2", "2"),
    ("max-surge", "\"50%\"", "\"50%\""),
    ("max-unavailable", "\"0%\"", "\"0%\""),
    ("keep-alive", "0", "0"),
    ("limit-request-line", "\"8K\"", "\"8KiB\""),
    ("limit-request-fields", "50", "50"),
    ("limit-request-field-size", "1000", "1000"),
    ("limit-request-head", "\"128KiB\"", "\"128KiB\""),
    ("limit-request-body", "0", "0"),
    ("limit-request-body", "1048576", "\"1MiB\""),
    ("body-buffer", "0x1000", "\"4KiB\""),
    ("head-timeout", "10", "10"),
    ("limit-peer-connections", "20", "20"),
    ("limit-peer-connection-rate", "20", "20"),
    ("limit-peer-request-rate", "20", "20"),
    ("shed-target", "\"50ms\"", "0.05"),
    ("shed-interval", "0.2", "0.2"),
    ("poison-deaths", "3", "3"),
    ("poison-window", "90", "90"),
    ("poison-hold", "\"5m\"", "300"),
    ("receive-timeout", "10", "10"),
    ("write-min-rate", "0", "0"),
    ("body-timeout", "10", "10"),
    ("body-min-rate", "0", "0"),
    ("write-timeout", "10", "10"),
    ("linger-timeout", "0", "0"),
    ("server-header", "\"\"", "\"\""),
    ("server-header", "'a \"b\"'", "\"a \\\"b\\\"\""),
    ("sendfile", "false", "false"),
    ("tmp-dir", "\"/\"", "\"/\""),
    ("forwarded-allow-ips", "\"\"", "\"\""),
    ("forwarded-allow-ips", "\"*\"", "\"*\""),
    (
        "forwarded-allow-ips",
        "\"10.0.0.0/8,::1\"",
        "\"10.0.0.0/8,::1\"",
    ),
    (
        "forwarded-allow-ips",
        "[\"10.0.0.0/8\", \"::1/128\"]",
        "\"10.0.0.0/8,::1\"",
    ),
    ("forwarded-fields", "\"forwarded\"", "\"forwarded\""),
    (
        "forwarded-fields",
        "[\"X-Forwarded-For\"]",
        "\"X-Forwarded-For\"",
    ),
    ("forwarded-fields", "\"\"", "\"\""),
    ("forwarded-hops", "32", "32"),
    (
        "secure-scheme-headers",
        "\"X-A=on\"",
        "{ \"X-A\" = \"on\" }",
    ),
    (
        "secure-scheme-headers",
        "[\"X-B=b\", \"X-A=a=\"]",
        "{ \"X-A\" = \"a=\", \"X-B\" = \"b\" }",
    ),
    (
        "secure-scheme-headers",
        "{ X-A = \"a,b\" }",
        "{ \"X-A\" = \"a,b\" }",
    ),
    ("secure-scheme-headers", "[]", "{}"),
    (
        "forwarder-headers",
        "\"REMOTE_USER, SSL_CERT\"",
        "\"REMOTE_USER,SSL_CERT\"",
    ),
    ("forwarder-headers", "\"*\"", "\"*\""),
    ("header-map", "\"refuse\"", "\"refuse\""),
    ("proxy-protocol", "\"auto\"", "\"auto\""),
    ("proxy-allow-from", "\"192.0.2.0/24\"", "\"192.0.2.0/24\""),
    ("reload", "true", "true"),
    ("reload-engine", "\"poll\"", "\"poll\""),
    ("reload-extra-file", "\"a\"", "[\"/a\"]"),
    (
        "reload-extra-file",
        "[\"a/b\", \"/c\"]",
        "[\"/a/b\", \"/c\"]",
    ),
    ("chdir", "\"/usr\"", "\"/usr\""),
    ("env", "[\"A=1\", \"B=x=y\"]", "[\"A=1\", \"B=x=y\"]"),
    ("env", "\"A=\"", "[\"A=\"]"),
    ("env", "{ A = \"1\" }", "[\"A=1\"]"),
    ("pidfile", "\"run/a.pid\"", "\"/run/a.pid\""),
    ("user", "\"root\"", "\"root\""),
    ("group", "0", "\"0\""),
    ("initgroups", "false", "false"),
    ("umask", "\"0027\"", "\"0027\""),
    ("proc-name", "\"shop\"", "\"shop\""),
    ("control-socket", "\"none\"", "\"none\""),
    ("show-queries", "true", "true"),
    ("control-socket", "\"/run/c\"", "\"/run/c\""),
    ("access-logfile", "\"-\"", "\"-\""),
    ("access-logfile", "\"log/a\"", "\"/log/a\""),
    ("access-logformat", "\"json\"", "\"json\""),
    ("error-logfile", "\"/log/e\"", "\"/log/e\""),
    ("error-logfile", "\"journald\"", "\"journald\""),
    ("error-logfile", "\"journald:log/j\"", "\"journald:/log/j\""),
    ("error-logfile", "\"auto\"", "\"auto\""),
    ("log-level", "\"warning\"", "\"warning\""),
    ("send-request-id", "true", "true"),
    ("send-trace", "true", "true"),
    ("slow-request", "\"500ms\"", "0.5"),
    ("syslog", "true", "true"),
    ("syslog-addr", "\"tcp://[::1]\"", "\"tcp://[::1]\""),
    ("syslog-prefix", "\"shop\"", "\"shop\""),
    ("syslog-facility", "\"local7\"", "\"local7\""),
    ("syslog-format", "\"rfc5424\"", "\"rfc5424\""),
    ("disable-redirect-access-to-syslog", "true", "true"),
    ("daemon", "false", "false"),
    ("statsd-host", "\"127.0.0.1:8125\"", "\"127.0.0.1:8125\""),
    ("statsd-prefix", "\"shop\"", "\"shop\""),
    ("dogstatsd-tags", "\"env:prod\"", "\"env:prod\""),
    ("enable-backlog-metric", "true", "true"),
];

const LISTENERS: &str = r#"
backlog = 100
bind = ["127.0.0.1:1", "unix:a.sock"]

[[listen]]
bind = "unix:@b"
backlog = 200

[[listen]]
bind = "fd://3"
socket-mode = "0600"
"#;
