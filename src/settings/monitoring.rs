//! What the server says of itself while it serves, and what is said for it when nobody can.

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "metrics-bind",
        kind: Kind::Addresses(|config, binds| config.metrics_binds = binds),
        doc: "An address for metrics, status and health.\n\n\
              In the forms of bind; repeatable. A process of its own, the aide, answers there: \
              /metrics for Prometheus, /status for people and as JSON, /health/live and \
              /health/ready. It does so also while every worker is busy, and when none can boot. \
              Who can connect sees what is requested: bind it to an address that is not everybody's.",
        ..HERE
    },
    Setting {
        name: "outage-delay",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.outage_delay = time,
        },
        default: "5",
        doc: "After how long without any worker to answer 503; 0: never.\n\n\
              When no worker serves for so long, be it that none can boot or that all crash, a \
              process of its own accepts connections and answers 503 with Retry-After, until a worker \
              is ready. Without it clients wait in the queue of the listener. It is no matter of a \
              first start, of a stop, or of workers that were retired by SIGWINCH.",
        ..HERE
    },
    Setting {
        name: "retry-after",
        kind: Kind::Number {
            least: 1,
            most: 86_400,
            set: |config, seconds| config.conf.retry_after = u32::try_from(seconds).unwrap_or(1),
        },
        default: "5",
        doc: "Seconds in the Retry-After of a 503.\n\n\
              Of those that are answered because nobody can serve, or because there is too much to \
              do.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Monitoring,
    ..COMMON
};
