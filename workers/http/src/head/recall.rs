//! What the last head has in common with the next, byte by byte: that need not be read again. Compares,
//! and finds nothing itself.
//!
//! Clients repeat themselves, and comparing is an order of magnitude cheaper than reading. It is a
//! worker's last head, whoever has sent it: the same bytes mean the same, wherever they come from. A
//! head is recalled as a whole; else its request line, or its section, and of a section that is not
//! the same the lines that are, each at its own place among them. All with the line ends that complete
//! them.

use super::{CRLF_LEN, Head};
use crate::{
    field_lines::Field, initials::Initials, limits::Limits, request_line::Parts, target::Target,
};

/// The section of the head before, while one is read that has another.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    bytes: Vec<u8>,
    /// Where the section begins.
    start: usize,
    /// Where the fields are in it; none where their lines may not be recalled.
    spans: Vec<Field>,
}

impl Head {
    /// The length of this head, if `input` begins with it and reading that under these limits would
    /// find what is here.
    #[inline]
    pub(crate) fn same_head(&self, input: &[u8], limits: &Limits) -> Option<usize> {
        let len = self.bytes.len();
        let same = self.was_read_under(limits) && input.get(..len)? == self.bytes;
        same.then_some(len)
    }

    /// Where the fields begin, if `input` begins with the request line of this head, and that would be
    /// read as it was.
    #[inline]
    pub(crate) fn same_line(&self, input: &[u8], limits: &Limits) -> Option<usize> {
        let line = self.bytes.get(..self.line_len + CRLF_LEN)?;
        let same = self.was_read_under(limits) && input.get(..line.len())? == line;
        same.then_some(line.len())
    }

    /// Takes a head over that begins with this request line and has the fields of this head; its
    /// length, if it is one.
    #[inline]
    pub(crate) fn renew_line(
        &mut self,
        input: &[u8],
        parts: Parts,
        target: &Target,
        limits: &Limits,
    ) -> Option<usize> {
        // What follows from a section follows from these, too (`framing`).
        let alike = self.was_read_under(limits)
            && parts.version == self.version
            && target.form == self.target.form
            && input[..parts.method_end] == *self.method_bytes();
        let start = parts.line_len() + CRLF_LEN;
        let end = start + self.section().len();
        if !alike || end > limits.longest_head() || input.get(start..end)? != self.section() {
            return None;
        }
        self.set_line(&input[..start], parts, target.clone());
        self.bytes.clear();
        self.bytes.extend_from_slice(&input[..end]);
        Some(end)
    }

    /// Puts the fields aside, to recall those whose lines come again under the same limits, and keeps the
    /// request line.
    pub(crate) fn begin_again(&mut self, limits: &Limits) {
        // Of names with `_` it is not known here which they are.
        let known = self.was_read_under(limits) && !self.initials.meets(Initials::UNDERSCORE);
        let last = &mut self.last;
        last.spans.clear();
        if known {
            std::mem::swap(&mut self.bytes, &mut last.bytes);
            std::mem::swap(&mut self.spans, &mut last.spans);
            last.start = self.line_len + CRLF_LEN;
            self.bytes.clear();
            self.bytes.extend_from_slice(&last.bytes[..last.start]);
        }
        self.forget_fields();
    }

    /// The next field, if the line that begins at `line` of the section is that of the field that was in
    /// its place; and how long the line is.
    #[inline(always)]
    pub(crate) fn recall_line(&self, section: &[u8], line: usize) -> Option<(Field, usize)> {
        let Last {
            bytes,
            start,
            spans,
        } = &self.last;
        let at = self.spans.len();
        let field = *spans.get(at)?;
        let end = match spans.get(at + 1) {
            Some(next) => start + next.line(),
            None => bytes.len() - CRLF_LEN,
        };
        let known = bytes.get(start + field.line()..end)?;
        let same = section.get(line..line + known.len())? == known;
        same.then(|| (field.at(line), known.len()))
    }

    /// Whether all is here that was found in a head that was read under these limits.
    #[inline]
    fn was_read_under(&self, limits: &Limits) -> bool {
        self.read_under == Some(limits.of_head())
    }
}
