//! When workers are replaced although they serve, and how fast they may be started.

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "max-requests",
        kind: Kind::Number {
            least: 0,
            most: u32::MAX as u64,
            set: |config, number| config.conf.max_requests = number,
        },
        default: "0",
        doc: "Replace a worker after so many requests; 0 never.\n\n\
              The new worker is ready before the old one retires.",
        ..HERE
    },
    Setting {
        name: "max-requests-jitter",
        kind: Kind::Number {
            least: 0,
            most: u32::MAX as u64,
            set: |config, number| config.conf.max_requests_jitter = number,
        },
        default: "0",
        doc: "Add up to so many requests to max-requests, drawn per worker.\n\n\
              So the workers do not all retire at once.",
        ..HERE
    },
    Setting {
        name: "max-lifetime",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.recycling.lifetime = time,
        },
        default: "0",
        doc: "Replace a worker that has served for so long; 0 never.\n\n\
              Its time begins when it is ready. The new worker is ready before the old one retires, \
              and no more are replaced at once than max-surge and max-unavailable allow.",
        ..HERE
    },
    Setting {
        name: "max-lifetime-jitter",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.recycling.lifetime_jitter = time,
        },
        default: "0",
        doc: "Add up to so much time to max-lifetime, drawn per worker.\n\n\
              So the workers do not all retire at once.",
        ..HERE
    },
    Setting {
        name: "max-memory",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.recycling.memory = bytes,
        },
        default: "0",
        doc: "Replace a worker that has more memory than this; 0 never.\n\n\
              Its proportional size (PSS) counts, in which shared pages count in parts, or its \
              resident size (RSS) where the system lets the master not read the other. It is read \
              every few seconds, and max-memory-samples of these in a row must be over the limit. The \
              new worker is ready before the old one retires, as with max-requests; where no memory \
              is left for one more, a worker is replaced in place. When two workers of a place in a \
              row are over the limit as soon as they have booted, it is too small: that is said in \
              the log, and it is ignored until a reload.",
        ..HERE
    },
    Setting {
        name: "max-memory-jitter",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.recycling.memory_jitter = bytes,
        },
        default: "0",
        doc: "Add up to so much memory to max-memory, drawn per worker.\n\n\
              So the workers do not all retire at once.",
        ..HERE
    },
    Setting {
        name: "max-memory-samples",
        kind: Kind::Number {
            least: 1,
            most: 1000,
            set: |config, number| {
                config.recycling.memory_samples = u32::try_from(number).unwrap_or(u32::MAX);
            },
        },
        default: "3",
        doc: "How many samples in a row must be over max-memory.\n\n\
              One is taken every two seconds, or more rarely where that costs the system much. A \
              worker that needs much memory for one request only is not replaced for it.",
        ..HERE
    },
    Setting {
        name: "max-memory-hard",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.recycling.memory_hard = bytes,
        },
        default: "0",
        doc: "Kill a worker that has more memory than this; 0 never.\n\n\
              At once and with the requests that it has, before the system kills whomever it \
              likes. Counted as with max-memory, and looked at twice a second. The log says which \
              requests they were. As with max-memory, a limit that workers are over as soon as they \
              have booted is ignored.",
        ..HERE
    },
    Setting {
        name: "spawn-rate",
        kind: Kind::Number {
            least: 0,
            most: 10_000,
            set: |config, number| config.spawn_rate = u32::try_from(number).unwrap_or(u32::MAX),
        },
        default: "32",
        doc: "How many workers may be started per second; 0 any number.\n\n\
              It slows down storms only: a start, or a reload, may start all workers at once, and \
              twice as many as there are, or as this says, before it counts. Each place of a worker \
              that fails waits by itself besides, longer each time.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Recycling,
    ..COMMON
};
