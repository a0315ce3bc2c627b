//! Behind nginx and HAProxy, with the configurations of `examples/deploy`: ordinary traffic, input
//! that wants to make proxy and server disagree, what is forwarded, reloads.
//!
//! The proxies keep their connections to the server and share them among clients, so whoever makes
//! the two disagree about where a request ends gets at the next client's. Where a proxy is not
//! installed, its part is skipped with a message.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "../support/mod.rs"]
mod support;

mod desync;
mod forwarded;
mod payloads;
mod reload;
mod traffic;
