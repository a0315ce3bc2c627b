//! Ferricorn.
#![forbid(unsafe_code)]
