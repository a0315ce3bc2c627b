//! The event loop of a worker: it owns the connections, reads and writes without waiting, and calls
//! the handler with complete requests.
//!
//! # Layout
//! - [`Core`]: what a loop has, a value; [`Loop`]: it in the hands of an executor, which runs handlers.
//!   `baton`, `slot` and `member`: how several threads pass it among them ([`run_threads`]).
//! - `event_loop` turns, `found` has what is left of a turn; `accept` and `balance` decide who accepts; `serve` is one
//!   connection's turn and `settle` what it leaves; `respond` runs handlers, `send` encodes
//!   their answers; `drain` ends it, and `giving` hands what it has to siblings.
//! - `screen` answers some requests before a handler sees them; `quota` is what one peer address may
//!   take; `codel` and `lateness` tell when the worker is overloaded.
//! - Seams: [`Protocol`] (HTTP/1.1: [`Http1`]), [`Executor`] ([`Inline`], or a member of a crew), and the transport,
//!   which is `ferricorn_base::transport::Transport`.
//! - `timers`, `pace`, `buffer`, `output`, `clock`, `conn`: what the loop is made of.
//! - `handover`, `pool`, `stream`, `wire`: threads for what may block, and the way there and back.
//!
//! It may call `ferricorn-base` and `ferricorn-http`. It never forks and never supervises.
#![forbid(unsafe_code)]

mod accept;
mod balance;
mod baton;
mod buffer;
mod clock;
mod codel;
mod conn;
mod core;
mod drain;
mod event_loop;
mod executor;
mod found;
mod giving;
mod handover;
mod held;
mod lateness;
mod listening;
mod member;
mod output;
mod pace;
mod pool;
mod preface;
mod protocol;
mod quota;
mod readiness;
mod respond;
mod room;
mod screen;
mod send;
mod serve;
mod settle;
mod slot;
mod stream;
mod task;
mod timers;
mod timing;
mod wire;

pub use core::Core;
pub use event_loop::Loop;
pub use executor::{Executor, Failure, Inline, guard, install_panic_hook};
pub use member::run_threads;
pub use protocol::{BodyWriter, Http1, Protocol};
