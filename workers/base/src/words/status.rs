//! How the server stands, as the control socket tells it: plain data, written and read with serde
//! alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the server stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the server.
    pub server: String,
    /// Of the master.
    pub pid: u32,
    /// The name of the processes, if they have one.
    pub name: Option<String>,
    /// Since the first start, in seconds.
    pub uptime: f64,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub phase: String,
    /// The generation that serves, or served before the roll.
    pub generation: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Workers that there should be.
    pub wanted: usize,
    /// Workers that serve.
    pub ready: usize,
    /// The workers, in the order of their places.
    pub workers: Vec<Worker>,
    /// The reload under way.
    pub reload: Option<Reload>,
    /// How many have begun.
    pub reloads: u64,
    /// Why the start or the last reload has failed.
    pub failure: Option<String>,
    /// How often workers have ended, by cause.
    pub restarts: BTreeMap<String, u64>,
    /// How many reloads came to what: `ok`, `failed` or `rolled-back`.
    pub verdicts: BTreeMap<String, u64>,
    /// What waits to be accepted, where the system tells.
    pub queues: Vec<Queue>,
}

/// A reload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Which one, from 1.
    pub number: u64,
    /// `trying` or `rolling`.
    pub step: String,
    /// The generation that is rolled to.
    pub target: Option<u64>,
    /// Its workers that serve.
    pub ready: Option<usize>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The stable number of its place.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The generation that it is of.
    pub generation: u64,
    /// `booting`, `serving`, `retiring`, `draining`, `leaving` or `killed`.
    pub stage: String,
    /// Since it was started, in seconds.
    pub age: f64,
    /// Requests that it has answered, as it says.
    pub requests: u64,
    /// Connections that it holds, as it says.
    pub connections: u64,
    /// Requests that are under way, as it says.
    pub in_flight: usize,
}

/// What waits at a listener to be accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Which one, as in `listeners`.
    pub listener: String,
    /// Connections that wait.
    pub waiting: u32,
    /// So many may.
    pub room: u32,
}
