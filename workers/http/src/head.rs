//! The head of a request: one copy of its bytes, spans into it, and the facts derived from it.

use crate::reject::Reject;

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

/// One request head. Reusable: the reader refills it without allocating in steady state.
#[derive(Debug, Default, Clone)]
pub struct Head {
    raw: Vec<u8>,
    line: String,
    spans: Vec<u32>,
}

impl Head {
    /// An empty head, to be filled by the reader.
    pub fn new() -> Self {
        Self::default()
    }
    /// Forgets the request, keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
    }
    /// By hand.
    pub fn build<N: AsRef<str>, V: AsRef<[u8]>>(
        method: &str,
        target: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Reject> {
        let _ = (method, target, fields.into_iter().count());
        Err(Reject::bad("not built yet"))
    }
    /// The method, as received.
    pub fn method(&self) -> &str {
        ""
    }
    /// The method as a type of the `http` crate.
    pub fn http_method(&self) -> http::Method {
        http::Method::GET
    }
    /// The request target, as received.
    pub fn target(&self) -> &str {
        ""
    }
    /// The form of the target.
    pub fn form(&self) -> TargetForm {
        TargetForm::Origin
    }
    /// The path.
    pub fn path(&self) -> &str {
        "/"
    }
    /// The query, without the `?`.
    pub fn query(&self) -> Option<&str> {
        None
    }
    /// The authority of the target URI.
    pub fn authority(&self) -> Option<&str> {
        None
    }
    /// The version.
    pub fn version(&self) -> Version {
        Version::Http11
    }
    /// The fields as received, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            head: self,
            next: 0,
        }
    }
    /// The first field of this name, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }
    /// How the content is delimited.
    pub fn body(&self) -> BodyLength {
        BodyLength::None
    }
    /// Whether the client wishes the connection to persist (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        true
    }
    /// Whether the client waits for 100 (Continue) (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        false
    }
    /// The Upgrade field, where Connection lists `upgrade`, HTTP/1.1 only (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<&str> {
        None
    }
    /// The request line as received, without its CRLF.
    pub fn request_line(&self) -> &str {
        &self.line
    }
    /// The bytes of the head as received, the final empty line included.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

/// The fields of a head, as received, in order: name, value without surrounding whitespace.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    head: &'a Head,
    next: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.head.spans.get(self.next);
        None
    }
}
