//! Other programs as applications, and our applications behind other web servers: CGI, FastCGI, SCGI,
//! uwsgi, HTTP.
//!
//! # Layout
//! - [`Gateway`]: an application that is a FastCGI, SCGI, uwsgi or HTTP back end; [`Options`]: how it is asked. `asking` is
//!   one request, a task that the worker's loop drives; `upstream` has connections, `script` divides
//!   paths, `answer` makes steps of what a program says.
//! - [`cgi`]: programs that are started for each request: the application `cgi:DIR_OR_PROGRAM`.
//! - [`codec`]: bytes in and events out, for either side.
//!   - [`codec::fastcgi`]: records, name-value pairs; `Server` reads what a web server says, `Client`
//!     what an application answers.
//!   - [`codec::scgi`], [`codec::uwsgi`]: the variables of a request in front of its content.
//!   - [`codec::vars`]: the variables: made of a request, and read back into one.
//!   - [`codec::cgi_head`]: the head that a program answers with, read and written.
//!   - [`codec::http_answer`]: the answers of an HTTP/1 server.
//!
//! Readers are given what there is of the input, say how much of it is of no more use, and can be left
//! at any byte; what they keep is bounded, and bounds are met before memory grows. Writers append to a
//! buffer. What a peer got wrong is a value: a `Reject` (what to answer) on the side of a listener,
//! `BadAnswer` or `fastcgi::Error` (what to log, and 502) on that of a back end.
//!
//! It may use `ferricorn-base` and `ferricorn-http`; never the loop, which in turn does not know it.
#![forbid(unsafe_code)]

mod answer;
mod app;
mod asking;
pub mod cgi;
pub mod codec;
mod forward;
mod options;
mod script;
mod stderr;
mod upstream;

pub use app::{Gateway, GatewayHandler, SCHEMES};
pub use asking::Dialect;
pub use options::{OPTIONS, Options};
pub use upstream::Address;
