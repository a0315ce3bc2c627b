//! What the tests of the class `sync` ask of a worker, asked of the class `threads`: the loop is one piece of
//! code. What only threads can do is in `baton`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod baton;
mod class;

#[path = "../../../sync/tests/sockets/accounts.rs"]
mod accounts;
#[path = "../../../sync/tests/sockets/balance.rs"]
mod balance;
#[path = "../../../sync/tests/sockets/bodies.rs"]
mod bodies;
#[path = "../../../sync/tests/sockets/bound.rs"]
mod bound;
#[path = "../../../sync/tests/sockets/client.rs"]
mod client;
#[path = "../../../sync/tests/sockets/drain.rs"]
mod drain;
#[path = "../../../sync/tests/sockets/failures.rs"]
mod failures;
#[path = "../../../sync/tests/sockets/handover.rs"]
mod handover;
#[path = "../../../sync/tests/sockets/limits.rs"]
mod limits;
#[path = "../../../sync/tests/sockets/messages.rs"]
mod messages;
#[path = "../../../sync/tests/sockets/peers.rs"]
mod peers;
#[path = "../../../sync/tests/sockets/proxies.rs"]
mod proxies;
#[path = "../../../sync/tests/sockets/readiness.rs"]
mod readiness;
#[path = "../../../sync/tests/sockets/responses.rs"]
mod responses;
#[path = "../../../sync/tests/sockets/server.rs"]
mod server;
#[path = "../../../sync/tests/sockets/streams.rs"]
mod streams;
#[path = "../../../sync/tests/sockets/tasks.rs"]
mod tasks;
#[path = "../../../sync/tests/sockets/trickles.rs"]
mod trickles;
#[path = "../../../sync/tests/sockets/upgrades.rs"]
mod upgrades;
