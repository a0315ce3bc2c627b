//! Under a real systemd, with the units of `examples/systemd`: starts, reloads, stops, and what nobody
//! has asked for.
//!
//! Needs root, namespaces and Debian's package `systemd`; else each test is skipped with a message.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod life;
mod manager;
mod masters;
mod queue;
mod reloads;
mod units;
