//! What the last head has in common with the next, byte by byte: that need not be read again. Compares,
//! and finds nothing itself.
//!
//! Clients repeat themselves, and comparing is an order of magnitude cheaper than reading. It is a
//! worker's last head, whoever has sent it: the same bytes mean the same, wherever they come from. A
//! request line and a section both are recalled as a whole only, with the line ends that complete them.

use super::{CRLF_LEN, Head};
use crate::{limits::Limits, request_line::Parts, target::Target};

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

    /// Whether all is here that was found in a head that was read under these limits.
    #[inline]
    fn was_read_under(&self, limits: &Limits) -> bool {
        self.read_under.as_ref() == Some(limits)
    }
}
