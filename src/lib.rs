//! Ferricorn.
