//! The head of a request: one copy of its bytes, spans into it, and the facts that follow from it.
//!
//! May call httparse, and the checks of target and fields that httparse leaves to us. Never reads
//! beyond the empty line that ends the head, and never hands out a head that was not checked whole.

use crate::{
    framing::{Framing, Gathered},
    initials::Initials,
    kinds::{BodyLength, TargetForm, Version},
    limits::Limits,
    reject::Reject,
    target::{self, Target, offset},
};
use http::StatusCode;
use httparse::{Request, Status};
use std::{mem::MaybeUninit, ops::Range};

mod retain;

/// One field line: where its name and its value are in the bytes of the head.
#[derive(Clone, Copy, Debug)]
struct Span {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
}

/// One request head.
///
/// Reusable: the [`Reader`](crate::Reader) refills it, without allocating once it has grown to the
/// size of the heads that come. What it holds was checked as a whole: there is no half valid head.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Request line to empty line, as received.
    raw: Vec<u8>,
    /// The request line once more, as text.
    line: String,
    method_len: usize,
    target: Target,
    version: Version,
    spans: Vec<Span>,
    framing: Framing,
    initials: Initials,
}

/// Length of ` HTTP/1.x`.
const VERSION_LEN: usize = 9;
/// As many fields as fit on the stack; beyond it a head costs an allocation.
const FIELDS_ON_STACK: usize = 100;

impl Head {
    /// An empty head, to be filled by a reader. It answers like a request of no method.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the request and keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.line.clear();
        self.spans.clear();
        self.method_len = 0;
        self.target = Target::default();
        self.version = Version::default();
        self.framing = Framing::default();
        self.initials = Initials::default();
    }

    /// Fills this head from the front of `input`, and returns its length; `None` while its end is
    /// not there, or beyond the limit of heads. `input` begins with the first byte of the method.
    ///
    /// Accepts exactly the heads that also pass the byte by byte rules of the reader's scan (line
    /// ends, limits); which reject an unacceptable one deserves is for the reader to find out, in
    /// the order of the bytes, so that it does not depend on how they arrived.
    pub(crate) fn fill(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Reject> {
        self.clear();
        let input = &input[..input.len().min(limits.longest_head())];
        let most = limits.most_fields();
        let mut stack = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let mut request = Request::new(&mut []);
        let parsed =
            request.parse_with_uninit_headers(input, &mut stack[..most.min(FIELDS_ON_STACK)]);
        match parsed {
            Ok(Status::Complete(len)) => {
                let version = if request.version == Some(0) {
                    Version::Http10
                } else {
                    Version::Http11
                };
                self.take(&input[..len], &request, version, limits)?;
                Ok(Some(len))
            }
            Ok(Status::Partial) => Ok(None),
            Err(error) => self.fill_unusual(input, error, limits),
        }
    }

    /// What httparse refused: more fields than fit on the stack, a higher minor version, an error.
    #[cold]
    fn fill_unusual(
        &mut self,
        input: &[u8],
        error: httparse::Error,
        limits: &Limits,
    ) -> Result<Option<usize>, Reject> {
        let line_len = memchr::memchr(b'\n', input).unwrap_or(input.len());
        let line = &input[..line_len];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let version = target::check_request_line(line)?;
        let reject = match error {
            httparse::Error::TooManyHeaders => too_many_fields(),
            httparse::Error::HeaderName => Reject::bad("field name is invalid"), // RFC 9112 §5.1
            httparse::Error::HeaderValue => Reject::bad("field value is invalid"), // RFC 9110 §5.5
            _ => Reject::bad("head is malformed"),
        };
        let many =
            error == httparse::Error::TooManyHeaders && limits.most_fields() > FIELDS_ON_STACK;
        let minor = error == httparse::Error::Version;
        if !many && !minor {
            return Err(reject);
        }
        let mut copy = input.to_vec();
        if let Some(digit) = line_len
            .checked_sub(2)
            .and_then(|at| copy.get_mut(at))
            .filter(|_| minor)
        {
            *digit = b'1';
        }
        let lines = memchr::memchr_iter(b'\n', input).count();
        let mut fields = vec![httparse::EMPTY_HEADER; lines.min(limits.most_fields())];
        let mut request = Request::new(&mut fields);
        match request.parse(&copy) {
            Ok(Status::Complete(len)) => {
                self.take(&copy[..len], &request, version, limits)?;
                // As received, not as patched.
                self.raw.copy_from_slice(&input[..len]);
                self.line.clear();
                self.line
                    .push_str(std::str::from_utf8(line).unwrap_or_default());
                Ok(Some(len))
            }
            Ok(Status::Partial) => Ok(None),
            Err(httparse::Error::TooManyHeaders) => Err(too_many_fields()),
            Err(_) => Err(Reject::bad("field line is malformed")),
        }
    }

    /// Takes a parsed head over, after the checks that httparse does not make.
    #[inline]
    fn take(
        &mut self,
        bytes: &[u8],
        request: &Request<'_, '_>,
        version: Version,
        limits: &Limits,
    ) -> Result<(), Reject> {
        let (method, target) = (
            request.method.unwrap_or_default(),
            request.path.unwrap_or_default(),
        );
        let parsed = target::parse(method, target.as_bytes())?;
        let start = bytes.as_ptr() as usize;
        self.spans.extend(request.headers.iter().map(|field| Span {
            name: offset(field.name.as_ptr() as usize - start),
            name_len: offset(field.name.len()),
            value: offset(field.value.as_ptr() as usize - start),
            value_len: offset(field.value.len()),
        }));
        // Each line begins where the line before it ended; that one ended with CRLF, or httparse
        // let a bare LF pass (RFC 9112 §2.2 permits it; two parsers could read it in two ways).
        let (mut line, mut longest) = (0, limits.longest_request_line() + 2);
        let longest_field = limits.longest_field();
        let mut gathered = Gathered::default();
        let mut initials = Initials::default();
        for (index, field) in request.headers.iter().enumerate() {
            let end = field.name.as_ptr() as usize - start;
            check_line(bytes, line, end, longest)?;
            (line, longest) = (end, longest_field);
            initials.add(field.name);
            if Gathered::is_relevant(field.name) {
                gathered.note(offset(index), field.name, field.value)?;
            }
        }
        check_line(bytes, line, bytes.len().saturating_sub(2), longest)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(bare_lf());
        }
        let fields = request.headers.first();
        let fields = fields.map_or(bytes.len(), |field| field.name.as_ptr() as usize - start);
        if memchr::memchr(b'_', &bytes[fields..]).is_some() {
            initials.add_underscores(request.headers);
        }
        self.initials = initials;
        self.framing = gathered.decide(version, method, parsed.form, limits)?;
        self.method_len = method.len();
        self.target = parsed;
        self.version = version;
        self.raw.extend_from_slice(bytes);
        self.line.push_str(method);
        self.line.push(' ');
        self.line.push_str(target);
        self.line.push_str(if version == Version::Http10 {
            " HTTP/1.0"
        } else {
            " HTTP/1.1"
        });
        Ok(())
    }

    /// The method, a token, in the case it was received in (RFC 9110 §9.1: methods are
    /// case-sensitive). Any token may come; which methods there are is for the handler to know.
    pub fn method(&self) -> &str {
        self.line.get(..self.method_len).unwrap_or_default()
    }

    /// The method as the type of the `http` crate; no allocation for the standard ones.
    pub fn http_method(&self) -> http::Method {
        // A method is a token, so this cannot fail but for the empty head.
        http::Method::from_bytes(self.method().as_bytes()).unwrap_or_default()
    }

    /// The request target, as received.
    pub fn target(&self) -> &str {
        let line = self.method_and_target();
        line.get(self.method_len + 1..).unwrap_or_default()
    }

    /// Method and target, with a blank between them: the request line without its version.
    pub fn method_and_target(&self) -> &str {
        let end = self.line.len().saturating_sub(VERSION_LEN);
        self.line.get(..end).unwrap_or_default()
    }

    /// The form of the target.
    pub fn form(&self) -> TargetForm {
        self.target.form
    }

    /// The path of an origin-form or absolute-form target, not decoded; `*` for asterisk-form, and
    /// empty for authority-form.
    ///
    /// An absolute-form target without a path has `/`, and `*` when the method is OPTIONS (RFC 9110
    /// §4.2.3, RFC 9112 §3.2.4).
    pub fn path(&self) -> &str {
        let path = self.part(&self.target.path);
        match self.target.form {
            TargetForm::Absolute if path.is_empty() => {
                if self.method() == "OPTIONS" && self.target.query.is_none() {
                    "*"
                } else {
                    "/"
                }
            }
            _ => path,
        }
    }

    /// The query, not decoded, without its `?`; empty when nothing follows the `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.query.as_ref().map(|query| self.part(query))
    }

    /// The authority of the target URI, not normalised: of an absolute-form or authority-form
    /// target, else of Host (RFC 9112 §3.2.2, §3.3). `None` when that is missing or empty.
    pub fn authority(&self) -> Option<&str> {
        match &self.target.authority {
            Some(authority) => Some(self.part(authority)),
            None => self
                .text(self.framing.host?)
                .filter(|host| !host.is_empty()),
        }
    }

    /// Whether an absolute-form target said `https`. Whether it is for us, who knows the scheme of
    /// the connection decides (RFC 9110 §7.4).
    pub fn is_https_target(&self) -> bool {
        self.target.https
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields as received, in order, but for those that were removed.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            head: self,
            next: 0,
        }
    }

    /// The value of the first field of this name, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let same = |span: &&Span| {
            span.name_len as usize == name.len()
                && self
                    .bytes(span.name, span.name_len)
                    .eq_ignore_ascii_case(name.as_bytes())
        };
        self.spans
            .iter()
            .find(same)
            .map(|span| self.bytes(span.value, span.value_len))
    }

    /// With which letters the names of the fields as received begin.
    #[inline]
    pub fn initials(&self) -> Initials {
        self.initials
    }

    /// How the content is delimited.
    pub fn body(&self) -> BodyLength {
        self.framing.body
    }

    /// Whether the client wishes the connection to persist (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.framing.keep_alive
    }

    /// Whether the client waits for 100 (Continue) before it sends the content (RFC 9110 §10.1.1).
    /// Never for HTTP/1.0, never without content.
    pub fn expects_continue(&self) -> bool {
        self.framing.expects_continue
    }

    /// The Upgrade field, where Connection lists `upgrade`; HTTP/1.1 only (RFC 9110 §7.8).
    pub fn upgrade(&self) -> Option<&str> {
        self.text(self.framing.upgrade?)
    }

    /// The request line as received, without its CRLF.
    pub fn request_line(&self) -> &str {
        &self.line
    }

    /// The head as received, from the method to the final empty line, with what [`Head::retain`]
    /// removed from the fields.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    fn part(&self, part: &Range<u32>) -> &str {
        self.target()
            .get(part.start as usize..part.end as usize)
            .unwrap_or_default()
    }

    fn bytes(&self, at: u32, len: u32) -> &[u8] {
        self.raw
            .get(at as usize..at as usize + len as usize)
            .unwrap_or_default()
    }

    /// The value of the field of this index, where it is text.
    fn text(&self, index: u32) -> Option<&str> {
        let span = self.spans.get(index as usize)?;
        std::str::from_utf8(self.bytes(span.value, span.value_len)).ok()
    }
}

/// Checks that the line of `bytes` from `start` to `end` ends with CRLF and is not longer than this,
/// CRLF included.
#[inline]
fn check_line(bytes: &[u8], start: usize, end: usize, longest: usize) -> Result<(), Reject> {
    if !bytes[..end].ends_with(b"\r\n") {
        Err(bare_lf())
    } else if end - start > longest {
        // Which limit it was, and so which status, the reader's scan finds out.
        Err(Reject::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "line is too long",
        ))
    } else {
        Ok(())
    }
}

/// RFC 9112 §2.2: a recipient MAY take a single LF for a line end, and we do not.
pub(crate) fn bare_lf() -> Reject {
    Reject::bad("line ends without CR")
}

/// RFC 6585 §5.
pub(crate) fn too_many_fields() -> Reject {
    Reject::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "too many fields",
    )
}

/// The fields of a head, as received, in order: name, and value without the white space around it.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    head: &'a Head,
    next: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.head.spans.get(self.next)?;
        self.next += 1;
        let name =
            std::str::from_utf8(self.head.bytes(span.name, span.name_len)).unwrap_or_default();
        Some((name, self.head.bytes(span.value, span.value_len)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.head.spans.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
