//! Why a request is refused. A value, nothing more: who answers and who closes is the caller.

use http::StatusCode;
use std::fmt;

/// Why a request is refused: the status to answer, and a short reason for the log.
///
/// After a reject the connection closes: where the next message begins is no longer known
/// (RFC 9112 §2.2, §9.6). The reason is for the operator; a client is told the status only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What to answer.
    pub status: StatusCode,
    /// What was wrong, in a few words. Never holds a byte of the client's.
    pub reason: &'static str,
}

impl Reject {
    /// A refusal with this status, for this reason.
    pub const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.as_str(), self.reason)
    }
}

impl std::error::Error for Reject {}
