//! The codecs as their users see them: tables of what each peer sends, random bytes and random cuts held
//! to the properties that are fuzzed, and what fuzzing has kept.

mod cgi_head;
mod fastcgi;
mod random;
mod replay;
mod vars;

#[path = "../../../../fuzz/src/gateway.rs"]
mod fuzzed;
