//! The head of a response, and the framing it announces.

use crate::{
    body_encoder::BodyEncoder,
    head::{Head, Version},
};
use http::{HeaderMap, StatusCode};
use std::fmt;

/// What the response must know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The version of the request.
    pub version: Version,
    /// The request was HEAD.
    pub head_request: bool,
    /// The request was CONNECT.
    pub connect_request: bool,
    /// The client wishes, and the server permits, that the connection persists.
    pub keep_alive: bool,
}

impl Facts {
    /// The facts of this request; `keep_alive` is what the client wishes, the server may clear it.
    pub fn of(head: &Head) -> Self {
        Self {
            version: head.version(),
            head_request: head.method() == "HEAD",
            connect_request: head.method() == "CONNECT",
            keep_alive: head.keep_alive(),
        }
    }
}

/// How long the content will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Bytes.
    Known(u64),
    /// Not known before it ends.
    Unknown,
}

/// Fields that the server adds where the handler set none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// IMF-fixdate (RFC 9110 §5.6.7). Empty: no Date field (RFC 9110 §6.6.1: no clock).
    pub date: &'a [u8],
    /// The Server field.
    pub server: Option<&'a [u8]>,
    /// Content-Type of content whose handler named none.
    pub content_type: Option<&'a str>,
}

/// Why a response cannot be written as its handler made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// 1xx other than 101 is not a final status, and 101 or a final status is no interim one.
    Status(StatusCode),
    /// The handler's Content-Length is not a number.
    BadContentLength,
    /// The handler set Content-Length twice.
    DuplicateContentLength,
    /// The handler's Content-Length is not the length of its body.
    LengthMismatch {
        /// What Content-Length says.
        declared: u64,
        /// What the body is.
        actual: u64,
    },
    /// The handler set a Transfer-Encoding; framing is the server's.
    TransferEncoding,
    /// The handler wrote more than it declared.
    TooLong,
    /// The body ended this many bytes before its declared length.
    TooShort {
        /// Bytes that are missing.
        missing: u64,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {} cannot be sent here", status.as_str()),
            Self::BadContentLength => f.write_str("Content-Length is not a number"),
            Self::DuplicateContentLength => f.write_str("more than one Content-Length"),
            Self::LengthMismatch { declared, actual } => {
                write!(
                    f,
                    "Content-Length is {declared}, the body has {actual} bytes"
                )
            }
            Self::TransferEncoding => f.write_str("Transfer-Encoding set by the application"),
            Self::TooLong => f.write_str("the body is longer than its Content-Length"),
            Self::TooShort { missing } => {
                write!(
                    f,
                    "the body ended {missing} bytes before its Content-Length"
                )
            }
        }
    }
}

impl std::error::Error for EncodeError {}

/// Writes the head of a final response, and returns what will write its body.
pub fn encode_head(
    out: &mut Vec<u8>,
    facts: &Facts,
    status: StatusCode,
    fields: &HeaderMap,
    length: Length,
    defaults: &Defaults<'_>,
) -> Result<BodyEncoder, EncodeError> {
    let _ = (out, facts, fields, length, defaults);
    Err(EncodeError::Status(status))
}

/// Writes an interim response: 100 (Continue), 103 (Early Hints).
pub fn encode_interim(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<(), EncodeError> {
    let _ = (out, fields);
    Err(EncodeError::Status(status))
}

/// Writes the whole answer to a refused request; the connection closes behind it.
pub fn encode_reject(out: &mut Vec<u8>, status: StatusCode, defaults: &Defaults<'_>) {
    let _ = (out, status, defaults);
}
