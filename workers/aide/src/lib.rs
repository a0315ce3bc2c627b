//! The aide: the process beside the workers that answers when they cannot.
//!
//! The master forks it like a worker, but it has no application. It serves metrics, status and health at
//! listeners of its own, and says 503 at those of the workers while nobody else can answer.
//!
//! # Layout
//! - [`run`] is its life (`life`): one thread that hears the master, looks after what is due each second
//!   ([`Duty`]), and starts what serves.
//! - `house` is how an event loop is run here, in a thread: what a worker gets of its master, it gets of
//!   the aide. `desk` serves the pages (`pages`, `health`, `metrics`, `page`), `outage` is the 503.
//! - `inquiry` asks the master how things stand, at most so often, and never waits for long.
//!
//! It may call `ferricorn-loop` and what is below it. It never forks, never supervises and never loads
//! anything.
#![forbid(unsafe_code)]

mod desk;
mod duty;
mod health;
mod house;
mod inquiry;
mod life;
mod metrics;
mod outage;
mod page;
mod snapshot;
mod statsd;
mod syslog;

pub use duty::Duty;
pub use inquiry::Inquiry;
pub use life::{Setup, run};
pub use snapshot::Snapshot;
pub use syslog::{Forward, Target};
