//! What is served, and where.

use super::{COMMON, Kind, Scope, Section, Setting};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "app",
        gunicorn: Some("wsgi_app"),
        kind: Kind::App,
        default_doc: "the first application that the program offers",
        scope: Scope::Mount,
        doc: "The application that answers at /.\n\n\
              On the command line it is the argument APP. The stock program offers welcome (a page \
              that shows what is running, the default), hello (Hello, World! as text/plain) and \
              echo (sends the request body back). static:DIR serves the files of a directory; \
              fastcgi:ADDR, scgi:ADDR, uwsgi:ADDR and http:ADDR ask a back end at HOST:PORT or unix:PATH; \
              cgi:DIR_OR_PROGRAM starts a program for each request.\n\n\
              SCHEME:REST is kept for applications that are other programs; the scheme \
              wsgi is reserved and not available yet.",
        ..HERE
    },
    Setting {
        name: "preload",
        gunicorn: Some("preload_app"),
        kind: Kind::Switch(|config, yes| config.preload = yes),
        default: "false",
        doc: "Load the application once, in a process from which the workers are forked.\n\n\
              What App::load makes is shared by all workers, as long as nobody writes to it, and a \
              worker that is replaced need not load it again. This process, the mold, is a child \
              of the master, has the rights of the workers, and serves nothing. App::load must not \
              leave a thread behind, nor keep open what workers may not share: connections belong \
              in App::boot. A reload loads the application anew.",
        ..HERE
    },
    Setting {
        name: "mount",
        kind: Kind::Mounts,
        doc: "Serve an application under a path prefix: PREFIX=APP.\n\n\
              Repeatable. A prefix matches at segment boundaries, and the longest that matches \
              wins: /a matches /a and /a/b, not /ab. In the file each mount is a table [[mount]] \
              with the keys prefix, app and timeout, and those of the app: static:DIR takes index, listing, \
              symlinks, dotfiles, precompressed, cache-control, default-type, types, recheck and \
              memory; cgi:DIR_OR_PROGRAM takes env, pass-authorization, max-processes, \
              cpu-seconds, memory, open-files and processes; fastcgi:ADDR, scgi:ADDR, uwsgi:ADDR and http:ADDR take root, index, split, fallback, env, pool, \
              pool-time and connect-timeout; an app of the program takes x-sendfile. Where there are mounts, app is served at / only if it \
              is given.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Application,
    ..COMMON
};
