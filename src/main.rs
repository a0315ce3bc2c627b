//! Ferricorn.
fn main() {}
