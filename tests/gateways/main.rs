//! Other programs as applications: real php-fpm, uWSGI and nginx behind `fastcgi:`, `uwsgi:`, `scgi:` and
//! `http:`, and back ends that are dead, slow or lie, which are the tests themselves.
//!
//! Where a program is not installed, its part is skipped with a message.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod broken;
mod cgi;
mod git;
mod php;
mod proxy;
mod uwsgi;

use support::http::{Answer, Client};
use support::{Server, Start, ferricorn};

/// A request on a connection of its own.
fn ask(server: &Server, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(request).unwrap();
    client.answer().unwrap()
}

/// A server with one worker and these mounts.
fn mounted(start: Start, mounts: &str) -> Server {
    start.file(&format!("workers = 1\n{mounts}")).ready()
}

/// A new server with one worker and this application at `/`.
fn serving(app: &str, options: &str) -> Server {
    mounted(
        ferricorn(),
        &format!("[[mount]]\nprefix = \"/\"\napp = \"{app}\"\n{options}"),
    )
}
