//! The request side of one connection: bytes in, events out. Owns the state between calls and
//! no bytes; never knows where bytes come from, nor what is answered.

use crate::{
    chunked::{Chunked, ChunkedStep},
    head::Head,
    head_reader::HeadReader,
    kinds::BodyLength,
    limits::Limits,
    reject::Reject,
};
use http::HeaderMap;

/// What the reader made of the input. Offsets count from the first byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more can be done with this input. Drop `consumed` bytes, keep the rest, and come
    /// back when there is more behind it.
    NeedMore {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// The head is complete, and in the [`Head`] that was given. So is the message, where there is
    /// no content ([`BodyLength::None`]): the next call begins the next head.
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
    /// The message that has content is complete; its trailers are there. The next call begins the
    /// next head.
    End {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
}

/// The request side of one connection.
///
/// Resumable at every byte, linear in the input however it is cut: the events (but for
/// [`Event::NeedMore`] and how [`Event::Data`] is divided) and the reject are the same.
///
/// After the last message of a connection (one whose [`Head::keep_alive`] is false) nothing is
/// read any more: everything is consumed with `NeedMore` (RFC 9112 §9.6). After a reject every call
/// returns that reject.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
}

/// What the next byte belongs to.
///
/// ```text
/// Front ─► Head ─► [ Length | Chunked ─► ] Front  RFC 9112 §2.1
///                                    └─► Closed   RFC 9112 §9.6
///                         any of them ─► Refused  RFC 9112 §2.2
/// ```
#[derive(Debug)]
enum State {
    /// The first of a head, or an empty line in front of it.
    Front {
        /// One was dropped.
        empty_line: bool,
        /// The trailers of the message that just ended, where it had some.
        trailers: Option<Box<HeaderMap>>,
    },
    /// A head of which some is here.
    Head(Box<Partial>),
    /// Content of this length.
    Length { left: u64, then: Then },
    /// Chunked content.
    Chunked { chunked: Chunked, then: Then },
    /// Nothing: this is behind the last message.
    Closed { trailers: Option<Box<HeaderMap>> },
    /// Nothing any more.
    Refused(Reject),
}

/// What comes after a message (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    Close,
}

/// A head that did not come at once.
#[derive(Debug)]
struct Partial {
    reader: HeadReader,
    head: Head,
}

impl Default for State {
    fn default() -> Self {
        Self::Front {
            empty_line: false,
            trailers: None,
        }
    }
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one step.
    ///
    /// `input` begins with the first byte that was not consumed yet; bytes once shown stay the same
    /// until they are consumed. `head` is filled by the call that returns [`Event::Head`], is empty
    /// after a call that wants more of one, and is left alone in content. A call that refuses a head
    /// leaves the request line in it, if that one was valid, and no fields. The largest part of the
    /// input that has to be kept is a head, so a buffer of [`Limits::head`] bytes is always enough.
    ///
    /// # Errors
    /// [`Reject`]: answer its status, then close. Nothing of the input may be read as a request.
    #[inline]
    pub fn next(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Event, Reject> {
        if let State::Front { .. } = self.state {
            if let Some(consumed) = head.same_head(input, limits) {
                self.complete(head);
                return Ok(Event::Head { consumed });
            }
        }
        self.read(input, limits, head)
    }

    #[inline(never)]
    fn read(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Event, Reject> {
        let event = self.step(input, limits, head);
        if let Err(reject) = event {
            self.state = State::Refused(reject);
        }
        event
    }

    fn step(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Event, Reject> {
        match &mut self.state {
            State::Front { empty_line, .. } => {
                let mut skip = 0;
                // RFC 9112 §2.2: one CRLF before the request line is ignored, for the clients that
                // send one after the content of a POST; a second one is not.
                if !*empty_line {
                    match input {
                        [b'\r'] => return Ok(Event::NeedMore { consumed: 0 }),
                        [b'\r', b'\n', ..] => (skip, *empty_line) = (2, true),
                        _ => {}
                    }
                }
                let input = &input[skip..];
                if input.is_empty() {
                    return Ok(Event::NeedMore { consumed: skip });
                }
                let mut reader = HeadReader::default();
                let found = reader.next(input, limits, head);
                // Until there is a request line, what is there is the last one.
                if !matches!(found, Ok(Some(_))) && reader.is_in_request_line() {
                    head.clear();
                }
                if let Ok(None) = found {
                    let head = head.take();
                    self.state = State::Head(Box::new(Partial { reader, head }));
                }
                self.head(found, skip, head)
            }
            State::Head(partial) => {
                let Partial { reader, head: part } = &mut **partial;
                let found = reader.next(input, limits, part);
                if !matches!(found, Ok(None)) {
                    std::mem::swap(head, part);
                }
                self.head(found, 0, head)
            }
            &mut State::Length { left: 0, then } => Ok(self.end(0, then, None)),
            State::Length { left, .. } => {
                let len = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                if len == 0 {
                    return Ok(Event::NeedMore { consumed: 0 });
                }
                *left -= len as u64;
                Ok(Event::Data { skip: 0, len })
            }
            State::Chunked { chunked, then } => match chunked.next(input, limits)? {
                ChunkedStep::NeedMore => Ok(Event::NeedMore {
                    consumed: input.len(),
                }),
                ChunkedStep::Data { skip, len } => Ok(Event::Data { skip, len }),
                ChunkedStep::End { consumed, trailers } => {
                    let then = *then;
                    Ok(self.end(consumed, then, trailers))
                }
            },
            State::Closed { .. } => Ok(Event::NeedMore {
                consumed: input.len(),
            }),
            State::Refused(reject) => Err(*reject),
        }
    }

    /// What a head is that was read up to here, behind an empty line perhaps.
    fn head(
        &mut self,
        found: Result<Option<usize>, Reject>,
        skip: usize,
        head: &mut Head,
    ) -> Result<Event, Reject> {
        let len = match found {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(Event::NeedMore { consumed: skip }),
            Err(reject) => {
                head.forget_fields();
                return Err(reject);
            }
        };
        self.complete(head);
        Ok(Event::Head {
            consumed: skip + len,
        })
    }

    /// A head is complete.
    #[inline]
    fn complete(&mut self, head: &Head) {
        match (head.body(), &mut self.state) {
            // As it is from head to head, where there is no content.
            (
                BodyLength::None,
                State::Front {
                    empty_line,
                    trailers: None,
                },
            ) if head.keep_alive() => *empty_line = false,
            _ => self.turn(head),
        }
    }

    /// What comes behind a head.
    #[inline(never)]
    fn turn(&mut self, head: &Head) {
        let then = if head.keep_alive() {
            Then::Next
        } else {
            Then::Close
        };
        match head.body() {
            BodyLength::None => self.go_on(then, None),
            BodyLength::Length(left) => self.state = State::Length { left, then },
            BodyLength::Chunked => {
                let chunked = Chunked::default();
                self.state = State::Chunked { chunked, then };
            }
        }
    }

    fn end(&mut self, consumed: usize, then: Then, trailers: Option<Box<HeaderMap>>) -> Event {
        self.go_on(then, trailers);
        Event::End { consumed }
    }

    /// A message is complete.
    fn go_on(&mut self, then: Then, ended: Option<Box<HeaderMap>>) {
        self.state = match then {
            Then::Next => State::Front {
                empty_line: false,
                trailers: ended,
            },
            Then::Close => State::Closed { trailers: ended },
        };
    }

    /// Waits for no more of a head: leaves its request line in `head`, if that one has come, and no
    /// fields.
    pub fn give_up(&mut self, head: &mut Head) {
        head.clear();
        if let State::Head(partial) = &mut self.state {
            std::mem::swap(head, &mut partial.head);
            head.forget_fields();
        }
    }

    /// Whether the connection is between messages and nothing of another head has come: `input` is
    /// what was not consumed yet. A dropped empty line counts as nothing.
    pub fn is_idle(&self, input: &[u8]) -> bool {
        matches!(self.state, State::Front { .. }) && input.is_empty()
    }

    /// Whether an idle connection may be forgotten: a new reader would read on as this one does. It
    /// would not after an empty line, of which there may be one (RFC 9112 §2.2).
    pub fn is_new(&self) -> bool {
        let State::Front { empty_line, .. } = self.state else {
            return false;
        };
        !empty_line
    }

    /// The trailer fields of the message that just ended, until the next head; `None` where it had
    /// none. Those that must not be merged into a head are not among them (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> Option<&HeaderMap> {
        match &self.state {
            State::Front { trailers, .. } | State::Closed { trailers } => trailers.as_deref(),
            _ => None,
        }
    }
}
