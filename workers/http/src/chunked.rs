//! The chunked transfer coding (RFC 9112 §7.1), read byte by byte where it is framing and in
//! whole where it is data. Keeps counters and no bytes; trailers are handed on to `trailers`.

use crate::{
    limits::Limits,
    reject::Reject,
    syntax::{self, TCHAR, VALUE},
    trailers::Trailers,
};
use http::StatusCode;

/// A chunked body being read.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    at: At,
    /// The size so far, then what remains of the data.
    size: u64,
    /// Digits of the size.
    digits: u8,
    /// Bytes of extension of this chunk.
    extension: usize,
    /// Bytes of extension of this body.
    extensions: usize,
}

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// Blank behind the size, or a value: only `;` may follow.
    BeforeExtension,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterQuoted,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    NeedMore { consumed: usize },
    Data { skip: usize, len: usize },
    End { consumed: usize },
}

/// As many digits as 64 bits have. More would be leading zeros, or an overflow.
const MOST_DIGITS: u8 = 16;

impl Chunked {
    /// Goes on until there is data, the end, or no input any more.
    pub(crate) fn next(
        &mut self,
        input: &[u8],
        received: u64,
        limits: &Limits,
        trailers: &mut Option<Box<Trailers>>,
    ) -> Result<Step, Reject> {
        let mut consumed = 0;
        while let Some(&byte) = input.get(consumed) {
            match self.at {
                At::Data => {
                    let rest = input.len() - consumed;
                    let len = rest.min(usize::try_from(self.size).unwrap_or(usize::MAX));
                    self.size -= len as u64;
                    if self.size == 0 {
                        self.at = At::DataCr;
                    }
                    return Ok(Step::Data {
                        skip: consumed,
                        len,
                    });
                }
                // Almost always there are none, and nothing to keep.
                At::Trailers if trailers.is_none() && input[consumed..].starts_with(b"\r\n") => {
                    return Ok(Step::End {
                        consumed: consumed + 2,
                    });
                }
                At::Trailers => {
                    let trailers = trailers.get_or_insert_default();
                    let (read, complete) = trailers.read(&input[consumed..], limits)?;
                    consumed += read;
                    if complete {
                        return Ok(Step::End { consumed });
                    }
                }
                _ => {
                    self.at = self.step(byte, received, limits)?;
                    consumed += 1;
                }
            }
        }
        Ok(Step::NeedMore { consumed })
    }

    /// One byte of framing:
    ///
    /// ```text
    /// chunk     = 1*HEXDIG [ chunk-ext ] CRLF chunk-data CRLF
    /// chunk-ext = *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )
    /// ```
    ///
    /// A bare LF, or any other control, ends in 400 wherever it stands: servers that skip over an
    /// extension to the next LF, and servers that skip to CRLF, see different chunks.
    fn step(&mut self, byte: u8, received: u64, limits: &Limits) -> Result<At, Reject> {
        let blank = syntax::is_blank(byte);
        let tchar = syntax::is(byte, TCHAR);
        let next = match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() => return self.digit(byte),
            // At least one digit: an empty size is not 0 (httparse takes it so).
            (At::Size, _) if self.digits == 0 => {
                return Err(Reject::bad("chunk size is not a number"));
            }
            (At::Size | At::Name | At::Token | At::AfterQuoted, b'\r') => return Ok(At::SizeLf),
            (
                At::Size
                | At::BeforeExtension
                | At::Name
                | At::AfterName
                | At::Token
                | At::AfterQuoted,
                b';',
            ) => At::BeforeName,
            (At::Size | At::BeforeExtension | At::Token | At::AfterQuoted, _) if blank => {
                At::BeforeExtension
            }
            (At::Size, _) => return Err(Reject::bad("chunk size is not a number")),
            (At::BeforeName, _) if blank => At::BeforeName,
            (At::BeforeName | At::Name, _) if tchar => At::Name,
            (At::Name | At::AfterName, b'=') => At::BeforeValue,
            (At::Name | At::AfterName, _) if blank => At::AfterName,
            (At::BeforeValue, _) if blank => At::BeforeValue,
            (At::BeforeValue, b'"') => At::Quoted,
            (At::BeforeValue | At::Token, _) if tchar => At::Token,
            // quoted-string, RFC 9110 §5.6.4
            (At::Quoted, b'"') => At::AfterQuoted,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, _) if syntax::is(byte, VALUE) => At::Quoted,
            (At::SizeLf, b'\n') => return self.data(received, limits),
            (At::DataCr, b'\r') => return Ok(At::DataLf),
            (At::DataLf, b'\n') => {
                self.digits = 0;
                self.extension = 0;
                return Ok(At::Size);
            }
            (At::SizeLf | At::DataCr | At::DataLf, _) => {
                return Err(Reject::bad("chunk does not end with CRLF"));
            }
            _ => return Err(Reject::bad("chunk extension is malformed")),
        };
        // RFC 9112 §7.1.1: the length of extensions ought to be bounded.
        self.extension += 1;
        self.extensions += 1;
        if self.extension > limits.chunk_extension
            || self.extensions > limits.chunk_extensions_total
        {
            return Err(Reject::bad("chunk extensions are too long"));
        }
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<At, Reject> {
        self.digits += 1;
        if self.digits > MOST_DIGITS {
            return Err(Reject::bad("chunk size has too many digits")); // RFC 9112 §7.1: no overflow
        }
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.size = self.size << 4 | u64::from(digit);
        Ok(At::Size)
    }

    /// The size is complete. Refuses the chunk that would exceed the limit before any of it is read.
    fn data(&self, received: u64, limits: &Limits) -> Result<At, Reject> {
        match received.checked_add(self.size) {
            Some(total) if total <= limits.largest_body() => Ok(if self.size == 0 {
                At::Trailers
            } else {
                At::Data
            }),
            _ => Err(Reject::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "content is over the limit",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content and bytes consumed, or the status of the reject.
    fn decode(mut input: &[u8], limits: &Limits) -> Result<Option<(Vec<u8>, usize)>, u16> {
        let (mut chunked, mut trailers) = (Chunked::default(), None);
        let (mut content, mut total) = (Vec::new(), 0);
        loop {
            let step = chunked.next(input, content.len() as u64, limits, &mut trailers);
            match step.map_err(|reject| reject.status.as_u16())? {
                Step::NeedMore { .. } => return Ok(None),
                Step::Data { skip, len } => {
                    content.extend_from_slice(&input[skip..skip + len]);
                    input = &input[skip + len..];
                    total += skip + len;
                }
                Step::End { consumed } => return Ok(Some((content, total + consumed))),
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
