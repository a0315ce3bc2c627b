//! Ferricorn.
#![deny(unsafe_code)]
#![allow(dead_code, reason = "the shell around the state is on its way")]

#[doc(hidden)]
pub mod config;
mod cpus;
mod exit;
mod state;
