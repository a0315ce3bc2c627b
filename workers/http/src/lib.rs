//! HTTP/1.1 without I/O.
#![forbid(unsafe_code)]

mod limits;

pub use limits::Limits;
