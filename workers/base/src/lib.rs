//! The contract of the Ferricorn application server.
#![deny(unsafe_code)]

pub mod conf;

pub use conf::Conf;
