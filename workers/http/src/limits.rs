//! How large the parts of a request may be. Plain numbers: nothing here parses, and nothing here
//! knows the settings these numbers come from.

/// Upper bounds of one request. Sizes are bytes.
///
/// Names and defaults are Gunicorn's where it has such a setting. `0` means *unlimited* for
/// [`request_line`](Self::request_line), [`field_size`](Self::field_size) and
/// [`body`](Self::body), and *the most there can be* (32 768) for [`fields`](Self::fields), as in
/// Gunicorn; whatever those say, [`head`](Self::head) still bounds the whole head. The other
/// limits are ours, and `0` there means zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the request line without its CRLF, 65 534 at most. Beyond it: 414. Default 4094.
    pub request_line: usize,
    /// Number of field lines of a head, and of a trailer section. Beyond it: 431. Default 100.
    pub fields: usize,
    /// Length of one field line with its CRLF, of a head or a trailer section. Beyond it: 431.
    /// Default 8190.
    pub field_size: usize,
    /// Length of the whole head with its final empty line. Beyond it: 431 (414 when the request
    /// line alone is that long). Default 64 KiB.
    pub head: usize,
    /// Length of the extensions of one chunk, from the first byte after the size to the CRLF.
    /// Beyond it: 400. Default 256.
    pub chunk_extension: usize,
    /// Length of the chunk extensions of one body. Beyond it: 400. Default 16 KiB.
    pub chunk_extensions_total: usize,
    /// Length of the trailer section, without its final empty line. Beyond it: 431. Default 16 KiB.
    pub trailers: usize,
    /// Length of the content, declared or received. Beyond it: 413. Default 1 GiB.
    pub body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 4094,
            fields: 100,
            field_size: 8190,
            head: 64 * 1024,
            chunk_extension: 256,
            chunk_extensions_total: 16 * 1024,
            trailers: 16 * 1024,
            body: 1 << 30,
        }
    }
}

/// Gunicorn's `MAX_HEADERS`, and the capacity of an `http::HeaderMap`.
const MOST_FIELDS: usize = 32_768;

/// An `http::Uri` holds no more, and every target that is accepted has one.
const LONGEST_REQUEST_LINE: usize = 65_534;

/// What of the limits a head is read under: the others are about what comes behind it.
pub(crate) type HeadLimits = (usize, usize, usize, usize, u64);

impl Limits {
    #[inline]
    pub(crate) fn of_head(&self) -> HeadLimits {
        (
            self.request_line,
            self.fields,
            self.field_size,
            self.head,
            self.body,
        )
    }

    /// The limit of field lines that holds: `0` and anything above 32 768 mean 32 768.
    pub(crate) fn most_fields(&self) -> usize {
        match self.fields {
            0 => MOST_FIELDS,
            some => some.min(MOST_FIELDS),
        }
    }

    /// The limit of the head that holds: offsets into a head are 32 bits wide.
    pub(crate) fn longest_head(&self) -> usize {
        self.head.min(1 << 30)
    }

    /// The limit of the trailer section that holds, for the same reason.
    pub(crate) fn longest_trailers(&self) -> usize {
        self.trailers.min(1 << 30)
    }

    /// The limit of the request line that holds.
    pub(crate) fn longest_request_line(&self) -> usize {
        let most = LONGEST_REQUEST_LINE.min(self.longest_head());
        match self.request_line {
            0 => most,
            some => some.min(most),
        }
    }

    /// The limit of one field line that holds.
    pub(crate) fn longest_field(&self) -> usize {
        if self.field_size == 0 {
            self.longest_head()
        } else {
            self.field_size.min(self.longest_head())
        }
    }

    /// The limit of the content that holds.
    pub(crate) fn largest_body(&self) -> u64 {
        if self.body == 0 { u64::MAX } else { self.body }
    }
}
