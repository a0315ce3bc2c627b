//! The body of a response: what a value can say, and what it cannot.
//!
//! Empty, static, bytes and file ranges go out from the loop. Readers, iterators, streams and
//! upgrades may block, so they run on a stream thread of the worker (bounded by `stream-threads`,
//! then 503), never on the loop.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::exchange::Exchange;
use crate::upgraded::Upgraded;

/// The body of a [`crate::Response`].
#[derive(Default)]
pub struct Body {
    kind: Kind,
    content_type: Option<&'static str>,
}

/// What a body is. For code that sends one; handlers use the constructors of [`Body`].
#[derive(Default)]
pub enum Kind {
    /// No content.
    #[default]
    Empty,
    /// Memory that lives as long as the program.
    Static(&'static [u8]),
    /// Memory.
    Bytes(Bytes),
    /// A range of a file.
    File {
        /// The file, perhaps one that goes out to several clients at once.
        file: Arc<File>,
        /// The first byte.
        start: u64,
        /// How many bytes.
        len: u64,
    },
    /// A reader, of which `len` bytes are sent, or all when it is `None`.
    Reader {
        /// The reader.
        reader: Box<dyn Read + Send>,
        /// Its length, if known.
        len: Option<u64>,
    },
    /// Pieces, each sent when it comes.
    Pieces(Box<dyn Iterator<Item = io::Result<Bytes>> + Send>),
    /// Code that owns the rest of the exchange.
    Stream(StreamFn),
    /// Code that owns the connection after a 101.
    Upgrade(UpgradeFn),
}

/// Code that owns the rest of an exchange.
pub type StreamFn = Box<dyn FnOnce(&mut Exchange) -> Result<(), Error> + Send>;
/// Code that owns a connection after a 101.
pub type UpgradeFn = Box<dyn FnOnce(Upgraded) -> Result<(), Error> + Send>;

impl Body {
    /// No content.
    #[must_use]
    pub fn empty() -> Body {
        Body::default()
    }

    /// Memory that lives as long as the program; nothing is copied.
    #[must_use]
    pub fn from_static(bytes: &'static [u8]) -> Body {
        Kind::Static(bytes).into()
    }

    /// `len` bytes of `file` from `start`, by sendfile(2) where that goes. A file that is shorter
    /// than promised by then aborts the connection.
    #[must_use]
    pub fn file(file: impl Into<Arc<File>>, start: u64, len: u64) -> Body {
        let file = file.into();
        Kind::File { file, start, len }.into()
    }

    /// All of a file as long as it is now.
    ///
    /// # Errors
    /// What fstat(2) answers.
    pub fn whole_file(file: File) -> io::Result<Body> {
        let len = file.metadata()?.len();
        Ok(Body::file(file, 0, len))
    }

    /// What a reader gives, on a stream thread: `len` bytes, or chunked until its end.
    #[must_use]
    pub fn reader(reader: impl Read + Send + 'static, len: Option<u64>) -> Body {
        Kind::Reader {
            reader: Box::new(reader),
            len,
        }
        .into()
    }

    /// Pieces, each sent as soon as it comes, on a stream thread.
    pub fn pieces<I>(pieces: I) -> Body
    where
        I: IntoIterator<Item = io::Result<Bytes>>,
        I::IntoIter: Send + 'static,
    {
        Kind::Pieces(Box::new(pieces.into_iter())).into()
    }

    /// Code that owns the rest of the request body and the writer, on a stream thread. The status
    /// and fields of the response are sent with its first byte or flush; until then it may still
    /// change them.
    pub fn stream<F>(run: F) -> Body
    where
        F: FnOnce(&mut Exchange) -> Result<(), Error> + Send + 'static,
    {
        Kind::Stream(Box::new(run)).into()
    }

    /// Code that owns the connection once the 101 response that carries this body is sent, on a
    /// stream thread (RFC 9110 section 7.8).
    ///
    /// The response names in `Upgrade` what [`ferricorn_http::Head::upgrade`] of the request offers,
    /// and is given when the whole request is here; anything else is a 500 with the reason in the log.
    pub fn upgrade<F>(run: F) -> Body
    where
        F: FnOnce(Upgraded) -> Result<(), Error> + Send + 'static,
    {
        Kind::Upgrade(Box::new(run)).into()
    }

    /// The `Content-Type` when the response has none.
    ///
    /// # Panics
    /// When it cannot stand in a field: a control character would split the response (RFC 9110
    /// section 5.5). Of a literal, the compiler finds out.
    #[inline]
    #[must_use]
    pub fn with_content_type(mut self, content_type: &'static str) -> Body {
        assert!(is_visible(content_type), "a content type is visible ASCII");
        self.content_type = Some(content_type);
        self
    }

    /// The `Content-Type` when the response has none.
    #[inline]
    #[must_use]
    pub fn content_type(&self) -> Option<&'static str> {
        self.content_type
    }

    /// The length in bytes, if it is known before sending.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Static(bytes) => Some(bytes.len() as u64),
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::File { len, .. } => Some(*len),
            Kind::Reader { len, .. } => *len,
            Kind::Pieces(_) | Kind::Stream(_) | Kind::Upgrade(_) => None,
        }
    }

    /// The content, if it is in memory.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Empty => Some(&[]),
            Kind::Static(bytes) => Some(bytes),
            Kind::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether there is surely no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether sending it may block, so that it goes to a stream thread.
    #[must_use]
    pub fn needs_thread(&self) -> bool {
        use Kind::{Pieces, Reader, Stream, Upgrade};
        matches!(
            self.kind,
            Reader { .. } | Pieces(_) | Stream(_) | Upgrade(_)
        )
    }

    /// Takes the body apart, to send it.
    #[inline]
    #[must_use]
    pub fn into_kind(self) -> Kind {
        self.kind
    }

    /// The whole content in memory: for tests of handlers, and for handlers that wrap another's.
    /// A stream runs here and now, with an empty request body.
    ///
    /// # Errors
    /// What the reader, iterator or stream fails with; an upgrade has no content.
    pub fn collect(self) -> Result<Bytes, Error> {
        let mut all = Vec::new();
        match self.kind {
            Kind::Empty => {}
            Kind::Static(bytes) => return Ok(Bytes::from_static(bytes)),
            Kind::Bytes(bytes) => return Ok(bytes),
            Kind::File { file, start, len } => {
                all.resize(usize::try_from(len)?, 0);
                file.read_exact_at(&mut all, start)?;
            }
            Kind::Reader { reader, len } => {
                reader.take(len.unwrap_or(u64::MAX)).read_to_end(&mut all)?;
            }
            Kind::Pieces(pieces) => {
                for piece in pieces {
                    all.extend_from_slice(&piece?);
                }
            }
            Kind::Stream(run) => return Exchange::collect(run),
            Kind::Upgrade(_) => return Err(Error::msg("an upgrade has no content")),
        }
        Ok(all.into())
    }
}

impl From<Kind> for Body {
    fn from(kind: Kind) -> Self {
        Body {
            kind,
            content_type: None,
        }
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Body::default()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Kind::Bytes(bytes).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Body::from_static(bytes)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Body::from_static(text.as_bytes()).with_content_type(crate::response::TEXT)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body::from(text.into_bytes()).with_content_type(crate::response::TEXT)
    }
}

/// What `http::HeaderValue::from_static` admits.
#[inline]
const fn is_visible(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'\t' | b' '..=b'~') {
            return false;
        }
        at += 1;
    }
    true
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("kind", &self.kind)
            .field("content_type", &self.content_type)
            .finish()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Empty => f.write_str("Empty"),
            Kind::Static(bytes) => f.debug_tuple("Static").field(&bytes.len()).finish(),
            Kind::Bytes(bytes) => f.debug_tuple("Bytes").field(&bytes.len()).finish(),
            Kind::File { start, len, .. } => f
                .debug_struct("File")
                .field("start", start)
                .field("len", len)
                .finish(),
            Kind::Reader { len, .. } => f.debug_tuple("Reader").field(len).finish(),
            Kind::Pieces(_) => f.write_str("Pieces"),
            Kind::Stream(_) => f.write_str("Stream"),
            Kind::Upgrade(_) => f.write_str("Upgrade"),
        }
    }
}
