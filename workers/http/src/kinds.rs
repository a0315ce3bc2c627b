//! The few kinds of things that a request can be. Words only: who decides which it is stands in
//! `target` and `framing`.

/// The version of a message (RFC 9110 §2.5). A higher minor version is read as HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// The four forms of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, of CONNECT only
    Authority,
    /// `*`, of OPTIONS only
    Asterisk,
}

/// How the content of a request is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// Neither Content-Length nor Transfer-Encoding: there is none.
    #[default]
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}
