//! A request head being read: request line, field lines, end (RFC 9112 §2.1). Fills a [`Head`] line
//! by line; the syntax of the lines is in `request_line` and `field_lines`.

use crate::{
    field_lines::{Bounds, Field, FieldLines, Taker, offset},
    framing::Gathered,
    head::Head,
    limits::Limits,
    reject::Reject,
    request_line::RequestLine,
    target,
};

/// A head being read.
///
/// There is one road, whichever way the bytes arrive: each is looked at once (those of the version
/// ten times at most), and a line is taken for good when it is complete. So why a head is refused,
/// and at which byte, does not depend on how it was cut.
#[derive(Debug)]
pub(crate) enum HeadReader {
    /// In the request line.
    RequestLine(RequestLine),
    /// Behind it.
    Fields {
        /// Offset of the first field line.
        start: usize,
        lines: FieldLines,
        /// What the complete ones say.
        gathered: Gathered,
    },
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::RequestLine(RequestLine::default())
    }
}

impl HeadReader {
    /// Whether the head that is being read has no request line yet.
    pub(crate) fn is_in_request_line(&self) -> bool {
        matches!(self, Self::RequestLine(_))
    }

    /// Goes on, and returns the length of the head once that is complete. `input` begins with the
    /// method, and `head` is the same one from call to call. At first it is the last head, which this
    /// is not ([`Head::same_head`]), or an empty one; until the request line is complete it is to be
    /// cleared.
    ///
    /// When the head is refused, `head` has the lines before the one that is at fault.
    pub(crate) fn next(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, Reject> {
        loop {
            match self {
                Self::RequestLine(line) => {
                    let start = match head.same_line(input, limits) {
                        Some(start) => {
                            head.begin_again(limits);
                            start
                        }
                        None => {
                            let bound = limits.longest_request_line() + 2;
                            let bound = bound.min(limits.longest_head());
                            let Some(parts) = line.next(input, bound)? else {
                                return Ok(None);
                            };
                            let method = &input[..parts.method_end];
                            let target = &input[parts.method_end + 1..parts.target_end];
                            let target = target::parse(method, target)?;
                            if let Some(end) = head.renew_line(input, parts, &target, limits) {
                                return Ok(Some(end));
                            }
                            let start = parts.line_len() + 2;
                            head.begin(&input[..start], parts, target, limits);
                            start
                        }
                    };
                    *self = Self::Fields {
                        start,
                        lines: FieldLines::default(),
                        gathered: Gathered::default(),
                    };
                }
                Self::Fields {
                    start,
                    lines,
                    gathered,
                } => {
                    let section = input.get(*start..).unwrap_or_default();
                    let end = fields(section, *start, lines, gathered, limits, head)?;
                    return Ok(end.map(|end| *start + end));
                }
            }
        }
    }
}

/// Reads the field lines, which begin behind so many bytes of the head, and returns where they end.
fn fields(
    section: &[u8],
    start: usize,
    lines: &mut FieldLines,
    gathered: &mut Gathered,
    limits: &Limits,
    head: &mut Head,
) -> Result<Option<usize>, Reject> {
    let bounds = Bounds::new(limits, limits.longest_head().saturating_sub(start));
    let mut taking = Taking {
        section,
        gathered,
        head,
    };
    let end = lines.read(section, bounds, &mut taking)?;
    let Some(end) = end else { return Ok(None) };
    let (method, form) = (head.method_bytes(), head.form());
    let framing = gathered.decide(head.version(), method, form, limits)?;
    head.complete(&section[..end], framing, lines.underscores(), limits);
    Ok(Some(end))
}

/// Puts the fields of a section into a head.
struct Taking<'a> {
    section: &'a [u8],
    gathered: &'a mut Gathered,
    head: &'a mut Head,
}

impl Taker for Taking<'_> {
    #[inline(always)]
    fn take(&mut self, field: Field) -> Result<(), Reject> {
        let (index, name) = (self.head.fields().len(), field.name(self.section));
        if Gathered::is_relevant(name) {
            let value = field.value(self.section);
            self.gathered.note(offset(index), name, value)?;
        }
        self.head.push(field, name);
        Ok(())
    }

    #[inline(always)]
    fn recall(&self, section: &[u8], line: usize) -> Option<(Field, usize)> {
        self.head.recall_line(section, line)
    }
}
