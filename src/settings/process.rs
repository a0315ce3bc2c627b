//! The process itself: where it runs, as whom, under which name.

use super::{COMMON, Kind, Section, Setting, Sources};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "chdir",
        kind: Kind::Directory(|config, path| {
            if let Some(path) = path {
                config.directory = path;
            }
        }),
        default_doc: "the working directory at the start",
        doc: "The working directory.\n\n\
              Relative paths in other settings start there; that of the configuration file itself \
              starts where the server was started.",
        ..HERE
    },
    Setting {
        name: "daemon",
        short: Some('D'),
        kind: Kind::Switch(|config, yes| config.daemon = yes),
        default: "false",
        reload: false,
        doc: "Go into the background.\n\n\
              Not under systemd or another supervisor, which do that themselves.",
        ..HERE
    },
    Setting {
        name: "env",
        short: Some('e'),
        gunicorn: Some("raw_env"),
        kind: Kind::Pairs(|config, pairs| config.env = pairs),
        sources: Sources::NoEnvironment,
        doc: "A variable for the environment of the workers: NAME=VALUE.\n\n\
              Repeatable. In the file a list of such texts, or a table [env]. Settings are not \
              read from these variables.",
        ..HERE
    },
    Setting {
        name: "pidfile",
        short: Some('p'),
        aliases: &["pid"],
        kind: Kind::Path(|config, path| config.pidfile = path),
        doc: "A file for the master's process id.\n\n\
              It is locked while the server runs, so that a second one with the same file is \
              refused. A symbolic link is refused, too.",
        ..HERE
    },
    Setting {
        name: "user",
        short: Some('u'),
        kind: Kind::User(|config, user| config.user = user),
        default_doc: "the master's user",
        doc: "Run the workers as this user: a name or number.\n\n\
              The master stays what it is, usually root. Without group the workers take the user's \
              primary group too.",
        ..HERE
    },
    Setting {
        name: "group",
        short: Some('g'),
        kind: Kind::Group(|config, group| config.group = group),
        default_doc: "the primary group of user, or the master's group",
        doc: "Run the workers as this group: a name or number.",
        ..HERE
    },
    Setting {
        name: "initgroups",
        kind: Kind::Switch(|config, yes| config.initgroups = yes),
        default: "false",
        doc: "Give the workers the supplementary groups of user.",
        ..HERE
    },
    Setting {
        name: "umask",
        short: Some('m'),
        kind: Kind::Mode(|config, mode| config.umask = mode),
        default: "0022",
        doc: "The file mode creation mask, octal.",
        ..HERE
    },
    Setting {
        name: "control-socket",
        kind: Kind::Control(|config, place| config.control = place),
        default: "auto",
        doc: "The unix socket for ctl: a path, auto or none.\n\n\
              The commands of ctl and other programs steer the server over it: lines of JSON both \
              ways, see ferricorn(1). Only root and the master's user may; the file has mode 0600. \
              With none there is no socket.\n\n\
              auto is PID.sock, with the pid of the master, in the first of these directories that \
              can be had: that of RUNTIME_DIRECTORY, which systemd sets; ferricorn in \
              XDG_RUNTIME_DIR; ferricorn-UID in TMPDIR or /tmp. The last two are made if need be, \
              for the user alone. When none of it works the server starts without a socket.",
        ..HERE
    },
    Setting {
        name: "show-queries",
        kind: Kind::Switch(|config, yes| config.show_queries = yes),
        default: "false",
        doc: "Show the queries of requests that are under way.\n\n\
              ctl status, top and the status page show what each worker is doing: method and \
              target of its requests. A query often has what is nobody's business, so that of a \
              target is left out. Access logs do not depend on this.",
        ..HERE
    },
    Setting {
        name: "proc-name",
        short: Some('n'),
        aliases: &["name"],
        kind: Kind::Text(|config, text| {
            config.proc_name = Some(text).filter(|text| !text.is_empty());
        }),
        default_doc: "the program's name",
        doc: "The name of the processes in ps and top.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Process,
    ..COMMON
};
