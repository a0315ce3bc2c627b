//! What happens to requests that are too many, and to those that workers die of.

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "poison-deaths",
        kind: Kind::Number {
            least: 0,
            most: 100,
            set: |config, number| {
                config.poison.deaths = usize::try_from(number).unwrap_or(usize::MAX);
                config.conf.poison = number > 0;
            },
        },
        default: "0",
        doc: "After how many deaths of workers a request is refused; 0: never.\n\n\
              A method and path that was being served when so many workers died within poison-window \
              is put into quarantine: every worker answers it 503 before the application sees it, and \
              everything else is served on. Deaths are crashes, exits, ends by the OOM killer, and those \
              for a deadline; what an operator or a reload ends says nothing. ferricorn ctl quarantine \
              lists it and lets it go. Of an older generation that had 0 here, workers refuse \
              nothing.",
        ..HERE
    },
    Setting {
        name: "poison-window",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.poison.window = time,
        },
        default: "60",
        doc: "Within how long poison-deaths workers must die of a request.",
        ..HERE
    },
    Setting {
        name: "poison-hold",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.poison.hold = time,
        },
        default: "600",
        doc: "How long a request stays in quarantine; 0: until it is cleared.\n\n\
              After that it is served again, and comes back when as many workers have died of it. A \
              quarantine outlives reloads, as nobody knows whether they mend what was broken.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Overload,
    ..COMMON
};
