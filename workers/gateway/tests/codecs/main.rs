//! The codecs as their users see them: tables of what each peer sends, random bytes and random cuts held
//! to the properties that are fuzzed, and what fuzzing has kept.

mod cgi_head;
mod fastcgi;
mod http_answer;
mod random;
mod replay;
mod scgi;
mod uwsgi;
mod vars;

#[path = "../../../../fuzz/src/gateway.rs"]
mod fuzzed;
