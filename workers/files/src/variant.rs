//! One representation of a file: its content, or a descriptor to send it from, and what its responses say of
//! it, made once. Reads the file when it is made, and a part of it when that is wanted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ferricorn_base::{Body, Error, IntoResponse, Response};
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};

use crate::codings::Coding;
use crate::conditions::{Asked, Validators, Verdict, date};
use crate::multipart;
use crate::options::Options;
use crate::ranges::Wanted;
use crate::root::{Opened, Stamp};

/// Files up to this many bytes are kept in memory.
const SMALL: u64 = 32 * 1024;
/// How often a file is read again that changes meanwhile.
const TRIES: usize = 3;
/// What a 304 repeats of a 200 (RFC 9110 section 15.4.5).
const REPEATED: [HeaderName; 3] = [CACHE_CONTROL, ETAG, VARY];

/// A representation.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) coding: Option<Coding>,
    pub(crate) stamp: Stamp,
    /// Whether it was modified too recently to be told from another version by its date.
    pub(crate) weak: bool,
    content: Content,
    fields: HeaderMap,
    etag: HeaderValue,
    modified: u64,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Memory(Bytes),
    File(Arc<File>),
}

impl Variant {
    /// Of a file, which is `name` beneath the root where it is not encoded.
    ///
    /// # Errors
    /// What reading it answers.
    pub(crate) fn load(
        opened: Opened,
        name: &[u8],
        coding: Option<Coding>,
        options: &Options,
    ) -> io::Result<Variant> {
        let Opened { file, stamp, .. } = opened;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (content, stamp) = match stamp.size <= SMALL.min(options.memory as u64) {
            true => read(file, stamp)?,
            false => (Content::File(Arc::new(file)), stamp),
        };
        let (seconds, nanoseconds) = stamp.modified;
        let seconds = u64::try_from(seconds).unwrap_or(0);
        // Two changes within a second may have one date (RFC 9110 section 8.8.2.2), and within a tick of
        // the system's clock one time.
        let weak = seconds + 1 > now.as_secs()
            || seconds + 1 == now.as_secs() && nanoseconds > now.subsec_nanos();
        let etag = etag(weak, (seconds, nanoseconds), stamp.size, coding);
        // No later than the response itself (section 8.8.2.1).
        let modified = seconds.min(now.as_secs());
        let mut fields = HeaderMap::with_capacity(8);
        fields.insert(CONTENT_TYPE, options.content_type(name));
        if let Some(coding) = coding {
            fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        fields.insert(LAST_MODIFIED, ascii(&date(modified)));
        fields.insert(ETAG, etag.clone());
        if let Some(value) = options.cache_control(name) {
            fields.insert(CACHE_CONTROL, value.clone());
        }
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let nosniff = HeaderValue::from_static("nosniff");
        fields.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        Ok(Variant {
            coding,
            stamp,
            weak,
            content,
            fields,
            etag,
            modified,
        })
    }

    /// There are others, and which is sent depends on the client (RFC 9110 section 12.5.5).
    pub(crate) fn set_vary(&mut self) {
        let vary = HeaderValue::from_static("Accept-Encoding");
        self.fields.insert(VARY, vary);
    }

    /// Somebody knows the type better.
    pub(crate) fn set_content_type(&mut self, kind: HeaderValue) {
        self.fields.insert(CONTENT_TYPE, kind);
    }

    /// All of it, whatever was asked for.
    pub(crate) fn whole(&self) -> Response {
        self.with(self.content.part(0, self.stamp.size), StatusCode::OK)
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File(_) => 0,
        }
    }

    /// Whether it holds a descriptor.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.content, Content::File(_))
    }

    /// Answers a GET, or a HEAD, to which ranges mean nothing (RFC 9110 section 14.2).
    ///
    /// # Errors
    /// What reading parts of the file answers.
    pub(crate) fn respond(&self, asked: &Asked<'_>, get: bool) -> Result<Response, Error> {
        let own = Validators {
            etag: self.etag.as_bytes(),
            modified: self.modified,
            weak: self.weak,
        };
        match asked.verdict(&own) {
            Verdict::Perform => {}
            Verdict::NotModified => return Ok(self.not_modified()),
            Verdict::Failed => return StatusCode::PRECONDITION_FAILED.into_response(),
        }
        let len = self.stamp.size;
        let wanted = match get {
            true => asked.wanted(&own, len),
            false => Wanted::Whole,
        };
        let mut response = match wanted {
            Wanted::Whole => return Ok(self.whole()),
            Wanted::Nothing => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response()?;
                let range = ascii(&format!("bytes */{len}"));
                response.headers_mut().insert(CONTENT_RANGE, range);
                return Ok(response);
            }
            Wanted::One(range) => {
                let body = self.content.part(range.start, range.end - range.start);
                let mut response = self.with(body, StatusCode::PARTIAL_CONTENT);
                let range = ascii(&multipart::content_range(&range, len));
                response.headers_mut().insert(CONTENT_RANGE, range);
                response
            }
            Wanted::Several(ranges) => {
                let kind = self
                    .fields
                    .get(CONTENT_TYPE)
                    .map_or(&b""[..], HeaderValue::as_bytes);
                let (boundary, body) = multipart::body(&self.content, &ranges, len, kind)?;
                let mut response = self.with(body, StatusCode::PARTIAL_CONTENT);
                let kind = ascii(&format!("multipart/byteranges; boundary={boundary}"));
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        };
        response.headers_mut().remove(ACCEPT_RANGES);
        Ok(response)
    }

    fn with(&self, body: Body, status: StatusCode) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = self.fields.clone();
        response
    }

    fn not_modified(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in REPEATED {
            if let Some(value) = self.fields.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

impl Content {
    /// `len` bytes from `start` on, which there are.
    fn part(&self, start: u64, len: u64) -> Body {
        match self {
            Content::Memory(bytes) => {
                let start = start as usize;
                Body::from(bytes.slice(start..start + len as usize))
            }
            Content::File(file) => Body::file(Arc::clone(file), start, len),
        }
    }

    /// Appends bytes from `start` on.
    pub(crate) fn read(&self, start: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Content::Memory(bytes) => {
                let start = start as usize;
                out.extend_from_slice(&bytes[start..start + len]);
                Ok(())
            }
            Content::File(file) => {
                let before = out.len();
                out.resize(before + len, 0);
                file.read_exact_at(&mut out[before..], start)
            }
        }
    }
}

/// Reads a small file such that what is read is one version; of one that never rests, that is left to who
/// sends it.
fn read(file: File, mut stamp: Stamp) -> io::Result<(Content, Stamp)> {
    for _ in 0..TRIES {
        if stamp.size > SMALL {
            break;
        }
        let mut content = vec![0; stamp.size as usize];
        let read = file.read_exact_at(&mut content, 0);
        let after = Stamp::of(&rustix::fs::fstat(&file)?);
        match read {
            Ok(()) if after == stamp => return Ok((Content::Memory(content.into()), stamp)),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => stamp = after,
        }
    }
    Ok((Content::File(Arc::new(file)), stamp))
}

/// The tag of a version: no file has the same length and the same time of its last change twice, unless
/// somebody sets it back.
fn etag(weak: bool, modified: (u64, u32), size: u64, coding: Option<Coding>) -> HeaderValue {
    let (seconds, nanoseconds) = modified;
    let weak = if weak { "W/" } else { "" };
    let mut tag = format!("{weak}\"{seconds:x}.{nanoseconds:x}-{size:x}");
    if let Some(coding) = coding {
        // Another coding is another representation (RFC 9110 section 8.8.3.3).
        tag.push('-');
        tag.push_str(coding.name());
    }
    tag.push('"');
    ascii(&tag)
}

/// A value that is made of visible ASCII here.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
