//! What a request may bring and how long every wait on a connection lasts.

use super::{COMMON, Kind, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "keep-alive",
        gunicorn: Some("keepalive"),
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.deadlines.keep_alive = time,
        },
        default: "65",
        doc: "How long a connection may wait for its next request.\n\n\
              0 closes after each response. The default is above the 60 seconds for which load \
              balancers commonly keep idle connections: the side that closes first must not be the \
              server, or the balancer sends a request into a closing connection and answers 502. \
              Gunicorn's default of 2 seconds invites that.",
        ..HERE
    },
    Setting {
        name: "limit-request-line",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.conf.limits.request_line = size(bytes),
        },
        default: "4094",
        doc: "Bytes of the request line; beyond it 414.\n\n\
              At most 65534. 0: as many as limit-request-head permits.",
        ..HERE
    },
    Setting {
        name: "limit-request-fields",
        kind: Kind::Number {
            least: 1,
            most: 32768,
            set: |config, number| config.conf.limits.fields = size(number),
        },
        default: "100",
        doc: "How many header fields a request may have; beyond it 431.",
        ..HERE
    },
    Setting {
        name: "limit-request-field-size",
        aliases: &["limit-request-field_size"],
        kind: Kind::Size {
            least: 1,
            set: |config, bytes| config.conf.limits.field_size = size(bytes),
        },
        default: "8190",
        doc: "Bytes of one header field; beyond it 431.",
        ..HERE
    },
    Setting {
        name: "limit-request-head",
        kind: Kind::Size {
            least: 64,
            set: |config, bytes| config.conf.limits.head = size(bytes),
        },
        default: "64KiB",
        doc: "Bytes of the request line and all header fields; beyond it 431.",
        ..HERE
    },
    Setting {
        name: "limit-request-body",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.conf.limits.body = bytes,
        },
        default: "1GiB",
        doc: "Bytes of a request body; beyond it 413. 0: no limit.",
        ..HERE
    },
    Setting {
        name: "limit-peer-connections",
        kind: Kind::Number {
            least: 0,
            most: 1 << 20,
            set: |config, number| config.conf.peer_limits.connections = number,
        },
        default: "0",
        doc: "How many connections one address may have open; 0: no limit.\n\n\
              Beyond it a new connection is answered 429 and closed. It holds for all workers \
              together. The address of an IPv6 client is its /64; peers of unix sockets have none \
              and no limit, nor have the proxies of forwarded-allow-ips. Behind a PROXY header it is \
              the address that this names. Workers that retire do not count. A worker remembers 2048 addresses; \
              beyond them it forgets those with the fewest connections.",
        ..HERE
    },
    Setting {
        name: "limit-peer-connection-rate",
        kind: Kind::Number {
            least: 0,
            most: 65_535,
            set: |config, number| config.conf.peer_limits.connection_rate = number,
        },
        default: "0",
        doc: "New connections per second from one address; 0: no limit.\n\n\
              Beyond it a connection is answered 429, with Retry-After, and closed. What is refused \
              does not count. Over all workers and for the same addresses as \
              limit-peer-connections.",
        ..HERE
    },
    Setting {
        name: "limit-peer-request-rate",
        kind: Kind::Number {
            least: 0,
            most: 65_535,
            set: |config, number| config.conf.peer_limits.request_rate = number,
        },
        default: "0",
        doc: "Requests per second from one client; 0: no limit.\n\n\
              Beyond it a request is answered 429, with Retry-After, before the application sees \
              it; the connection stays, unless a body follows. What is refused does not count. Over \
              all workers, for the client as forwarded-allow-ips lets proxies name it.",
        ..HERE
    },
    Setting {
        name: "body-buffer",
        kind: Kind::Size {
            least: 0,
            set: |config, bytes| config.conf.body_buffer = size(bytes),
        },
        default: "64KiB",
        doc: "A request body up to this size stays in memory.\n\n\
              A larger one goes to a file in tmp-dir that has no name.",
        ..HERE
    },
    Setting {
        name: "head-timeout",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.conf.deadlines.head = time,
        },
        default: "30",
        doc: "How long a request head may take to arrive; beyond it 408.\n\n\
              It counts from the first byte of the head, on a new connection from the moment it is \
              accepted; one that sent nothing by then is closed without an answer. Bytes that \
              trickle in do not put it off.",
        ..HERE
    },
    Setting {
        name: "receive-timeout",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.deadlines.receive = time,
        },
        default: "3600",
        doc: "How long a whole request may take to arrive; beyond it 408.\n\n\
              It counts from the first byte of the head to the last of the body, however fast they \
              come; it is looked at when bytes come and at the end of each body-timeout. Where a \
              handler reads the body itself, only the time in which it waits for the client \
              counts. 0: no limit but head-timeout and body-min-rate.",
        ..HERE
    },
    Setting {
        name: "body-timeout",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.conf.deadlines.body = time,
        },
        default: "30",
        doc: "How long a request body may be too slow; beyond it 408.\n\n\
              In each such span the body must bring body-min-rate bytes for every second of it.",
        ..HERE
    },
    Setting {
        name: "body-min-rate",
        kind: Kind::Number {
            least: 0,
            most: 1 << 30,
            set: |config, number| config.conf.deadlines.body_min_rate = number,
        },
        default: "500",
        doc: "Bytes per second that a request body must bring.\n\n\
              0 asks for one byte in each body-timeout, so that a body may take very long.",
        ..HERE
    },
    Setting {
        name: "write-timeout",
        kind: Kind::Time {
            zero: false,
            set: |config, time| config.conf.deadlines.write = time,
        },
        default: "60",
        doc: "How long a client may be too slow to take its response.\n\n\
              In each such span in which the response waits for it, the client must take \
              write-min-rate bytes for every second; else the connection is reset.",
        ..HERE
    },
    Setting {
        name: "write-min-rate",
        kind: Kind::Number {
            least: 0,
            most: 1 << 30,
            set: |config, number| config.conf.deadlines.write_min_rate = number,
        },
        default: "240",
        doc: "Bytes per second of its response that a client must take.\n\n\
              What counts is what its system has acknowledged, on average over each \
              write-timeout. The default is what a modem of 2400 baud takes: below it nobody \
              reads, somebody holds the connection. 0 asks for one byte in each write-timeout.",
        ..HERE
    },
    Setting {
        name: "linger-timeout",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.deadlines.linger = time,
        },
        default: "5",
        doc: "How long a closing connection reads on.\n\n\
              Without it a client that still sends may lose the response to a reset.",
        ..HERE
    },
    Setting {
        name: "server-header",
        kind: Kind::Field(|config, text| {
            config.conf.server = Some(text).filter(|text| !text.is_empty());
        }),
        default: "ferricorn",
        doc: "The value of the Server field; empty sends none.",
        ..HERE
    },
    Setting {
        name: "sendfile",
        off: Some("no-sendfile"),
        kind: Kind::Switch(|config, yes| config.conf.sendfile = yes),
        default: "true",
        doc: "Send files with sendfile(2).\n\n\
              To be turned off where the files lie on a file system that does not support it.",
        ..HERE
    },
    Setting {
        name: "tmp-dir",
        gunicorn: Some("worker_tmp_dir"),
        kind: Kind::Directory(|config, path| {
            if let Some(path) = path {
                config.conf.tmp_dir = path;
            }
        }),
        default: "/tmp",
        variable: Some("TMPDIR"),
        doc: "Directory for request bodies larger than body-buffer.\n\n\
              It must hold what worker-connections bodies of limit-request-body bytes may bring at \
              once; where it is in memory (tmpfs), that is memory. Lower one of them where clients \
              are not to be trusted with so much.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Requests,
    ..COMMON
};

/// A checked size of something in memory. Every size that the kind allows fits.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
