//! Ferricorn.
#![deny(unsafe_code)]
