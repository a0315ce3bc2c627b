//! CGI meta-variables (RFC 3875 section 4.1), which all gateway protocols carry: names and values as
//! bytes, in order, in one piece of memory that serves the next request, too. Made of a request by
//! [`Vars::of`], and read back by [`Asked`].

use std::fmt;

use ferricorn_base::Reject;
use ferricorn_base::http::StatusCode;

mod asked;
mod made;

pub(super) use asked::decimal;
pub use asked::{Asked, Content};
pub use made::{Given, decode_path};

/// How much of variables is taken from one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarLimits {
    /// Bytes of names and values, in sum; where the protocol says how long all of them are, that.
    /// Default: 64 KiB.
    pub bytes: usize,
    /// How many. Default: 512.
    pub count: usize,
}

impl Default for VarLimits {
    fn default() -> Self {
        VarLimits {
            bytes: 64 * 1024,
            count: 512,
        }
    }
}

/// A variable that cannot be sent by a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsendable {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Unsendable {
    pub(super) fn new(name: &[u8], reason: &'static str) -> Unsendable {
        let name = String::from_utf8_lossy(name).into_owned();
        Unsendable { name, reason }
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the variable {} {}", self.name, self.reason)
    }
}

impl std::error::Error for Unsendable {}

/// Variables, in order. A name may be there more than once.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    bytes: Vec<u8>,
    /// Where the last variable ends; bytes behind it are of one that is not complete.
    end: usize,
    spans: Vec<Span>,
    /// For sorting; nothing is kept in it.
    order: Vec<usize>,
}

/// Where a variable is: its value stands behind its name.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    name: usize,
    value: usize,
    /// It is to be taken out.
    dropped: bool,
}

impl Span {
    fn name(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..][..self.name]
    }

    fn value(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start + self.name..][..self.value]
    }
}

impl Vars {
    /// None.
    #[must_use]
    pub const fn new() -> Vars {
        Vars {
            bytes: Vec::new(),
            end: 0,
            spans: Vec::new(),
            order: Vec::new(),
        }
    }

    /// Forgets them and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.end = 0;
        self.spans.clear();
    }

    /// Adds one behind the others.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_parts(name.as_ref(), &[value.as_ref()]);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.spans.iter().map(|span| span.name + span.value).sum()
    }

    /// The value of this name: of several, the last, as in php-fpm and uWSGI. (nginx sends a variable
    /// twice that its configuration sets twice, the more particular one last.)
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        let mut named = self.spans.iter().rev();
        let span = named.find(|span| span.name(&self.bytes) == name)?;
        Some(span.value(&self.bytes))
    }

    /// All, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            bytes: &self.bytes,
            spans: self.spans.iter(),
        }
    }

    /// Adds one whose value is in parts.
    fn push_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        self.bytes.extend_from_slice(name);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.close(name.len());
    }

    /// What was appended since the last variable is one whose name is so long.
    fn close(&mut self, name: usize) {
        let (start, end) = (self.end, self.bytes.len());
        let value = end - start - name;
        self.spans.push(Span {
            start,
            name,
            value,
            dropped: false,
        });
        self.end = end;
    }

    /// For codecs: bytes of the variables that are complete.
    pub(super) fn taken(&self) -> usize {
        self.end
    }

    /// For codecs: appends to the variable that is being read.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// For codecs: bytes that were appended to the variable that is being read.
    pub(super) fn pending(&self) -> usize {
        self.bytes.len() - self.end
    }

    /// For codecs: the variable that was being read is complete, and its name is so long.
    ///
    /// # Errors
    /// It has no name, or a NUL in it, at which a C string ends.
    pub(super) fn seal(&mut self, name: usize) -> Result<(), Reject> {
        let sealed = &self.bytes[self.end..];
        if name == 0 {
            return Err(malformed("a variable has no name"));
        }
        if sealed.contains(&0) {
            return Err(malformed("a variable holds a NUL"));
        }
        self.close(name);
        Ok(())
    }

    /// For codecs: whether some name is there more than once that is not one of a field.
    pub(super) fn repeats(&mut self) -> bool {
        let (spans, bytes) = (&self.spans, &self.bytes);
        let name = |index: usize| spans[index].name(bytes);
        self.order.clear();
        let plain = (0..spans.len()).filter(|&index| !name(index).starts_with(b"HTTP_"));
        self.order.extend(plain);
        self.order.sort_unstable_by_key(|&index| name(index));
        let mut pairs = self.order.windows(2);
        pairs.any(|pair| name(pair[0]) == name(pair[1]))
    }
}

/// What cannot be read as variables.
pub(super) fn malformed(reason: &'static str) -> Reject {
    Reject::new(StatusCode::BAD_REQUEST, reason)
}

/// What is more than [`VarLimits`] admit.
pub(super) fn too_large() -> Reject {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Reject::new(status, "too many or too large variables")
}

impl<'a> IntoIterator for &'a Vars {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Vars {
        let mut vars = Vars::new();
        for (name, value) in pairs {
            vars.push(name, value);
        }
        vars
    }
}

/// Variables in order: name and value.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let span = self.spans.next()?;
        Some((span.name(self.bytes), span.value(self.bytes)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let span = self.spans.next_back()?;
        Some((span.name(self.bytes), span.value(self.bytes)))
    }
}

impl ExactSizeIterator for Iter<'_> {}
