//! What the last head has in common with the next, byte by byte: that need not be read again. Compares,
//! and finds nothing itself.
//!
//! Clients repeat themselves, and comparing is an order of magnitude cheaper than reading. It is a
//! worker's last head, whoever has sent it: the same bytes mean the same, wherever they come from. A
//! request line and a section both are recalled as a whole only, with the line ends that complete them.

use super::Head;
use crate::limits::Limits;

impl Head {
    /// Whether all is here that was found in a head that was read under these limits.
    #[inline]
    pub(crate) fn was_read_under(&self, limits: &Limits) -> bool {
        self.read_under.as_ref() == Some(limits)
    }

    /// Where the fields begin, if `input` begins with the request line of the last head.
    #[inline]
    pub(crate) fn same_line(&self, input: &[u8]) -> Option<usize> {
        let len = self.line.len();
        let same = input.get(..len)? == self.line && input.get(len..len + 2)? == b"\r\n";
        same.then_some(len + 2)
    }

    /// Where the section ends, if `input` begins with that of the last head and it is at most this
    /// long.
    #[inline]
    pub(crate) fn same_section(&self, input: &[u8], most: usize) -> Option<usize> {
        let len = self.section.len();
        (len <= most && input.get(..len)? == self.section).then_some(len)
    }
}
