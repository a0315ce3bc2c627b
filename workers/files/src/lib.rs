//! The files of a directory over HTTP: the application `static:DIR`.
//!
//! # Layout
//! - [`Files`] in `handler`: the application; [`Options`] in `options`: how a directory is served.
//! - [`path`]: from the path of a request to the name of a file; [`conditions`], [`ranges`],
//!   [`codings`], `types`: what RFC 9110 makes of a request and of a file. Values only.
//! - [`Sendfile`] in `sendfile`: files that another application answers with.
//! - `root`, `walk`: names beneath a directory, and never outside of it.
//! - `variant`, `multipart`, `shelf`, `listing`: what is sent, and what is kept to be sent again.
//!
//! Everything here runs in a worker. It may use the contract of `ferricorn-base` and nothing of the
//! master or of the event loop.
#![forbid(unsafe_code)]

pub mod codings;
pub mod conditions;
mod handler;
mod listing;
mod multipart;
mod options;
pub mod path;
pub mod ranges;
mod root;
mod sendfile;
mod shelf;
mod types;
mod variant;
mod walk;

pub use handler::{Files, FilesHandler};
pub use options::{OPTIONS, Options, Rule};
pub use path::Dotfiles;
pub use root::Symlinks;
pub use sendfile::{Place, Sendfile, SendfileHandler};
