//! Other programs as applications, and our applications behind other web servers: CGI, FastCGI.
//!
//! # Layout
//! - [`codec`]: the protocols, bytes in and events out.
//!
//! It may use `ferricorn-base` and `ferricorn-http`; never the loop, which in turn does not know it.
#![forbid(unsafe_code)]

pub mod codec;
