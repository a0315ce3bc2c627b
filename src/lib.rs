//! Ferricorn: a pre-fork application server in the Gunicorn mould.
//!
//! A master binds the sockets, forks workers that share them, and supervises the workers with
//! signals. The workers hand each request to an application: a type behind [`App`], or a closure.
//!
//! ```no_run
//! use ferricorn::Request;
//!
//! fn main() -> std::process::ExitCode {
//!     ferricorn::main(|_: &mut Request| "Hello, World!")
//! }
//! ```
//!
//! That program has the whole command line of the server: `./hello --bind 127.0.0.1:8000 --workers
//! 4`; `./hello --help` shows it. A program with several applications or with a worker class of its
//! own uses [`Server::builder`].
//!
//! A handler is tested without a server:
//!
//! ```
//! use ferricorn::{App, Handler, Request, Seat};
//!
//! let app = |request: &mut Request| format!("You asked for {}", request.path());
//! let mut handler = app.boot(&Seat::default())?;
//! let mut request = Request::build("GET", "/shop", [("Host", "localhost")])?;
//! let response = handler.handle(&mut request)?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.into_body().collect()?, "You asked for /shop");
//! # Ok::<(), ferricorn::Error>(())
//! ```
//!
//! This crate is the master. It supervises and never reads a byte from a client; everything below
//! `workers/` handles client bytes and never supervises.
#![deny(unsafe_code)]

mod address;
mod aide;
mod cgroups;
mod children;
mod cli;
#[doc(hidden)]
pub mod config;
mod control;
mod cpus;
mod ctl;
mod daemon;
mod diagnose;
mod directory;
mod exit;
mod generate;
mod generation;
mod handover;
mod logging;
mod master;
mod memory;
mod mold;
mod notify;
mod past;
mod pidfile;
mod poison;
mod privileges;
mod program;
mod registry;
mod report;
mod scribe;
mod second;
mod server;
mod settings;
mod signals;
mod sockets;
mod spawn;
mod state;
mod statsd;
#[allow(unsafe_code)]
mod sys;
mod syslog;
mod tally;
mod title;
mod top;
mod trial;
mod watch;

pub use ferricorn_base::{
    App, Begin, Body, BoxApp, Client, Command, Conf, Context, Ended, Error, Exchange, Exit,
    Forwarded, Handler, Hooks, Incoming, IntoResponse, Listener, Peer, Request, Response, Seat,
    Upgraded, Whom, Worker, board, body, conf, http, lifeline, meta, transport, typed,
};
pub use server::{Builder, Server, main};

/// The worker classes that come with the server, to register again or to wrap in one's own.
pub mod workers {
    pub use ferricorn_sync::Sync;
    pub use ferricorn_threads::Threads;
}
