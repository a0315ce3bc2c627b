//! Ferricorn.

#[doc(hidden)]
pub mod config;
