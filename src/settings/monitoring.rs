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
        name: "statsd-host",
        gunicorn: Some("statsd_host"),
        kind: Kind::Text(|config, host| config.statsd_settings.host = host),
        default_doc: "none, nothing is sent",
        doc: "Where metrics are sent by StatsD: HOST:PORT for UDP, or unix://PATH.\n\n\
              The aide sends under Gunicorn's names what has happened, once a second and many lines to a \
              datagram: counters as sums, times as a sample with its rate. A HOST without a port means 8125.",
        ..HERE
    },
    Setting {
        name: "statsd-prefix",
        gunicorn: Some("statsd_prefix"),
        kind: Kind::Text(|config, prefix| config.statsd_settings.prefix = prefix),
        doc: "What the names of StatsD metrics begin with.\n\nA dot follows it.",
        ..HERE
    },
    Setting {
        name: "dogstatsd-tags",
        gunicorn: Some("dogstatsd_tags"),
        kind: Kind::Text(|config, tags| config.statsd_settings.tags = tags),
        doc: "Tags of all StatsD metrics, separated by commas.\n\n\
              Receivers that know no tags of DogStatsD do not understand such lines.",
        ..HERE
    },
    Setting {
        name: "enable-backlog-metric",
        gunicorn: Some("enable_backlog_metric"),
        kind: Kind::Switch(|config, on| config.statsd_settings.backlog = on),
        default: "false",
        doc: "Send by StatsD how many connections wait to be accepted.\n\n\
              Once a second as gunicorn.backlog, all listeners together. metrics-bind tells it of \
              each without this.",
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
