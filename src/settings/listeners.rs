//! Where connections come in.

use super::{COMMON, Kind, Scope, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "bind",
        short: Some('b'),
        kind: Kind::Binds,
        default: "127.0.0.1:8000",
        variable: Some("PORT"),
        doc: "An address to listen on.\n\n\
              HOST:PORT, HOST (port 8000), :PORT (every IPv4 address), [IPV6]:PORT, unix:PATH, \
              unix:@NAME (abstract), fd://N (a descriptor that is already bound) or fd://NAME (the \
              sockets that systemd passes under this name). Repeatable. A host name is looked up once, at the start; its first IPv4 address is bound, or its \
              first IPv6 address when it has no other.\n\n\
              When nothing else says where to listen and PORT is set, 0.0.0.0:$PORT is the \
              default. In the file each [[listen]] table is one listener with settings of its own; \
              bind above them takes one address or a list.",
        ..HERE
    },
    Setting {
        name: "backlog",
        kind: Kind::Number {
            least: 1,
            most: 1 << 20,
            set: |config, number| {
                config.listener.backlog = u32::try_from(number).unwrap_or(u32::MAX)
            },
        },
        default: "2048",
        doc: "How many connections may wait to be accepted.\n\n\
              listen(2); the kernel caps it at net.core.somaxconn.",
        ..HERE
    },
    Setting {
        name: "socket-mode",
        kind: Kind::Mode(|config, mode| config.listener.socket_mode = mode),
        default: "0660",
        doc: "Permissions of a unix socket's file, octal.\n\n\
              Connecting needs write permission. The umask does not apply to it.",
        ..HERE
    },
    Setting {
        name: "socket-owner",
        kind: Kind::User(|config, user| config.listener.socket_owner = user),
        default_doc: "the master's user",
        doc: "Owner of a unix socket's file: a user's name or number.",
        ..HERE
    },
    Setting {
        name: "socket-group",
        kind: Kind::Group(|config, group| config.listener.socket_group = group),
        default_doc: "the master's group",
        doc: "Group of a unix socket's file: a name or number.\n\n\
              The usual way to let a proxy in: its group here, and socket-mode 0660.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Listeners,
    scope: Scope::Listener,
    ..COMMON
};
