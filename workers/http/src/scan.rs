//! Where a head ends, found line by line as it arrives. Looks at line ends, limits and the first
//! byte only; what the lines say is read when the head is whole.

use crate::{
    head::{bare_lf, too_many_fields},
    limits::Limits,
    reject::Reject,
    syntax::{self, TCHAR},
    target,
};
use http::StatusCode;

/// How far a head has been searched for its end. No byte is searched twice.
///
/// Everything here is a function of the bytes up to the one that decides, in their order, so a
/// head is refused for the same reason however it is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// An empty line in front was dropped.
    pub(crate) dropped: bool,
    /// Offset up to which the input was searched.
    searched: usize,
    /// Offset of the line that is not complete yet; 0 is the request line.
    line: usize,
    /// Field lines so far.
    fields: usize,
    /// The request line was complete, and checked.
    checked: bool,
}

/// What stands in front of a head.
pub(crate) enum Front {
    /// Too little to say.
    NeedMore,
    /// An empty line: drop two bytes.
    EmptyLine,
    /// The first byte of a method.
    Method,
}

impl Scan {
    /// Whether no byte of a head was searched yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Looks at the first bytes of a fresh input.
    ///
    /// One CRLF before the request line is ignored, for the clients that send one after the content
    /// of a POST (RFC 9112 §2.2); a second one is not. What cannot begin a method is refused at
    /// its first byte, so that TLS, or a stray LF, is not waited for.
    pub(crate) fn front(&self, input: &[u8]) -> Result<Front, Reject> {
        match input {
            [] => Ok(Front::NeedMore),
            [b'\r'] if !self.dropped => Ok(Front::NeedMore),
            [b'\r', b'\n', ..] if !self.dropped => Ok(Front::EmptyLine),
            [first, ..] if syntax::is(*first, TCHAR) => Ok(Front::Method),
            _ => Err(Reject::bad("request does not begin with a method")),
        }
    }

    /// Searches what is new in `input`, which begins with the method, and returns the offset behind
    /// the empty line once it is there.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, Reject> {
        let found = self.search(input, limits);
        if !matches!(found, Ok(Some(_))) && self.line > 0 && !self.checked {
            // The request line is whole and the head is not, or never will be: an error up here
            // came first, and need not wait for the rest.
            self.checked = true;
            let end = memchr::memchr(b'\n', input).map_or(input.len(), |lf| lf - 1);
            target::check_request_line(&input[..end])?;
        }
        found
    }

    fn search(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Reject> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.searched..]) {
            let lf = self.searched + found;
            self.check_length(lf, limits)?;
            if lf == self.line || input[lf - 1] != b'\r' {
                return Err(bare_lf());
            }
            if self.line > 0 {
                if lf - self.line == 1 {
                    return Ok(Some(lf + 1));
                }
                self.fields += 1;
                if self.fields > limits.most_fields() {
                    return Err(too_many_fields());
                }
            }
            self.line = lf + 1;
            self.searched = self.line;
        }
        self.searched = input.len();
        self.check_length(input.len(), limits)?;
        Ok(None)
    }

    /// Checks the line in progress against its limits: no LF stands before `end`. The LF itself, and
    /// the CR before it, are still to come or stand at `end`; a line is measured the same either way.
    fn check_length(&self, end: usize, limits: &Limits) -> Result<(), Reject> {
        if self.line == 0 {
            // At least `end - 1` bytes besides CRLF.
            if end > limits.longest_request_line() + 1 || end >= limits.longest_head() {
                return Err(Reject::new(
                    StatusCode::URI_TOO_LONG,
                    "request line is too long",
                )); // RFC 9112 §3
            }
        } else if end >= (self.line + limits.longest_field()).min(limits.longest_head()) {
            let field_first = self.line + limits.longest_field() <= limits.longest_head();
            let reason = if field_first {
                "field line is too long"
            } else {
                "head is too long"
            };
            return Err(Reject::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                reason,
            )); // RFC 6585 §5
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_searched_twice() {
        let text = b"GET / HTTP/1.1\r\nHost: h\r\nA: 0123456789\r\n\r\n";
        let (mut scan, limits) = (Scan::default(), Limits::default());
        for end in 1..text.len() {
            assert_eq!(scan.advance(&text[..end], &limits), Ok(None));
            assert_eq!(scan.searched, end);
        }
        assert_eq!(scan.advance(text, &limits), Ok(Some(text.len())));
    }
}
