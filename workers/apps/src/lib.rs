//! What the stock Ferricorn binary serves by itself.
//!
//! # Layout
//! - [`Welcome`]: a page that shows what is running; [`page`](self) writes its HTML.
//! - [`Hello`]: 13 fixed bytes, for benchmarks. [`Echo`]: the request's body, for HTTP cases.
//! - [`Mounts`]: several applications under path prefixes.
//!
//! Everything here runs in a worker. It may use the contract of `ferricorn-base` and nothing of the
//! master or of the event loop.
#![forbid(unsafe_code)]

mod echo;
mod hello;
mod mounts;
mod page;
mod welcome;

pub use echo::Echo;
pub use hello::Hello;
pub use mounts::{Mounted, Mounts};
pub use welcome::{Welcome, WelcomeHandler};
