//! HTTP/1.1 without I/O: bytes in, events out, and back (RFC 9112, RFC 9110).
//!
//! May call: `http`, `itoa`, `httpdate`. Never: a socket, a file, a clock, a
//! log, `unsafe`. Whatever two parsers could read in two ways is refused here, so that nothing
//! behind this crate ever sees it.
//!
//! ```text
//! Reader::next(input, limits, &mut head) -> Head | Data | End | NeedMore, or Reject
//! encode_head(out, facts, status, fields, length, defaults) -> BodyEncoder -> encode … finish
//! encode_whole(out, &Whole { facts, status, fields, content, defaults })
//! ```
#![forbid(unsafe_code)]

mod authority;
mod body_encoder;
mod build;
mod chunk_extension;
mod chunked;
mod date;
mod encode;
mod encode_error;
mod field_lines;
mod forwarded;
mod framing;
mod head;
mod head_reader;
mod initials;
mod kinds;
mod limits;
mod proxy;
mod reader;
mod reject;
mod request_line;
mod syntax;
mod target;
mod trailers;
mod whole;
#[cfg(test)]
mod work;

pub use authority::split_authority;
pub use body_encoder::BodyEncoder;
pub use chunked::{Chunked, ChunkedStep};
pub use date::Date;
pub use encode::{
    Defaults, Facts, Length, RETRY_AFTER, encode_head, encode_interim, encode_reject,
    is_head_request,
};
pub use encode_error::EncodeError;
pub use forwarded::{ForwardedElement, ForwardedNode, Malformed, is_host, parse_forwarded};
pub use head::{Fields, Head};
pub use initials::Initials;
pub use kinds::{BodyLength, TargetForm, Version};
pub use limits::Limits;
pub use proxy::{Preface, ProxyAddresses, ProxyHeader, ProxyVersions};
pub use reader::{Event, Reader};
pub use reject::Reject;
pub use whole::{Whole, encode_whole};
