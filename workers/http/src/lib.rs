//! HTTP/1.1 without I/O.
#![forbid(unsafe_code)]
