//! Ferricorn.
#![deny(unsafe_code)]
#![allow(dead_code, reason = "the shell around the state is on its way")]

mod address;
mod cli;
#[doc(hidden)]
pub mod config;
mod cpus;
mod exit;
mod generate;
mod settings;
mod state;
