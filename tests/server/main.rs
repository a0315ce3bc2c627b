//! The server driven from outside: the real binary, real sockets, real signals.
//!
//! One program, so that all of it runs in parallel: `cargo test --test server`. A test waits for
//! messages, never for a time, and ends only what it started.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod aide;
mod bounds;
mod clients;
mod configuration;
mod control;
mod crash;
mod generations;
mod handover;
mod ids;
mod intruders;
mod level;
mod lifecycle;
mod limits;
mod listeners;
mod logs;
mod masters;
mod memory;
mod metrics;
mod mold;
mod notify;
mod overload;
mod poison;
mod process;
mod proxies;
mod readiness;
mod reload;
mod robustness;
mod scaling;
mod signals;
mod statsd;
mod status;
mod stored;
mod supervision;
mod syslog;
mod threads;
mod upgrade;
mod watch;
