//! The head of a request: one copy of its bytes, where the fields are in it, and the facts that follow
//! from it. Reads nothing itself: `head_reader` fills it.

use crate::{
    field_lines::Field,
    framing::Framing,
    initials::Initials,
    kinds::{BodyLength, TargetForm, Version},
    limits::{HeadLimits, Limits},
    request_line::Parts,
    target::Target,
};
use std::ops::Range;

mod recall;
mod retain;

use recall::Last;

/// One request head.
///
/// Reusable: the [`Reader`](crate::Reader) refills it, without allocating once it has grown to the
/// size of the heads that come. What it holds when the reader says that it is complete was checked
/// as a whole.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The request line, the field lines and the empty line, as received; of a head that is not
    /// complete, the request line with its CRLF.
    bytes: Vec<u8>,
    /// Length of the request line without its CRLF.
    line_len: usize,
    method_len: usize,
    decisive: Decisive,
    target: Target,
    version: Version,
    /// Where each field is in the section.
    spans: Vec<Field>,
    framing: Framing,
    initials: Initials,
    /// The limits under which the section was read, while all that was found in it is here and
    /// nothing was taken out: see `recall`.
    read_under: Option<HeadLimits>,
    /// The head before, while this one is read.
    last: Last,
}

/// Methods that decide how a response is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Decisive {
    Head,
    Connect,
    /// Any other does not.
    #[default]
    No,
}

/// Length of ` HTTP/1.x`, and of the end of a line.
const VERSION_LEN: usize = 9;
const CRLF_LEN: usize = 2;

impl Head {
    /// An empty head, to be filled by a reader. It answers like a request of no method.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the request and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.line_len = 0;
        self.method_len = 0;
        self.decisive = Decisive::No;
        self.target = Target::default();
        self.version = Version::default();
        self.forget_fields();
    }

    /// Forgets all but the request line.
    pub(crate) fn forget_fields(&mut self) {
        self.spans.clear();
        self.bytes.truncate(self.line_len + CRLF_LEN);
        self.framing = Framing::default();
        self.initials = Initials::default();
        self.read_under = None;
    }

    /// Takes a request line over, which was checked and is given with its CRLF; nothing is left of the
    /// fields of the last head, but that their lines are recalled that come again.
    pub(crate) fn begin(&mut self, line: &[u8], parts: Parts, target: Target, limits: &Limits) {
        self.begin_again(limits);
        self.set_line(line, parts, target);
        self.bytes.clear();
        self.bytes.extend_from_slice(line);
    }

    #[inline]
    fn set_line(&mut self, line: &[u8], parts: Parts, target: Target) {
        self.line_len = line.len() - CRLF_LEN;
        self.method_len = parts.method_end;
        self.decisive = match &line[..parts.method_end] {
            b"HEAD" => Decisive::Head,
            b"CONNECT" => Decisive::Connect,
            _ => Decisive::No,
        };
        self.target = target;
        self.version = parts.version;
    }

    /// Takes note of the next field, of this name.
    #[inline]
    pub(crate) fn push(&mut self, field: Field, name: &[u8]) {
        self.initials.add(name);
        self.spans.push(field);
    }

    /// Takes over the section in which the fields are, and what follows from them.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        section: &[u8],
        framing: Framing,
        underscores: bool,
        limits: &Limits,
    ) {
        self.bytes.extend_from_slice(section);
        self.framing = framing;
        if underscores {
            self.initials = self.initials | Initials::UNDERSCORE;
        }
        self.read_under = Some(limits.of_head());
    }

    /// What there is of a head that is not complete, to go on with later; leaves an empty one.
    pub(crate) fn take(&mut self) -> Self {
        let mut part = std::mem::take(self);
        // As large as the largest head so far, and not needed before the end, or not at all.
        part.bytes.shrink_to_fit();
        part.last = Last::default();
        part
    }

    /// The method, a token, in the case it was received in (RFC 9110 §9.1: methods are
    /// case-sensitive). Any token may come; which methods there are is for the handler to know.
    pub fn method(&self) -> &str {
        text(self.method_bytes())
    }

    pub(crate) fn method_bytes(&self) -> &[u8] {
        self.bytes.get(..self.method_len).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn decisive(&self) -> Decisive {
        self.decisive
    }

    /// The field lines and the empty line.
    #[inline]
    fn section(&self) -> &[u8] {
        self.bytes
            .get(self.line_len + CRLF_LEN..)
            .unwrap_or_default()
    }

    /// The method as the type of the `http` crate; no allocation for the standard ones.
    pub fn http_method(&self) -> http::Method {
        // A method is a token, so this cannot fail but for the empty head.
        http::Method::from_bytes(self.method_bytes()).unwrap_or_default()
    }

    /// The request target, as received.
    pub fn target(&self) -> &str {
        text(self.target_bytes())
    }

    fn target_bytes(&self) -> &[u8] {
        let line = self.method_and_target();
        line.get(self.method_len + 1..).unwrap_or_default()
    }

    /// Method and target, with a blank between them: the request line without its version.
    /// They are ASCII.
    pub fn method_and_target(&self) -> &[u8] {
        let end = self.line_len.saturating_sub(VERSION_LEN);
        self.bytes.get(..end).unwrap_or_default()
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
                if self.method_bytes() == b"OPTIONS" && self.target.query.is_none() {
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

    /// Whether an absolute-form target said `https`. Only a secure reader lets one pass.
    pub fn is_https_target(&self) -> bool {
        self.target.https
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The fields as received, in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            head: self,
            next: 0,
        }
    }

    /// The value of the first field of this name, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let section = self.section();
        let name = name.as_bytes();
        let same = |span: &&Field| span.name(section).eq_ignore_ascii_case(name);
        self.spans.iter().find(same).map(|span| span.value(section))
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
        text(self.bytes.get(..self.line_len).unwrap_or_default())
    }

    fn part(&self, part: &Range<u32>) -> &str {
        let part = part.start as usize..part.end as usize;
        text(self.target_bytes().get(part).unwrap_or_default())
    }

    /// The value of the field of this index, where it is text.
    fn text(&self, index: u32) -> Option<&str> {
        let span = self.spans.get(index as usize)?;
        std::str::from_utf8(span.value(self.section())).ok()
    }
}

/// What was checked to be ASCII, as text.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
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
        let section = self.head.section();
        Some((text(span.name(section)), span.value(section)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.head.spans.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
