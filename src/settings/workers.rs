//! The processes that serve: how many, of which class, for how long, and how they are replaced.

use ferricorn_base::board::THREADS;

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "workers",
        short: Some('w'),
        kind: Kind::Workers(|config, number| {
            config.workers = number.unwrap_or(1);
            config.conf.workers = config.workers;
        }),
        default: "auto",
        variable: Some("WEB_CONCURRENCY"),
        doc: "How many worker processes serve.\n\n\
              auto is one for each processor that the server may use: CPU affinity and the CPU \
              quotas of cgroups v1 and v2 count, part of a processor as a whole one. When nothing \
              else says so, WEB_CONCURRENCY gives the default. SIGTTIN and SIGTTOU change the \
              number of a running server by one.",
        ..HERE
    },
    Setting {
        name: "worker-class",
        short: Some('k'),
        kind: Kind::Class(|config, class| config.conf.worker_class = class),
        default: "sync",
        doc: "The class of the workers.\n\n\
              sync is one event loop per worker that runs handlers one at a time; no client can \
              hold it up. threads is the same loop with several handler threads (see threads), of \
              which a slow one delays nobody. A program may register classes of its own.",
        ..HERE
    },
    Setting {
        name: "threads",
        kind: Kind::Number {
            least: 1,
            most: THREADS as u64,
            set: |config, number| config.conf.threads = size(number),
        },
        default: "1",
        doc: "Handler threads per worker.\n\n\
              So many requests of a worker may be in handlers at once, each on a thread of its own. \
              With more than one, the class sync becomes threads, as with Gunicorn. Handlers that \
              wait (for a database, another service, a disk) gain by it; those that compute are \
              better served by more workers.",
        ..HERE
    },
    Setting {
        name: "worker-connections",
        kind: Kind::Number {
            least: 1,
            most: 1 << 20,
            set: |config, number| config.conf.worker_connections = size(number),
        },
        default: "1000",
        doc: "How many connections a worker may hold.\n\n\
              A hard bound. At it a new connection takes the place of one that has said nothing for \
              a second or only has yet to close, else of the one that is idle longest, else of one \
              that has not brought a whole head for a second, else of one whose body has been \
              slower than body-min-rate for five; when there is none, the worker stops accepting.",
        ..HERE
    },
    Setting {
        name: "timeout",
        short: Some('t'),
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.deadlines.request = time,
        },
        default: "30",
        doc: "How long a handler may take for one request; 0: no limit.\n\n\
              It counts the handler's time, not the client's. A worker that exceeds it is \
              diagnosed in the log (which request, how long, in which calls, blocked on what or \
              spinning), killed and replaced; the client is answered 504 if nothing of its answer \
              was sent. Where it has several threads, the others go on until it has a successor. A \
              [[mount]] may have a timeout of its own, and a handler that makes progress \
              may ask for more time (Request::extend_timeout).",
        ..HERE
    },
    Setting {
        name: "timeout-cap",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.timeout_cap = time,
        },
        default: "300",
        doc: "How long a handler may take that asks for more than timeout.\n\n\
              It bounds what Request::extend_timeout grants, counted from the start of the \
              handler. 0, or less than timeout: nothing is granted.",
        ..HERE
    },
    Setting {
        name: "dump-cores",
        kind: Kind::Switch(|config, yes| config.dump_cores = yes),
        default: "false",
        doc: "Let workers that crash or hang leave a core file behind.\n\n\
              The limit of the size of cores is raised as far as it may be in the workers, also \
              where they have changed their user, and one that hangs is ended by SIGABRT; it has a \
              minute to write its core, and is killed then. Where cores go is the system's to say: \
              /proc/sys/kernel/core_pattern. They hold whatever the worker had in memory, passwords \
              included.",
        ..HERE
    },
    Setting {
        name: "boot-timeout",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.boot_timeout = time,
        },
        default: "60",
        doc: "How long a worker may take until it is ready.\n\n\
              This includes loading the application.",
        ..HERE
    },
    Setting {
        name: "reload-check-path",
        kind: Kind::Text(|config, text| {
            config.reload_check_path = Some(text).filter(|text| !text.is_empty());
        }),
        default: "",
        doc: "A path that a reload asks a worker of the new program for first.\n\n\
              The worker on trial is sent GET for it, with the Host localhost, over a unix socket \
              of its own. Any status below 500 within boot-timeout passes; everything else is a \
              failed reload. Empty: the worker need only become ready.",
        ..HERE
    },
    Setting {
        name: "heartbeat-timeout",
        kind: Kind::Time {
            zero: false,
            set: |config, time| {
                config.heartbeat_timeout = time;
                config.conf.deadlines.heartbeat = time;
            },
        },
        default: "30",
        doc: "How long a worker's loop may be silent outside a handler.\n\n\
              Beyond it the worker is taken for hung, killed and replaced.",
        ..HERE
    },
    Setting {
        name: "graceful-timeout",
        kind: Kind::Time {
            zero: true,
            set: |config, time| {
                config.graceful_timeout = time;
                config.conf.deadlines.graceful = time;
            },
        },
        default: "30",
        doc: "How long requests in flight may take on a graceful stop.\n\n\
              It holds for a stop of the server, for a reload and for the replacement of a single \
              worker. Idle connections do not wait for it: while others serve on they are handed \
              to them. What is not finished then is cut, with a line in the log for each request.",
        ..HERE
    },
    Setting {
        name: "superseded-timeout",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.superseded_timeout = time,
        },
        default: "10",
        doc: "How long workers may go on draining after a second reload.\n\n\
              With a long graceful-timeout and long requests, such as WebSockets, the workers of \
              several generations could pile up. When a reload begins to replace the workers, those \
              that still drain because of an earlier one get this time from then on, unless \
              graceful-timeout ends them sooner. So hardly more than two generations are alive.",
        ..HERE
    },
    Setting {
        name: "pre-stop-delay",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.pre_stop_delay = time,
        },
        default: "0",
        doc: "How long the server goes on as before when it is told to stop.\n\n\
              SIGTERM begins it, so that a load balancer can learn of the end before new \
              connections are refused: readiness-path says so from the first moment on. A second \
              SIGTERM, or SIGINT or SIGQUIT, cuts it short. A reload is refused meanwhile.",
        ..HERE
    },
    Setting {
        name: "readiness-path",
        kind: Kind::Text(|config, text| {
            config.conf.readiness_path = Some(text).filter(|text| !text.is_empty());
        }),
        default: "",
        doc: "A path at which a load balancer learns whether to send more.\n\n\
              GET and HEAD of exactly this path, with any query, are answered by the server and not \
              by the application, on every listener and outside the limits per peer: 200 while it \
              serves, 503 from the SIGTERM on that begins pre-stop-delay. The connection stays \
              open as any other. During a reload it is 200 without a gap. Other methods go to the \
              application, and where a handler keeps a worker of the class sync busy, the answer \
              waits for that, too. Empty: none.",
        ..HERE
    },
    Setting {
        name: "stream-threads",
        kind: Kind::Number {
            least: 1,
            most: 1 << 16,
            set: |config, number| config.conf.stream_threads = size(number),
        },
        default: "64",
        doc: "Threads per worker for streams and upgrades.\n\n\
              Streamed bodies, upgraded connections and blocking readers run on them, never on the \
              loop. A request that finds none free is answered 503.",
        ..HERE
    },
    Setting {
        name: "max-surge",
        kind: Kind::Share(|config, share| config.max_surge = share),
        default: "25%",
        doc: "How many extra workers may run during a reload.\n\n\
              A number, or a percentage of those that are wanted at that time (workers, or what \
              SIGTTIN, ctl scale or the load have made of it), rounded up. When this and \
              max-unavailable both come to 0, one extra worker is allowed, since a reload could not \
              begin otherwise.",
        ..HERE
    },
    Setting {
        name: "max-unavailable",
        kind: Kind::Share(|config, share| config.max_unavailable = share),
        default: "0",
        doc: "How many workers may be missing during a reload.\n\n\
              A number, or a percentage of those that are wanted at that time, rounded down.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Workers,
    ..COMMON
};

/// A checked number of things in memory; the bounds of the entry are far below the type's.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
