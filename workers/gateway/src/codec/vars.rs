//! CGI meta-variables (RFC 3875 section 4.1), which all gateway protocols carry: names and values as
//! bytes, in order, in one piece of memory that serves the next request, too. Made of a request by
//! [`Vars::of`], and read back by [`Asked`].

mod asked;
mod made;

pub(super) use asked::decimal;
pub use asked::{Asked, Content};
pub use made::{Given, decode_path};

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

    /// Whether a later one has the name of this one, and its place.
    fn comes_again(&self, index: usize) -> bool {
        let name = self.spans[index].name(&self.bytes);
        let mut later = self.spans[index + 1..].iter();
        later.any(|span| span.name(&self.bytes) == name)
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

    /// For codecs: the variable that was being read is complete, and its name is so long. False where it
    /// is none: without a name, or with a NUL, at which a C string ends.
    #[must_use]
    pub(super) fn seal(&mut self, name: usize) -> bool {
        self.close(name);
        let span = self.spans.last();
        span.is_some_and(|span| {
            span.name > 0
                && !span.name(&self.bytes).contains(&0)
                && !span.value(&self.bytes).contains(&0)
        })
    }
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

impl ExactSizeIterator for Iter<'_> {}
