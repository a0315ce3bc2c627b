//! The contract of the Ferricorn application server: everything that an application, a worker
//! class and the master have to agree on.
//!
//! # Layout
//! - [`App`], [`Handler`], [`Begin`], [`Request`], [`Response`], [`Body`], [`Exchange`], [`Error`]:
//!   what a user writes against; [`Seat`] and [`Conf`]: what a handler can know of its place.
//! - [`Task`], [`Step`]: what a handler says instead that would have to wait for somebody else.
//! - [`Worker`], [`Context`], [`Command`], [`Exit`]: what a worker class is given.
//! - [`lifeline`], [`board`]: how master and worker speak; [`rendezvous`]: how connections go from one
//!   worker to another.
//! - [`Hooks`]: code of the program at the turns of a server's life.
//! - [`words`]: what the master says of itself over the control socket.
//! - [`trust`]: whom to believe what a request says of itself.
//! - [`meta`]: a request as CGI and its successors name its parts.
//! - [`transport`], [`logs`], [`access`], [`sys`]: connections, logs, and the only `unsafe`.
//!
//! It may use the `http` types and `ferricorn-http`; it never supervises and never accepts.
#![deny(unsafe_code)]

pub mod access;
mod app;
pub mod board;
pub mod body;
mod closing;
pub mod conf;
mod error;
mod exchange;
mod hooks;
mod incoming;
pub mod lifeline;
pub mod logs;
pub mod meta;
mod networks;
mod peer;
pub mod rendezvous;
mod request;
mod response;
mod seat;
mod sink;
mod stamp;
#[allow(unsafe_code)]
pub mod sys;
pub mod task;
pub mod transport;
pub mod trust;
mod upgraded;
pub mod words;
mod worker;

pub use app::{App, Begin, BoxApp, Closure, Handler};
pub use body::Body;
#[doc(hidden)]
pub use closing::Closing;
pub use conf::Conf;
pub use error::Error;
#[doc(hidden)]
pub use error::{clients, is_clients};
pub use exchange::{Exchange, Wire};
pub use hooks::{Between, Ended, Hooked, Hooks, Whom};
pub use incoming::Incoming;
pub use networks::Networks;
pub use peer::Peer;
#[doc(hidden)]
pub use request::Link;
pub use request::{Client, Forwarded, Request, RequestId, RequestIds, Trace};
pub use response::{IntoResponse, Response, typed};
pub use seat::Seat;
pub use task::{Step, Task};
#[doc(hidden)]
pub use upgraded::Returned;
pub use upgraded::Upgraded;
#[doc(hidden)]
pub use worker::collect_signals;
pub use worker::{Command, Context, Exit, Listener, Parts, Worker};

pub use ferricorn_http::{Head, Limits, ProxyVersions, Reject, Version};
pub use http;
