//! The contract of the Ferricorn application server.
#![deny(unsafe_code)]

pub mod board;
pub mod conf;
mod error;
pub mod lifeline;
pub mod logs;
mod peer;
mod seat;
#[allow(unsafe_code)]
pub mod sys;
mod worker;

pub use conf::Conf;
pub use error::Error;
pub use peer::Peer;
pub use seat::Seat;
pub use worker::{Command, Context, Exit, Listener, Parts, Worker};
