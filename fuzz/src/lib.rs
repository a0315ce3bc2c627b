//! What has to hold of every input, one module a target. Called by the targets of cargo-fuzz, and by
//! the tests of `ferricorn-http`, which include this file and replay the corpora on stable Rust; so
//! nothing here may need libFuzzer, nor more of `ferricorn-http` than is public.
#![forbid(unsafe_code)]

pub mod chunked;
pub mod connection;
pub mod control;
pub mod forwarded;
pub mod head;
pub mod proxy;
pub mod recall;
pub mod reference;
pub mod response;

/// A property: panics where the input breaks it.
pub type Check = fn(&[u8]);

/// Every target with its property.
pub const TARGETS: [(&str, Check); 7] = [
    ("head", head::check),
    ("recall", recall::check),
    ("chunked", chunked::check),
    ("connection", connection::check),
    ("response", response::check),
    ("proxy", proxy::check),
    ("forwarded", forwarded::check),
];

/// The targets of `files.rs`, which the tests of `ferricorn-files` replay.
pub const FILES: [&str; 2] = ["file_name", "ranges"];

/// The targets of `gateway.rs`, which the tests of `ferricorn-gateway` replay.
pub const GATEWAY: [&str; 6] = [
    "fastcgi",
    "scgi",
    "uwsgi",
    "variables",
    "cgi_head",
    "http_answer",
];
