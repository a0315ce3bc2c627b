//! Where the configuration comes from, and what to do with it instead of serving.

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
