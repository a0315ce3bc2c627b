//! The server driven from outside: the real binary, real sockets, real signals.
//!
//! One program, so that all of it runs in parallel: `cargo test --test server`. A test waits for
//! messages, never for a time, and ends only what it started.

#[path = "../support/mod.rs"]
mod support;

mod lifecycle;
mod supervision;
