//! What is wrong with a response. A value: who answers 500, and who aborts, is the caller.

use http::StatusCode;
use std::fmt;

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
    /// The handler set a Transfer-Encoding other than `chunked`; framing is the server's.
    TransferEncoding,
    /// 101 without an Upgrade field (RFC 9110 §15.2.2).
    NoUpgrade,
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
            Self::NoUpgrade => f.write_str("101 without an Upgrade field"),
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
