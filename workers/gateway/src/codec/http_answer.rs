//! What an HTTP/1 server answers, on a connection that carries one request after the other (RFC 9112
//! sections 4, 6.3, 9.3): bytes in, events out, for the reverse proxy and for uwsgi. Where its framing
//! has two readings nothing is passed on, or nothing behind it.

use ferricorn_http::{Chunked, ChunkedStep, Limits, Version};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::lines::{self, BadAnswer, HeadEnd, HeadLimits};

/// What an answer must know of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// It was HEAD: there is no content, whatever the head says.
    pub head: bool,
    /// It asked for another protocol: 101 is an answer to it, and to no other.
    pub upgrade: bool,
}

/// How the content of an answer is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// By its length, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// It goes on until the connection ends.
    Close,
    /// The connection is another protocol's from here on (101).
    Upgraded,
}

/// The head of an answer.
#[derive(Clone, Debug, Default)]
pub struct AnswerHead {
    /// The status.
    pub status: StatusCode,
    /// The version.
    pub version: Version,
    /// The fields for the client: none that is about the connection, but Upgrade of a 101.
    /// Content-Length, if there is one, is a valid one and stands there once.
    pub fields: HeaderMap,
    /// How the content is delimited.
    pub body: Body,
}

/// What the reader made of the input. Offsets count from the first byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more can be done with this input. Drop `consumed` bytes, keep the rest, and come back
    /// when there is more behind it.
    NeedMore {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// The head of an interim answer (1xx); another one follows. 100 is for us, others may be for the
    /// client (RFC 9110 section 15.2).
    Interim {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// The head is complete. So is the answer, where there is no content ([`Body::None`]).
    Head {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// Content: skip `skip` bytes of framing, take `len` bytes (never 0), drop `skip + len`.
    Data {
        /// Bytes of framing in front of the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// The answer that has content is complete; its trailers are there.
    End {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
}

/// The reader of one connection. Resumable at every byte, linear in the input however it is cut.
#[derive(Debug, Default)]
pub struct AnswerReader {
    state: State,
    question: Question,
    keep_alive: bool,
    interim: u32,
    trailers: Option<Box<HeaderMap>>,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing was asked: nothing may come.
    #[default]
    Idle,
    Head(HeadEnd),
    Length(u64),
    Chunked(Chunked),
    Close,
    Upgraded,
    Failed(BadAnswer),
}

/// A server that says "wait" more often than this never answers.
const MOST_INTERIM: u32 = 32;

impl AnswerReader {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new() -> AnswerReader {
        AnswerReader::default()
    }

    /// A request is about to be sent; the answer before is complete.
    pub fn begin(&mut self, question: Question) {
        *self = AnswerReader {
            state: State::Head(HeadEnd::default()),
            question,
            ..AnswerReader::default()
        };
    }

    /// Makes one step. `input` begins with the first byte that was not consumed yet; the largest part of
    /// it that has to be kept is a head. `head` is filled by the calls that return [`Event::Head`] and
    /// [`Event::Interim`].
    ///
    /// # Errors
    /// [`BadAnswer`]: the connection is of no more use, and what came of the answer is not all. Every
    /// later call says the same.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: HeadLimits,
        head: &mut AnswerHead,
    ) -> Result<Event, BadAnswer> {
        let event = self.step(input, limits, head);
        if let Err(error) = event {
            self.fail(error);
        }
        event
    }

    /// The server has closed the connection, and all that came before was read.
    ///
    /// # Errors
    /// The answer is not complete.
    pub fn end(&mut self) -> Result<(), BadAnswer> {
        self.keep_alive = false;
        match self.state {
            State::Idle => Ok(()),
            State::Close | State::Upgraded => {
                self.state = State::Idle;
                Ok(())
            }
            State::Failed(error) => Err(error),
            State::Head(_) => Err(BadAnswer("the server closed the connection unanswered")),
            State::Length(_) | State::Chunked(_) => {
                Err(BadAnswer("the server closed the connection in an answer"))
            }
        }
    }

    /// Whether the connection may carry another request: the answer is complete, said so, and nothing
    /// has come behind it (`input` is what was not consumed yet). What comes before the next request is
    /// sent answers nothing (RFC 9112 section 9.2).
    #[must_use]
    pub fn is_reusable(&self, input: &[u8]) -> bool {
        matches!(self.state, State::Idle) && self.keep_alive && input.is_empty()
    }

    /// The trailer fields of the answer that just ended, if it had any that may be kept.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    fn fail(&mut self, error: BadAnswer) {
        self.state = State::Failed(error);
        self.keep_alive = false;
    }

    fn step(
        &mut self,
        input: &[u8],
        limits: HeadLimits,
        head: &mut AnswerHead,
    ) -> Result<Event, BadAnswer> {
        match &mut self.state {
            State::Failed(error) => Err(*error),
            State::Idle if input.is_empty() => Ok(Event::NeedMore { consumed: 0 }),
            State::Idle => Err(BadAnswer("the server answers what was not asked")),
            State::Head(end) => match end.next(input, limits)? {
                None => Ok(Event::NeedMore { consumed: 0 }),
                Some(consumed) => self.head(&input[..consumed], limits, head),
            },
            State::Length(0) => Ok(self.complete(0, None)),
            State::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX);
                let len = len.min(input.len());
                *left -= len as u64;
                Ok(data(len))
            }
            State::Chunked(chunked) => {
                // Content of any length; its framing is bounded.
                let limits = Limits {
                    body: 0,
                    ..Limits::default()
                };
                match chunked.next(input, &limits) {
                    Ok(ChunkedStep::NeedMore) => Ok(Event::NeedMore {
                        consumed: input.len(),
                    }),
                    Ok(ChunkedStep::Data { skip, len }) => Ok(Event::Data { skip, len }),
                    Ok(ChunkedStep::End { consumed, trailers }) => {
                        Ok(self.complete(consumed, trailers))
                    }
                    Err(reject) => Err(BadAnswer(reject.reason)),
                }
            }
            State::Close | State::Upgraded => Ok(data(input.len())),
        }
    }

    fn complete(&mut self, consumed: usize, trailers: Option<Box<HeaderMap>>) -> Event {
        self.state = State::Idle;
        self.trailers = trailers;
        Event::End { consumed }
    }

    fn head(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
        head: &mut AnswerHead,
    ) -> Result<Event, BadAnswer> {
        let consumed = bytes.len();
        let mut lines = lines::lines(bytes);
        (head.version, head.status) = status_line(lines.next().unwrap_or_default())?;
        head.fields.clear();
        for line in lines {
            lines::add(&mut head.fields, lines::field(line)?, limits)?;
        }
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !switches {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(BadAnswer("the server sends interim answers without end"));
            }
            lines::strip_hop_by_hop(&mut head.fields);
            // An interim answer has no content (RFC 9110 section 15.2).
            head.fields.remove(header::CONTENT_LENGTH);
            head.body = Body::None;
            self.state = State::Head(HeadEnd::default());
            return Ok(Event::Interim { consumed });
        }
        if switches && !self.question.upgrade {
            return Err(BadAnswer("the server switches protocols unasked"));
        }
        let framing = Framing::of(head, self.question)?;
        head.body = framing.body;
        self.keep_alive = framing.keep_alive;
        clean(&mut head.fields, framing, switches);
        self.state = match framing.body {
            Body::None => State::Idle,
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Chunked(Chunked::default()),
            Body::Close => State::Close,
            Body::Upgraded => State::Upgraded,
        };
        Ok(Event::Head { consumed })
    }
}

fn data(len: usize) -> Event {
    match len {
        0 => Event::NeedMore { consumed: 0 },
        len => Event::Data { skip: 0, len },
    }
}

/// `HTTP/1.1 200 OK` (RFC 9112 section 4); the blank behind the status may be missing.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), BadAnswer> {
    let invalid = BadAnswer("the status line is not one of HTTP/1");
    let (minor, rest) = match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
            b' ',
            rest @ ..,
        ] => (*minor, rest),
        _ => return Err(invalid),
    };
    let version = match minor {
        b'0' => Version::Http10,
        _ => Version::Http11,
    };
    let (digits, reason) = rest.split_at_checked(3).ok_or(invalid)?;
    let status = lines::status(digits).ok_or(invalid)?;
    let plain = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    match reason {
        [] => Ok((version, status)),
        [b' ', reason @ ..] if reason.iter().all(plain) => Ok((version, status)),
        _ => Err(invalid),
    }
}

/// What follows from a head.
#[derive(Clone, Copy, Debug)]
struct Framing {
    body: Body,
    length: Option<u64>,
    keep_alive: bool,
}

impl Framing {
    fn of(head: &AnswerHead, question: Question) -> Result<Framing, BadAnswer> {
        let length = lines::content_length(&head.fields)?;
        let chunked = is_chunked(&head.fields)?;
        let wants = |option: &[u8]| {
            lines::options(&head.fields).any(|other| other.eq_ignore_ascii_case(option))
        };
        let persists = match head.version {
            Version::Http11 => !wants(b"close"),
            Version::Http10 => wants(b"keep-alive") && !wants(b"close"),
        };
        // RFC 9112 section 6.1: HTTP/1.0 has no such coding; section 6.3 (3): one that is there besides a
        // length might be an attempt to smuggle. What is behind either is not to be believed.
        let doubtful = chunked && (length.is_some() || head.version == Version::Http10);
        let status = head.status;
        let body = if status == StatusCode::SWITCHING_PROTOCOLS {
            Body::Upgraded
        } else if question.head
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
        {
            Body::None
        } else if chunked {
            Body::Chunked
        } else {
            length.map_or(Body::Close, Body::Length)
        };
        let ends = !matches!(body, Body::Close | Body::Upgraded);
        Ok(Framing {
            body,
            // A length that is overridden is not passed on.
            length: length.filter(|_| !chunked),
            keep_alive: persists && ends && !doubtful,
        })
    }
}

/// Whether the content is chunked. Other codings would have to be taken off, and nobody here could: a
/// request does not offer any (RFC 9110 section 10.1.4).
fn is_chunked(fields: &HeaderMap) -> Result<bool, BadAnswer> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(false);
    };
    let only = codings.next().is_none();
    match only && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        true => Ok(true),
        false => Err(BadAnswer("Transfer-Encoding is not just chunked")),
    }
}

/// Leaves what is for the client.
fn clean(fields: &mut HeaderMap, framing: Framing, switches: bool) {
    let upgrade: Vec<HeaderValue> = match switches {
        true => fields.get_all(header::UPGRADE).iter().cloned().collect(),
        false => Vec::new(),
    };
    lines::strip_hop_by_hop(fields);
    for value in upgrade {
        fields.append(header::UPGRADE, value);
    }
    const LENGTH: HeaderName = header::CONTENT_LENGTH;
    match framing.length {
        Some(length) => drop(fields.insert(LENGTH, HeaderValue::from(length))),
        None => drop(fields.remove(LENGTH)),
    }
}
