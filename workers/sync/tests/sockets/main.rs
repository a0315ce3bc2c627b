//! The `sync` worker, driven through real sockets: what a client, an operator or a handler's author
//! would notice. No master; see `server` for how workers run in the test process.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod accounts;
mod balance;
mod bodies;
mod bound;
mod class;
mod client;
mod drain;
mod failures;
mod handover;
mod limits;
mod messages;
mod peers;
mod proxies;
mod readiness;
mod responses;
mod server;
mod streams;
mod tasks;
mod trickles;
mod upgrades;
