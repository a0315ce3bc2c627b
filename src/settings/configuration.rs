//! Where the configuration comes from, what to do with it instead of serving, and when to read it
//! again.

use super::{COMMON, Kind, Section, Setting, Sources};
use crate::config::Action;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "config",
        short: Some('c'),
        kind: Kind::File,
        default_doc: "./ferricorn.toml if there is one",
        sources: Sources::NoFile,
        reload: false,
        doc: "The configuration file, TOML.\n\n\
              Without it, ferricorn.toml in the working directory is read if there is one; an empty \
              name reads no file at all. A reload reads the file again.",
        ..HERE
    },
    Setting {
        name: "reload",
        kind: Kind::Switch(|config, yes| config.reload = yes),
        default: "false",
        doc: "Reload when a file changes, for development.\n\n\
              What is watched is the program, the configuration file (be it that there is none yet), \
              and each reload-extra-file, wherever symlinks lead to. A change does what SIGHUP does, \
              when nothing has happened for a fifth of a second: what cannot serve changes nothing, \
              and the next change is the next try. A file that is missing is waited for.",
        ..HERE
    },
    Setting {
        name: "reload-engine",
        kind: Kind::Choice(&["auto", "inotify", "poll"], |config, word| {
            config.reload_polls = word == "poll";
        }),
        default: "auto",
        doc: "How reload learns of changes: auto, inotify or poll.\n\n\
              poll looks at the files once a second, for file systems that others change, such as \
              network and shared folders. auto and inotify are the same: the system tells, and \
              where it cannot, the log says why, and poll is used.",
        ..HERE
    },
    Setting {
        name: "reload-extra-file",
        gunicorn: Some("reload_extra_files"),
        kind: Kind::Paths(|config, paths| config.reload_extra_files = paths),
        sources: Sources::NoEnvironment,
        doc: "A further file for reload to watch.\n\n\
              Repeatable; a list in the file. It need not be there yet.",
        ..HERE
    },
    Setting {
        name: "check-config",
        kind: Kind::Switch(|config, yes| {
            if yes && config.action == Action::Serve {
                config.action = Action::Check;
            }
        }),
        default: "false",
        sources: Sources::CommandLine,
        reload: false,
        doc: "Check the configuration and exit.\n\n\
              Exits with 0 and one line when all is well, else with 1 and every error on standard \
              error. Nothing is bound. The sub-command check does the same.",
        ..HERE
    },
    Setting {
        name: "print-config",
        kind: Kind::Switch(|config, yes| {
            if yes {
                config.action = Action::Print;
            }
        }),
        default: "false",
        sources: Sources::CommandLine,
        reload: false,
        doc: "Print every setting with its value and origin, and exit.\n\n\
              What is printed is itself a configuration file.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Configuration,
    ..COMMON
};
