//! FastCGI 1.0 without I/O, from both sides: what a web server says to an application ([`Server`] reads
//! it) and what is answered ([`Client`] reads that), and how either is written. Never a socket; what a
//! request means is for `vars`, what an answer means for `cgi_head`.
//!
//! Section numbers are those of the specification (Open Market, 29 April 1996).
//!
//! Readers keep no content: a data record is an [`Event`](server::Event) with a range of the input.
//! Writers append to a buffer; where content is sent from elsewhere (a file, the buffer it was read
//! into), [`Header::of`] gives the header and the padding to send around it.

pub mod client;
mod pairs;
mod record;
pub mod server;
mod values;
mod write;

pub use client::Client;
pub use pairs::write_pairs;
pub use record::{Error, HEADER_LEN, Header, Kind, LONGEST_CONTENT, PADDING, ProtocolStatus, Role};
pub use server::Server;
pub use values::Values;
pub use write::{abort, begin, end_request, end_stream, params, stream, unknown_type};
