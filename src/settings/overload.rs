//! What happens to requests that are too many, and to those that workers die of.

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "shed-target",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.shed.target = time,
        },
        default: "0",
        doc: "How long requests may wait for a worker; 0: as long as they do.\n\n\
              When the wait has been longer for a whole shed-interval, requests are answered 503, with \
              Retry-After, before the application sees them: one at first, then ever more (CoDel, RFC 8289), \
              and all that have waited for longer than both together, until the wait is below the \
              target. The wait is that in the accept queue of a TCP socket, or behind other \
              requests of the worker; of accept queues of unix sockets the system tells nothing. \
              readiness-path is always answered. Choose it above what a usual request takes, \
              and above 10 ms, as the system's clock is no finer.",
        ..HERE
    },
    Setting {
        name: "shed-interval",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.conf.shed.interval = time,
        },
        default: "0.1",
        doc: "How long the wait may be over shed-target at a time.\n\n\
              A burst that is dealt with in less is no overload.",
        ..HERE
    },
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
