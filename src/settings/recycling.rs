//! When workers are replaced although they serve, how fast they may be started, and how many there may be.

use super::value;
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
              It slows down storms only: twice as many as there are workers, or as this says, may be \
              started at once, so that no start and no reload has to wait. Each place whose workers \
              fail waits by itself besides, longer each time.",
        ..HERE
    },
    Setting {
        name: "min-workers",
        kind: Kind::Number {
            least: 0,
            most: value::MOST_WORKERS as u64,
            set: |config, number| config.min_workers = size(number),
        },
        default: "0",
        doc: "The fewest workers that the server may come down to; 0 workers.\n\n\
              Where this is less than max-workers, the server decides how many there are, and \
              workers is what it begins with, or the bound that is nearest to it. It starts 1, 2, 4 \
              and so on more while those that serve are busy for more than 80 % of the time or as \
              many connections as workers wait to be accepted, and ends one when those that are left \
              would be busy for less than 60 % for scale-down-delay. SIGTTIN, SIGTTOU and ctl scale \
              N take the decision from it, ctl scale auto gives it back.",
        ..HERE
    },
    Setting {
        name: "max-workers",
        kind: Kind::Number {
            least: 0,
            most: value::MOST_WORKERS as u64,
            set: |config, number| config.max_workers = size(number),
        },
        default: "0",
        doc: "The most workers that the server may start; 0 workers.\n\n\
              See min-workers. No more are started than there is memory for, by what a worker has \
              on average.",
        ..HERE
    },
    Setting {
        name: "scale-down-delay",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.scale_down_delay = time,
        },
        default: "30",
        doc: "How long one worker less must do before one is ended.\n\n\
              See min-workers. When it is missed soon after, the next one must be dispensable for \
              twice as long, up to 32 times; that is forgotten as it goes well.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Recycling,
    ..COMMON
};

/// A checked number of workers; the bounds of the entry are far below the type's.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
