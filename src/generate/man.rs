//! The manual pages, in the man macros of roff (man(7)).

use crate::config::listen_keys;
use crate::settings::{self, Kind, Setting};

/// A configuration file that shows every form.
pub(crate) const EXAMPLE: &str = r#"workers = 4
worker-class = "sync"
timeout = "1m"
access-logfile = "/var/log/ferricorn/access.log"
user = "www-data"
app = "welcome"

[env]
RUST_BACKTRACE = "1"

[[listen]]
bind = "0.0.0.0:8000"

[[listen]]
bind = "unix:/run/ferricorn.sock"
socket-mode = "0660"
socket-group = "www-data"

[[mount]]
prefix = "/echo"
app = "echo"
timeout = "5s"
"#;

const SIGNALS: &[(&str, &str)] = &[
    (
        "TERM",
        "Stop gracefully: accept what already waits, finish the requests in flight within \
              graceful-timeout, exit.",
    ),
    ("INT, QUIT", "Stop quickly; requests in flight are cut."),
    (
        "HUP",
        "Reload configuration, code and binary. The program that is on disk now is tried in a \
             process of its own: it reads the configuration, binds what is new and boots a worker. \
             Then the master executes it in place, with its pid, its sockets and its workers, and \
             replaces these: new ones first, old ones when the new ones are ready. When anything \
             of that fails, the log says why and the old workers serve on.",
    ),
    ("USR1", "Open the log files again, after they were rotated."),
    ("TTIN", "One worker more, until a reload changes workers."),
    (
        "TTOU",
        "One worker less, never below one, until a reload changes workers.",
    ),
    (
        "WINCH",
        "Retire all workers gracefully; the master stays, and HUP or TTIN bring workers back. Ignored \
             where standard input is a terminal, which sends it by itself.",
    ),
    (
        "USR2",
        "Start a second master beside this one: the program on disk, with the configuration on disk \
             and the sockets of this one where the addresses are the same. Its pid file ends in .2. \
             Until it serves nothing has changed; when it cannot, the log says why. Then both serve. \
             To go on with the new one: WINCH, then QUIT or TERM to the old one; the new one renames \
             its pid file. To go back: HUP to the old one, if its workers are retired, and TERM to the \
             new one. The service manager is told which of the two is the main process.",
    ),
];

const EXIT: &[(&str, &str)] = &[
    (
        "0",
        "It was stopped by a signal, or has done what it was asked.",
    ),
    (
        "1",
        "The configuration is wrong, or an address could not be bound.",
    ),
    ("2", "The command line could not be read."),
    ("3", "A worker could not boot at the first start."),
    (
        "4",
        "The application could not be loaded at the first start.",
    ),
];

const FILES: &[(&str, &str)] = &[(
    "ferricorn.toml",
    "The configuration file, looked for in the working directory; see \
                        ferricorn.toml(5).",
)];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "The page that shows what is running, on 127.0.0.1:8000:",
        "ferricorn",
    ),
    (
        "Four workers on every address and behind a unix socket:",
        "ferricorn -w 4 -b :8000 -b unix:/run/ferricorn.sock hello",
    ),
    (
        "Two applications under one server:",
        "ferricorn --mount /echo=echo hello",
    ),
    (
        "What would be served, and why:",
        "ferricorn -c /etc/ferricorn.toml --print-config",
    ),
    (
        "What a running server is doing, for a ticket:",
        "ferricorn top --once",
    ),
    (
        "Reload a running server, and wait until its old workers have gone:",
        "ferricorn -c /etc/ferricorn.toml ctl reload --wait",
    ),
];

/// ferricorn(1).
pub(super) fn program() -> String {
    let mut page = Page::new("FERRICORN", 1);
    page.section("NAME");
    page.text("ferricorn - a pre-fork application server");
    page.section("SYNOPSIS");
    for (command, rest) in [
        ("ferricorn", "[OPTIONS] [APP]"),
        ("ferricorn check", "[OPTIONS] [APP]"),
        ("ferricorn ctl", "[OPTIONS] COMMAND"),
        ("ferricorn top", "[OPTIONS]"),
        ("ferricorn generate", "WHAT"),
    ] {
        page.paragraph();
        page.raw(&format!(
            "\\fB{}\\fR \\fI{}\\fR",
            escape(command),
            escape(rest)
        ));
    }
    page.section("DESCRIPTION");
    page.text(
        "A master process binds the listeners, forks workers that share them, and supervises the \
         workers. It replaces workers that die, hang or are told to retire, and it replaces all of \
         them, one after another and without losing a connection, when the configuration is \
         reloaded. The workers hand each request to an application.",
    );
    page.paragraph();
    page.text(
        "A program that is built with the library has the same command line under its own name. \
         The argument APP is there only when it offers several applications.",
    );
    page.section("COMMANDS");
    page.item(
        "check",
        "Check the configuration and exit, as --check-config does.",
    );
    page.item("ctl COMMAND", "Steer a running server; see CONTROL.");
    page.item("top", "Watch a running server in a terminal; see TOP.");
    page.item(
        "generate WHAT",
        "Print a generated document: man (this page), man-toml (ferricorn.toml(5)), settings (the \
         settings page, Markdown), completions-bash, completions-zsh or completions-fish.",
    );
    page.section("OPTIONS");
    page.text(
        "Every option but --env, --check-config and --print-config is also an environment \
         variable: FERRICORN_ and its name in capitals, with underscores. All but --config, \
         --check-config and --print-config are also keys of the configuration file. The command \
         line outranks the environment, the environment the file, and the file the defaults.",
    );
    page.paragraph();
    page.text(
        "TIME is in seconds, fractions allowed, or has a unit: ms, s, m, h. SIZE is in bytes, or \
         has a unit: K, M, G, T, or KiB, MiB, GiB, TiB; all are powers of 1024. An option that is \
         not repeatable and given twice has the last value.",
    );
    for section in settings::SECTIONS {
        page.subsection(section.title());
        section
            .settings()
            .iter()
            .for_each(|setting| page.option(setting));
    }
    page.subsection("Help");
    page.item(
        "-h, --help",
        "Print the options: -h briefly, --help with their explanations.",
    );
    page.item("-V, --version", "Print the version.");
    page.section("CONTROL");
    page.text(
        "ctl steers a running server over its control socket, which --control-socket names. It \
         finds the server by --socket FILE; else by the configuration, which it reads as the server \
         does (-c FILE, the environment); else there is one server of this user only. Only root and \
         the master's user may. It ends with 0 when what was asked for has come about, with 1 when \
         it has not and with the reason, with 2 when the command line cannot be read. Its commands:",
    );
    crate::ctl::commands().for_each(|(command, text)| page.item(command, text));
    page.paragraph();
    page.text(
        "reload --wait prints what happens, worker by worker, and ends when the new workers have \
         taken over and the last old one has gone: with the time that it took, and with the requests \
         that old workers completed and the connections that they handed over, closed idle, or were \
         forced to cut. While a reload is under way, another one follows it, and that one is waited \
         for. stop --wait and quit --wait end when the server has ended. drain replaces one worker \
         as SIGTERM to it does.",
    );
    page.paragraph();
    page.text(
        "Both ways the socket carries lines of JSON, which --json shows. A command is an object such \
         as {\"command\": \"reload\", \"wait\": true}; scale takes workers or by, and scale-auto \
         gives the number of workers back to the server; drain and kill take pid. It is answered by one object of type answer, with ok and, where that is false, error. \
         Objects of type event come before it where there is something to wait for; after \
         {\"command\": \"events\"} they come until the server ends. Each line of the server has the \
         version of this protocol, 1.",
    );
    page.section("TOP");
    page.text(
        "top shows a running server, which it finds as ctl does: what it serves per second and how \
         fast, and of each worker what it is doing and for how long, its share of time in handlers, \
         its latency, its memory, and how many workers of its place have ended. Rates are those since \
         the last look, latencies of the last ten looks; queries of requests are left out unless the \
         server has show-queries. It finds a server that was started again, uses the 16 colours of the \
         terminal, or none where NO_COLOR is set, and ASCII alone where the locale is not UTF-8.",
    );
    page.item("-1, --once", "Print a table of one interval, and end.");
    page.item(
        "-i, --interval SECONDS",
        "Look so often: 0.1 to 30, 1 by default.",
    );
    page.item(
        "-s, --socket FILE",
        "The server's control socket; else it is looked for.",
    );
    page.item(
        "--sort COLUMN",
        "Sort by slot, age (of the oldest request), rate, busy, latency, connections, memory or \
         restarts.",
    );
    page.paragraph();
    page.text("Its keys:");
    page.items(&[
        ("Up, Down, PgUp, PgDn, Home, End", "Select a worker."),
        ("Enter", "Show all that is known of it."),
        (
            "d",
            "Recycle it: a new one first, then it finishes and goes.",
        ),
        ("k", "Kill it, after a question."),
        ("+, -", "One worker more, or less."),
        ("r", "Reload."),
        ("i", "Show all that is known of the server."),
        ("s", "Sort by the next column."),
        ("p", "Hold the picture."),
        ("h", "Help."),
        ("q", "Quit."),
    ]);
    page.section("SIGNALS");
    page.text("The master understands:");
    page.items(SIGNALS);
    page.section("ENVIRONMENT");
    page.item(
        "FERRICORN_*",
        "Each setting under its own name; an empty variable counts as unset. \
                              Lists are separated by commas or spaces.",
    );
    page.item(
        "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES",
        "Sockets that systemd passes. One with the address of a listener is used for it, bind takes \
         the others by number or name, and without bind all of them are served. Those that a \
         server before this one has stored are for the binds that they were made for.",
    );
    page.item(
        "NOTIFY_SOCKET",
        "Where the service manager is told how it goes (sd_notify(3)).",
    );
    page.item(
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, TMPDIR",
        "Where the control socket is put when control-socket is auto, and looked for by ctl.",
    );
    page.item("MAINPID", "Which server ctl means when there are several.");
    page.item(
        "WATCHDOG_USEC, WATCHDOG_PID",
        "How often the service manager wants a sign of life.",
    );
    page.item(
        "FDSTORE",
        "How many descriptors the service manager stores; unless that is 0, it gets the listeners, \
         so that they outlive a server that was killed or is started again.",
    );
    for setting in settings::all() {
        if let Some(variable) = setting.variable {
            let use_of = match setting.kind {
                Kind::Binds => "0.0.0.0:$PORT is the default of bind".to_owned(),
                _ => format!("The default of {}", setting.name),
            };
            page.item(
                variable,
                &format!("{use_of}, where the file says nothing either."),
            );
        }
    }
    page.section("FILES");
    page.items(FILES);
    page.section("EXIT STATUS");
    page.items(EXIT);
    page.section("EXAMPLES");
    for (what, command) in EXAMPLES {
        page.paragraph();
        page.text(what);
        page.example(command);
    }
    page.section("SEE ALSO");
    page.text("ferricorn.toml(5), ferricorn-signals(7), signal(7), unix(7), cgroups(7)");
    page.text
}

/// ferricorn.toml(5).
pub(super) fn file() -> String {
    let mut page = Page::new("FERRICORN.TOML", 5);
    page.section("NAME");
    page.text("ferricorn.toml - configuration file of ferricorn(1)");
    page.section("DESCRIPTION");
    page.text(
        "A TOML document. Its keys are the settings, named as the long options of ferricorn(1). \
         What the environment or the command line says outranks the file.",
    );
    page.paragraph();
    page.text(
        "Times are numbers of seconds or texts with a unit (\"500ms\", \"30s\", \"5m\", \"1h\"). \
         Sizes are numbers of bytes or texts with a unit (\"64KiB\", \"1GiB\", or short \"64K\", \
         \"1G\"; all are powers of 1024). File modes are texts or octal numbers (\"0660\", 0o660). \
         An empty text means none.",
    );
    page.paragraph();
    page.text(
        "A key that is not known, a value of the wrong type and a value out of its bounds are \
         errors; all of them are reported, with their lines. ferricorn --check-config tells them, \
         ferricorn --print-config prints a complete file with every setting in effect.",
    );
    page.section("TABLES");
    let keys: Vec<&str> = listen_keys().iter().map(|setting| setting.name).collect();
    page.item(
        "[[listen]]",
        &format!(
            "One listener. Its keys are {}; what it does not say is as at the top of the file. \
             Where the environment or the command line gives bind, these tables are not used.",
            keys.join(", ")
        ),
    );
    page.item(
        "[[mount]]",
        "One application under a prefix. Its keys are prefix, app and timeout. Where app is static:DIR, \
         there are more: index, listing, symlinks, dotfiles, precompressed, cache-control, default-type, \
         types, recheck and memory. Where it is cgi:DIR_OR_PROGRAM: env, pass-authorization, \
         max-processes, cpu-seconds, memory, open-files and processes. Where it is fastcgi:ADDR, scgi:ADDR, uwsgi:ADDR or http:ADDR: root, index, split, \
         fallback, env, pool, pool-time and connect-timeout. Where it is one of the program, x-sendfile names directories with \
         files that it may answer with.",
    );
    page.item("[env]", "Variables for the environment of the workers.");
    page.section("SETTINGS");
    for section in settings::SECTIONS {
        let mut settings = section
            .settings()
            .iter()
            .filter(|setting| setting.in_file())
            .peekable();
        if settings.peek().is_some() {
            page.subsection(section.title());
        }
        settings.for_each(|setting| page.key(setting));
    }
    page.section("EXAMPLE");
    page.example(EXAMPLE);
    page.section("SEE ALSO");
    page.text("ferricorn(1)");
    page.text
}

/// A page in the making.
struct Page {
    text: String,
}

impl Page {
    fn new(title: &str, section: u8) -> Page {
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Page {
            text: String::new(),
        };
        page.raw(".\\\" Made by ferricorn generate; edit src/settings/ and src/generate/ instead.");
        page.raw(&format!(
            ".TH {title} {section} \"\" \"ferricorn {version}\""
        ));
        // The first line is a comment of roff; it starts with a request character on purpose.
        page
    }

    fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.raw(&format!(".SH {title}"));
    }

    fn subsection(&mut self, title: &str) {
        self.raw(&format!(".SS {title}"));
    }

    fn paragraph(&mut self) {
        self.raw(".PP");
    }

    fn text(&mut self, text: &str) {
        self.raw(&escape(text));
    }

    /// A term in bold and what it means.
    fn item(&mut self, term: &str, meaning: &str) {
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escape(term)));
        self.text(meaning);
    }

    fn items(&mut self, items: &[(&str, &str)]) {
        items
            .iter()
            .for_each(|(term, meaning)| self.item(term, meaning));
    }

    fn example(&mut self, text: &str) {
        self.raw(".RS 4");
        self.raw(".EX");
        text.lines().for_each(|line| self.text(line));
        self.raw(".EE");
        self.raw(".RE");
    }

    /// A setting as an option.
    fn option(&mut self, setting: &Setting) {
        let value = match setting.kind {
            Kind::Switch(_) => String::new(),
            _ => format!(" \\fI{}\\fR", escape(setting.kind.placeholder())),
        };
        let short = setting.short.map(|short| format!("-{short}"));
        let long = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
        let long = long.chain(setting.off).map(|long| format!("--{long}"));
        let names = short.into_iter().chain(long);
        let names = names.map(|name| format!("\\fB{}\\fR{value}", escape(&name)));
        self.raw(".TP");
        match setting.kind {
            Kind::App => self.raw(&format!("\\fI{}\\fR", escape("APP"))),
            _ => self.raw(&names.collect::<Vec<_>>().join(", ")),
        }
        self.explain(setting);
        if setting.in_file() || setting.environment().is_some() {
            self.text(&format!("Default: {}.", setting.default_text()));
        }
        if !setting.reload && setting.in_file() {
            self.text("A reload does not change it.");
        }
    }

    /// A setting as a key.
    fn key(&mut self, setting: &Setting) {
        self.raw(".TP");
        self.raw(&format!("\\fB{}\\fR", escape(setting.name)));
        self.explain(setting);
        let (expected, default) = (setting.kind.expected(), setting.default_text());
        self.text(&format!("Value: {expected}. Default: {default}."));
        if !setting.reload {
            self.text("A reload does not change it.");
        }
    }

    fn explain(&mut self, setting: &Setting) {
        self.text(setting.summary());
        for paragraph in setting.paragraphs() {
            self.raw(".IP");
            self.text(paragraph);
        }
        self.raw(".IP");
    }
}

/// Text as roff takes it: backslashes, hyphens that are to be copied, and a full stop or an
/// apostrophe at the start of a line.
fn escape(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    match text.starts_with('.') {
        true => format!("\\&{text}"),
        false => text,
    }
}
