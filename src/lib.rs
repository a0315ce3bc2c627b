//! Ferricorn.
#![deny(unsafe_code)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the shell around the state is on its way"
)]

mod address;
mod cli;
#[doc(hidden)]
pub mod config;
mod cpus;
mod daemon;
mod diagnose;
mod exit;
mod generate;
mod logging;
mod pidfile;
mod privileges;
mod settings;
mod signals;
mod sockets;
mod state;
#[allow(unsafe_code)]
mod sys;
mod title;
