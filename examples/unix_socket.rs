//! A server behind a proxy on the same machine: it listens on a unix socket unless told otherwise.
//!
//!     cargo run --release --example unix_socket
//!     curl --unix-socket ./app.sock http://localhost/
//!
//! nginx: `proxy_pass http://unix:/path/to/app.sock;`. Who may connect is a matter of the file's
//! mode and owner: see the settings `socket-mode` and `socket-group`.

use std::process::ExitCode;

use ferricorn::{Request, Server};

fn main() -> ExitCode {
    // A default of this program. A file, the environment and the command line still win.
    Server::builder()
        .app(|request: &mut Request| format!("Hello, {} of {}\n", request.peer(), request.path()))
        .default_setting("bind", "unix:app.sock")
        .build()
        .run()
}
