//! The chunked transfer coding (RFC 9112 §7.1), read byte by byte where it is framing and in
//! whole where it is data. Keeps counters and no bytes; trailers are handed on to `trailers`.

use crate::{
    chunk_extension::Extension, limits::Limits, reject::Reject, syntax, trailers::Trailers,
};
use http::{HeaderMap, StatusCode};

/// A chunked body being read. For who reads messages by other means than [`Reader`](crate::Reader): the
/// answers of a back end.
#[derive(Debug, Default)]
pub struct Chunked {
    at: At,
    /// Bytes of content, up to the chunk in progress and with all of that.
    content: u64,
    /// Bytes of extensions.
    extensions: usize,
}

/// What the next byte belongs to:
///
/// ```text
/// chunked-body = *chunk last-chunk trailer-section CRLF
/// chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
/// last-chunk   = 1*"0" [ chunk-ext ] CRLF
/// ```
#[derive(Debug)]
enum At {
    Framing(Framing),
    /// The data of a chunk, of which so many bytes are to come.
    Data {
        left: u64,
    },
    /// The trailer section; there is nothing of it yet.
    LastChunk,
    /// The trailer section.
    Trailers(Box<Trailers>),
}

/// What the next byte of framing belongs to.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// The size, of which so many digits were there.
    Size {
        size: u64,
        digits: u8,
    },
    /// The extension of a chunk of this size; so many bytes of it were there.
    Extension {
        size: u64,
        len: usize,
        extension: Extension,
    },
    /// The LF of the line that announces a chunk of this size.
    SizeLf {
        size: u64,
    },
    /// The CRLF behind the data.
    DataCr,
    DataLf,
}

/// What was found of a chunked body. Offsets count from the first byte of the input.
#[derive(Debug)]
pub enum ChunkedStep {
    /// All of the input was read, and can be dropped.
    NeedMore,
    /// Content (never 0 bytes of it), behind so many bytes of framing; both can be dropped.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// The end. Nothing is to be read here any more.
    End {
        /// Bytes up to it.
        consumed: usize,
        /// The trailer fields that may be kept, if there are any.
        trailers: Option<Box<HeaderMap>>,
    },
}

/// As many digits as 64 bits have. More would be leading zeros, or an overflow.
const MOST_DIGITS: u8 = 16;

impl Default for At {
    fn default() -> Self {
        Self::Framing(Framing::FIRST)
    }
}

impl Framing {
    const FIRST: Self = Self::Size { size: 0, digits: 0 };
}

impl Chunked {
    /// Goes on until there is data, the end, or no input any more.
    ///
    /// # Errors
    /// [`Reject`]: nothing of what follows may be read as content, or as anything else. Its status is
    /// for the sender of a request.
    pub fn next(&mut self, input: &[u8], limits: &Limits) -> Result<ChunkedStep, Reject> {
        let mut consumed = 0;
        while let Some(&byte) = input.get(consumed) {
            let rest = &input[consumed..];
            match &mut self.at {
                At::Framing(framing) => {
                    let framing = *framing;
                    self.at = self.step(framing, byte, limits)?;
                    consumed += 1;
                }
                At::Data { left } => {
                    let len = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= len as u64;
                    if *left == 0 {
                        self.at = At::Framing(Framing::DataCr);
                    }
                    return Ok(ChunkedStep::Data {
                        skip: consumed,
                        len,
                    });
                }
                // Almost always there are none, and nothing to keep.
                At::LastChunk if rest.starts_with(b"\r\n") => {
                    return Ok(ChunkedStep::End {
                        consumed: consumed + 2,
                        trailers: None,
                    });
                }
                At::LastChunk => self.at = At::Trailers(Box::default()),
                At::Trailers(trailers) => {
                    let Some(len) = trailers.next(rest, limits)? else {
                        break;
                    };
                    return Ok(ChunkedStep::End {
                        consumed: consumed + len,
                        trailers: trailers.take_fields(),
                    });
                }
            }
        }
        Ok(ChunkedStep::NeedMore)
    }

    /// What comes behind this byte of framing.
    ///
    /// A bare LF, or any other control, is refused wherever it stands (RFC 9112 §7.1 has no line end but
    /// CRLF): servers that skip over an extension to the next LF, and servers that skip to CRLF, see
    /// different chunks.
    fn step(&mut self, at: Framing, byte: u8, limits: &Limits) -> Result<At, Reject> {
        Ok(At::Framing(match (at, byte) {
            (Framing::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MOST_DIGITS {
                    // RFC 9112 §7.1: no overflow.
                    return Err(Reject::bad("chunk size has too many digits"));
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Framing::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            // RFC 9112 §7.1: at least one digit, since no size is not 0.
            (Framing::Size { size, digits: 1.. }, b'\r') => Framing::SizeLf { size },
            (Framing::Size { size, digits: 1.. }, _) if byte == b';' || syntax::is_blank(byte) => {
                self.extension(size, 0, Extension::default(), byte, limits)?
            }
            (Framing::Size { .. }, _) => return Err(Reject::bad("chunk size is not a number")),
            (
                Framing::Extension {
                    size, extension, ..
                },
                b'\r',
            ) if extension.may_end() => Framing::SizeLf { size },
            (
                Framing::Extension {
                    size,
                    len,
                    extension,
                },
                _,
            ) => self.extension(size, len, extension, byte, limits)?,
            (Framing::SizeLf { size }, b'\n') => return self.data(size, limits),
            (Framing::DataCr, b'\r') => Framing::DataLf,
            (Framing::DataLf, b'\n') => Framing::FIRST,
            (Framing::SizeLf { .. } | Framing::DataCr | Framing::DataLf, _) => {
                return Err(Reject::bad("chunk does not end with CRLF"));
            }
        }))
    }

    /// One more byte of an extension, of which there were `len`. RFC 9112 §7.1.1: the length of
    /// extensions ought to be bounded.
    fn extension(
        &mut self,
        size: u64,
        len: usize,
        extension: Extension,
        byte: u8,
        limits: &Limits,
    ) -> Result<Framing, Reject> {
        let extension = extension
            .next(byte)
            .ok_or(Reject::bad("chunk extension is malformed"))?;
        if len >= limits.chunk_extension || self.extensions >= limits.chunk_extensions_total {
            return Err(Reject::bad("chunk extensions are too long"));
        }
        self.extensions += 1;
        Ok(Framing::Extension {
            size,
            len: len + 1,
            extension,
        })
    }

    /// A chunk of this size is announced. Refuses the one that would exceed the limit before any of
    /// it is read (RFC 9110 §15.5.14).
    fn data(&mut self, size: u64, limits: &Limits) -> Result<At, Reject> {
        self.content = self
            .content
            .checked_add(size)
            .filter(|content| *content <= limits.largest_body())
            .ok_or(Reject::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "content is over the limit",
            ))?;
        Ok(match size {
            0 => At::LastChunk,
            left => At::Data { left },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content and bytes consumed, or the status of the reject.
    fn decode(mut input: &[u8], limits: &Limits) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let mut chunked = Chunked::default();
        let (mut content, mut total) = (Vec::new(), 0);
        loop {
            let step = chunked.next(input, limits);
            match step.map_err(|reject| reject.status.as_u16())? {
                ChunkedStep::NeedMore => return Ok(None),
                ChunkedStep::Data { skip, len } => {
                    content.extend_from_slice(&input[skip..skip + len]);
                    input = &input[skip + len..];
                    total += skip + len;
                }
                ChunkedStep::End { consumed, .. } => return Ok(Some((content, total + consumed))),
            }
        }
    }

    #[test]
    fn valid() {
        for (input, content) in [
            ("0\r\n\r\n", ""),
            ("000\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
            ("A\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", "0123456789x"),
            ("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n"),
            ("1;a\r\nx\r\n0;b=c;d=\"e;\\\" \u{e9}\"\r\n\r\n", "x"),
            ("1 ; a = b ;c\t;d=\"\" ;e\r\nx\r\n0\r\n\r\n", "x"),
            ("1\r\nx\r\n0\r\nA: b\r\n\r\n", "x"),
        ] {
            let expected = Ok(Some((content.into(), input.len())));
            assert_eq!(
                decode(input.as_bytes(), &Limits::default()),
                expected,
                "{input:?}"
            );
        }
    }

    #[test]
    fn refused() {
        for size in [
            "",
            " 1",
            "\t1",
            "0x1",
            "-1",
            "-0",
            "+1",
            "1,",
            "1.0",
            "\"1\"",
            "1\0",
            "1\x0b",
            "1h",
            "1:a",
            "1 ",
            "1\t",
            "1 2",
            "00000000000000001",
            "1;",
            "1; ",
            "1;;a",
            "1;a ",
            "1;a=",
            "1;a= ",
            "1;a=b ",
            "1;a@=b",
            "1;a=\x01",
            "1;a=\"",
            "1;a=\"\x7f\"",
            "1;a=\"\\\x01\"",
            "1;a=\"b\"c",
            "1;a b",
            "1;a=b c",
            "1;\nx",
            "1;a\rb",
            "1\n",
            "1;a\n",
            "1\r\r",
            "1=a",
        ] {
            let input = format!("{size}\r\nx\r\n0\r\n\r\n");
            assert_eq!(
                decode(input.as_bytes(), &Limits::default()),
                Err(400),
                "{input:?}"
            );
        }
        for input in [
            "1\nx\r\n0\r\n\r\n",
            "1\r\nx\n0\r\n\r\n",
            "1\r\nx0\r\n\r\n",
            "1\r\nxy\r\n0\r\n\r\n",
            "1\r\nx\r\n\r\n0\r\n\r\n",
            "1\r\nx\r\n0\n\r\n",
            "0\r\n\n",
            "0\r\nXX\r\n\r\n",
            "1\r\nx\r0\r\n\r\n",
            "\r\n\r\n",
            ";a\r\n\r\n",
        ] {
            assert_eq!(
                decode(input.as_bytes(), &Limits::default()),
                Err(400),
                "{input:?}"
            );
        }
    }

    #[test]
    fn sizes() {
        let limits = Limits {
            body: 4,
            ..Limits::default()
        };
        assert_eq!(
            decode(b"4\r\nabcd\r\n0\r\n\r\n", &limits),
            Ok(Some((b"abcd".to_vec(), 14)))
        );
        assert_eq!(decode(b"3\r\nabc\r\n2\r\n", &limits), Err(413));
        assert_eq!(decode(b"FFFFFFFFFFFFFFFF\r\n", &limits), Err(413));
        assert_eq!(
            decode(b"100000005\r\nhello\r\n0\r\n\r\n", &limits),
            Err(413)
        );
        let unlimited = Limits {
            body: 0,
            ..Limits::default()
        };
        assert_eq!(decode(b"FFFFFFFFFFFFFFFF\r\nabc", &unlimited), Ok(None));
        assert_eq!(
            decode(b"1\r\na\r\nFFFFFFFFFFFFFFFF\r\n", &unlimited),
            Err(413)
        );
    }

    #[test]
    fn extensions_are_bounded() {
        let limits = Limits {
            chunk_extension: 4,
            chunk_extensions_total: 6,
            ..Limits::default()
        };
        assert_eq!(decode(b"0;abc\r\n\r\n", &limits), Ok(Some((Vec::new(), 9))));
        assert_eq!(decode(b"0;abcd\r\n\r\n", &limits), Err(400));
        assert_eq!(
            decode(b"1;ab\r\nx\r\n0;ab\r\n\r\n", &limits),
            Ok(Some((b"x".to_vec(), 17)))
        );
        assert_eq!(decode(b"1;ab\r\nx\r\n0;abc\r\n\r\n", &limits), Err(400));
    }
}
