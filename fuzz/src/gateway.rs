//! What has to hold of every input of the gateway protocols, one module a target. Called by the targets
//! of cargo-fuzz, and by the tests of `ferricorn-gateway`, which include this file and replay the corpora
//! on stable Rust; so nothing here may need libFuzzer, nor more of `ferricorn-gateway` than is public.
#![allow(dead_code, reason = "a target uses one of these")]

#[path = "control.rs"]
pub mod control;

#[path = "gateway/cgi_head.rs"]
pub mod cgi_head;
#[path = "gateway/fastcgi.rs"]
pub mod fastcgi;
#[path = "gateway/http_answer.rs"]
pub mod http_answer;
#[path = "gateway/packets.rs"]
pub mod packets;
#[path = "gateway/variables.rs"]
pub mod variables;

/// A property: panics where the input breaks it.
pub type Check = fn(&[u8]);

/// Every target with its property.
pub const TARGETS: [(&str, Check); 6] = [
    ("fastcgi", fastcgi::check),
    ("scgi", packets::scgi),
    ("uwsgi", packets::uwsgi),
    ("variables", variables::check),
    ("cgi_head", cgi_head::check),
    ("http_answer", http_answer::check),
];
