//! Bounds on what a request may bring, in bytes and fields.

/// Bounds on one request message. See each field for its unit and the status beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line without its CRLF; beyond it 414. 0: no limit of its own.
    pub request_line: usize,
    /// Number of header fields; beyond it 431.
    pub fields: usize,
    /// Bytes of one field line without its CRLF; beyond it 431.
    pub field_size: usize,
    /// Bytes of the whole head; beyond it 431.
    pub head: usize,
    /// Bytes of the extensions of one chunk; beyond it 400.
    pub chunk_extension: usize,
    /// Bytes of all chunk extensions of one body; beyond it 400.
    pub chunk_extensions_total: usize,
    /// Bytes of the trailer section; beyond it 431.
    pub trailers: usize,
    /// Bytes of a body after decoding; beyond it 413. 0: no limit.
    pub body: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
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
