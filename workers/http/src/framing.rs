//! What the fields of a head say about the message itself: where its content ends, whether the
//! connection goes on, who is asked. Reads values, keeps no bytes, and decides nothing about the
//! application.

use crate::{
    authority,
    kinds::{BodyLength, TargetForm, Version},
    limits::Limits,
    reject::Reject,
    syntax::{self, NotDecimal},
};
use http::StatusCode;

/// The fields that matter here, gathered one by one in their order.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    host: Option<u32>,
    content_type: bool,
    content_length: Option<Result<u64, NotDecimal>>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: Option<u32>,
    expect: Expect,
}

/// What Transfer-Encoding says, over all of its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    /// `chunked`, and nothing else.
    Chunked,
    /// Other codings, `chunked` not yet among them.
    Unknown,
    /// Other codings, then `chunked`: delimited, but nothing we can decode.
    UnknownThenChunked,
    /// Anything in which somebody could see, or not see, `chunked`.
    Invalid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    None,
    Continue,
    Other,
}

/// What follows from a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Which field is Host.
    pub(crate) host: Option<u32>,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    /// Which field is Upgrade, where it counts.
    pub(crate) upgrade: Option<u32>,
}

/// Whether a name is this one (RFC 9110 §5.1: in any case of letters); cheaper for the usual spelling.
#[inline]
fn same(name: &[u8], usual: &[u8]) -> bool {
    name == usual || name.eq_ignore_ascii_case(usual)
}

/// The bit of this letter in a set of letters.
const fn letter(letter: u8) -> u32 {
    1 << (letter & 31)
}

impl Gathered {
    /// Whether a field of this name may be one of ours, by length and first letter: most are not.
    #[inline]
    pub(crate) fn is_relevant(name: &[u8]) -> bool {
        const LENGTHS: u32 = 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 12 | 1 << 14 | 1 << 17;
        // Of a letter in either case the low five bits are its place in the alphabet.
        const LETTERS: u32 =
            letter(b'c') | letter(b'e') | letter(b'h') | letter(b't') | letter(b'u');
        match name {
            [first, ..] if name.len() < 32 => {
                (LENGTHS >> name.len()) & (LETTERS >> (first & 31)) & 1 == 1
            }
            _ => false,
        }
    }

    /// Looks at one field. By length and first letter most are told apart.
    #[inline(never)] // or the loop over the lines would set out with all of its constants
    pub(crate) fn note(&mut self, index: u32, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        match (name.len(), name.first().map_or(0, |first| first | 0x20)) {
            (4, b'h') if same(name, b"Host") => self.note_host(index, value),
            (6, b'e') if same(name, b"Expect") => {
                self.note_expect(value);
                Ok(())
            }
            (7, b'u') if same(name, b"Upgrade") => {
                self.upgrade.get_or_insert(index);
                Ok(())
            }
            (10, b'c') if same(name, b"Connection") => {
                self.note_connection(value);
                Ok(())
            }
            (12, b'c') if same(name, b"Content-Type") => {
                // A singleton field that comes twice has two readings (RFC 9110 §5.3, §8.3), and
                // multipart boundaries make this one security relevant.
                match std::mem::replace(&mut self.content_type, true) {
                    true => Err(Reject::bad("more than one Content-Type")),
                    false => Ok(()),
                }
            }
            (14, b'c') if same(name, b"Content-Length") => self.note_length(value),
            (17, b't') if same(name, b"Transfer-Encoding") => {
                self.note_codings(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 9112 §3.2: more than one Host, or an invalid one, MUST be answered 400.
    fn note_host(&mut self, index: u32, value: &[u8]) -> Result<(), Reject> {
        if self.host.replace(index).is_some() {
            return Err(Reject::bad("more than one Host"));
        }
        match authority::check(value) {
            Some(_) => Ok(()),
            None => Err(Reject::bad("Host is invalid")),
        }
    }

    fn note_expect(&mut self, value: &[u8]) {
        // RFC 9110 §10.1.1: a list; the only member defined is 100-continue.
        for member in syntax::elements(value).filter(|member| !member.is_empty()) {
            if !member.eq_ignore_ascii_case(b"100-continue") {
                self.expect = Expect::Other;
            } else if self.expect == Expect::None {
                self.expect = Expect::Continue;
            }
        }
    }

    /// RFC 9110 §7.6.1; empty elements are ignored (§5.6.1.2).
    fn note_connection(&mut self, value: &[u8]) {
        if value == b"keep-alive" {
            self.keep_alive = true;
            return;
        }
        for option in syntax::elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
    }

    /// RFC 9110 §8.6, RFC 9112 §6.3 (5). The RFC lets a recipient collapse equal values; what is
    /// in front of us may have taken the first or the last of several, so there is one, or 400.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self
            .content_length
            .replace(syntax::decimal(value))
            .is_some()
        {
            return Err(Reject::bad("more than one Content-Length"));
        }
        Ok(())
    }

    /// RFC 9112 §6.1. Lines join to one list (RFC 9110 §5.3). Parameters, quotes, empty elements
    /// and the like make it [`Codings::Invalid`]: the next parser might find `chunked` in there,
    /// or miss it.
    fn note_codings(&mut self, value: &[u8]) {
        for coding in syntax::elements(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.codings = match self.codings {
                _ if !syntax::is_token(coding) => Codings::Invalid,
                Codings::None if chunked => Codings::Chunked,
                Codings::Unknown if chunked => Codings::UnknownThenChunked,
                Codings::None | Codings::Unknown => Codings::Unknown,
                // Chunked twice, or not last: MUST NOT be sent (RFC 9112 §6.1).
                Codings::Chunked | Codings::UnknownThenChunked | Codings::Invalid => {
                    Codings::Invalid
                }
            };
        }
    }

    /// Decides, once all fields are seen.
    pub(crate) fn decide(
        &self,
        version: Version,
        method: &[u8],
        form: TargetForm,
        limits: &Limits,
    ) -> Result<Framing, Reject> {
        // RFC 9112 §3.2: a request of HTTP/1.1 without Host MUST be answered 400, whatever the
        // form of its target.
        if version == Version::Http11 && self.host.is_none() {
            return Err(Reject::bad("Host is missing"));
        }
        let body = self.body(version, limits)?;
        let content = !matches!(body, BodyLength::None | BodyLength::Length(0));
        // RFC 9110 §9.3.6 and §9.3.8: content of CONNECT has no meaning, and for some parsers it
        // is the first bytes of the tunnel; a TRACE MUST NOT have any.
        if content && (form == TargetForm::Authority || method == b"TRACE") {
            return Err(Reject::bad("content in a CONNECT or TRACE request"));
        }
        let http11 = version == Version::Http11;
        if http11 && self.expect == Expect::Other {
            // RFC 9110 §10.1.1. An expectation in HTTP/1.0 is ignored, as that page demands.
            return Err(Reject::new(
                StatusCode::EXPECTATION_FAILED,
                "expectation other than 100-continue",
            ));
        }
        Ok(Framing {
            host: self.host,
            body,
            // RFC 9112 §9.3, in the order of its list. Proxy-Connection has no part in it.
            keep_alive: !self.close && (http11 || self.keep_alive),
            expects_continue: http11 && content && self.expect == Expect::Continue,
            // RFC 9110 §7.8: ignored in HTTP/1.0, and without the connection option.
            upgrade: if http11 && self.connection_upgrade {
                self.upgrade
            } else {
                None
            },
        })
    }

    /// RFC 9112 §6.3, with every "MAY be read as" turned into 400.
    fn body(&self, version: Version, limits: &Limits) -> Result<BodyLength, Reject> {
        match (self.codings, self.content_length) {
            (Codings::None, None) => Ok(BodyLength::None),
            (Codings::None, Some(Ok(length))) if length <= limits.largest_body() => {
                Ok(BodyLength::Length(length))
            }
            // RFC 9110 §15.5.14; no number is too large to be read (§8.6).
            (Codings::None, Some(Ok(_) | Err(NotDecimal::Overflow))) => Err(Reject::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Content-Length is over the limit",
            )),
            // RFC 9112 §6.3 (5): MUST be 400.
            (Codings::None, Some(Err(NotDecimal::Syntax))) => {
                Err(Reject::bad("Content-Length is not a number"))
            }
            // RFC 9112 §6.1: a server MAY reject, and smuggling is what the alternative feeds.
            (_, Some(_)) => Err(Reject::bad(
                "Transfer-Encoding together with Content-Length",
            )),
            // RFC 9112 §6.1: MUST treat as faulty framing.
            (_, None) if version == Version::Http10 => {
                Err(Reject::bad("Transfer-Encoding in HTTP/1.0"))
            }
            (Codings::Chunked, None) => Ok(BodyLength::Chunked),
            // RFC 9112 §6.1: a coding that is not understood SHOULD be answered 501.
            (Codings::UnknownThenChunked, None) => Err(Reject::new(
                StatusCode::NOT_IMPLEMENTED,
                "transfer coding is unknown",
            )),
            // RFC 9112 §6.3 (4): chunked is not the final coding, MUST be 400.
            (Codings::Unknown, None) => Err(Reject::bad("last transfer coding is not chunked")),
            // RFC 9112 §7: no list of transfer codings, or one that MUST NOT be sent (§6.1).
            (Codings::Invalid, None) => Err(Reject::bad("Transfer-Encoding is malformed")),
        }
    }
}
