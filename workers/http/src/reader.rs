//! The request side of one connection: bytes in, events out. Owns the state between calls and
//! no bytes; never knows where bytes come from, nor what is answered.

use crate::{
    chunked::{Chunked, Step},
    head::Head,
    kinds::BodyLength,
    limits::Limits,
    reject::Reject,
    scan::{Front, Scan},
    trailers::Trailers,
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
    /// The head is complete, and in the [`Head`] that was given.
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
    /// The message is complete; its trailers are there. The next call begins the next head.
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
    /// Bytes of content so far.
    received: u64,
    /// Whether another head may follow this message.
    persists: bool,
    trailers: Option<Box<Trailers>>,
}

#[derive(Debug)]
enum State {
    /// Before or in a head.
    Head(Scan),
    /// In content of which this many bytes are to come; also where there is none.
    Length(u64),
    /// In chunked content.
    Chunked(Chunked),
    /// Behind the last message.
    Closed,
    /// Behind a reject.
    Refused(Reject),
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Scan::default())
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
    /// until they are consumed. `head` is the same one from call to call; it is filled by the call
    /// that returns [`Event::Head`], may be cleared by a call that wants more of a head, and is
    /// left alone by the others. The largest part of the input that has to be kept is a head, so
    /// a buffer of [`Limits::head`] bytes is always enough.
    ///
    /// # Errors
    /// [`Reject`]: answer its status, then close. Nothing of the input may be read as a request.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Event, Reject> {
        let event = match &mut self.state {
            State::Head(_) => self.next_head(input, limits, head),
            State::Length(0) => Ok(self.end(0)),
            State::Length(remaining) => {
                let len = input
                    .len()
                    .min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                if len == 0 {
                    return Ok(Event::NeedMore { consumed: 0 });
                }
                *remaining -= len as u64;
                self.received += len as u64;
                Ok(Event::Data { skip: 0, len })
            }
            State::Chunked(chunked) => {
                match chunked.next(input, self.received, limits, &mut self.trailers) {
                    Ok(Step::NeedMore { consumed }) => Ok(Event::NeedMore { consumed }),
                    Ok(Step::Data { skip, len }) => {
                        self.received += len as u64;
                        Ok(Event::Data { skip, len })
                    }
                    Ok(Step::End { consumed }) => Ok(self.end(consumed)),
                    Err(reject) => Err(reject),
                }
            }
            State::Closed => Ok(Event::NeedMore {
                consumed: input.len(),
            }),
            State::Refused(reject) => Err(*reject),
        };
        if let Err(reject) = event {
            self.state = State::Refused(reject);
        }
        event
    }

    fn next_head(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Event, Reject> {
        let State::Head(scan) = &mut self.state else {
            return Ok(Event::NeedMore { consumed: 0 });
        };
        let mut skip = 0;
        if scan.is_fresh() {
            loop {
                match scan.front(&input[skip..])? {
                    Front::NeedMore => return Ok(Event::NeedMore { consumed: skip }),
                    Front::EmptyLine => {
                        scan.dropped = true;
                        skip += 2;
                    }
                    Front::Method => break,
                }
            }
        }
        let input = &input[skip..];
        // The usual case: the whole head is there, and in order. Whatever is wrong with it, the
        // scan finds out what a client that sends it byte by byte would have been told.
        let mut len = None;
        if scan.is_fresh() {
            len = head.fill(input, limits).unwrap_or(None);
        }
        let len = match len {
            Some(len) => len,
            None => match scan.advance(input, limits)? {
                None => return Ok(Event::NeedMore { consumed: skip }),
                Some(end) => match head.fill(&input[..end], limits)? {
                    Some(len) if len == end => len,
                    _ => return Err(Reject::bad("head is malformed")),
                },
            },
        };
        self.received = 0;
        self.trailers = None;
        self.persists = head.keep_alive();
        self.state = match head.body() {
            BodyLength::None => State::Length(0),
            BodyLength::Length(length) => State::Length(length),
            BodyLength::Chunked => State::Chunked(Chunked::default()),
        };
        Ok(Event::Head {
            consumed: skip + len,
        })
    }

    /// RFC 9112 §9.6: after a message that ends the connection no other is read.
    fn end(&mut self, consumed: usize) -> Event {
        self.state = if self.persists {
            State::default()
        } else {
            State::Closed
        };
        Event::End { consumed }
    }

    /// Whether the connection is between messages and nothing of another head has come: `input` is
    /// what was not consumed yet. A dropped empty line counts as nothing.
    pub fn is_idle(&self, input: &[u8]) -> bool {
        matches!(self.state, State::Head(_)) && input.is_empty()
    }

    /// Whether an idle connection may be forgotten: a new reader would read on as this one does. It
    /// would not after an empty line, of which there may be one (RFC 9112 §2.2).
    pub fn is_new(&self) -> bool {
        matches!(&self.state, State::Head(scan) if scan.is_fresh() && !scan.dropped)
    }

    /// The trailer fields of the message that just ended, until the next head; `None` where it had
    /// none. Those that must not be merged into a head are not among them (RFC 9110 §6.5.1).
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers
            .as_deref()
            .map(Trailers::fields)
            .filter(|fields| !fields.is_empty())
    }

    /// Bytes of content of this message handed out so far.
    pub fn body_received(&self) -> u64 {
        self.received
    }

    /// Bytes of content still to come; `None` while a chunked body goes on, 0 between messages.
    pub fn body_remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::Chunked(_) => None,
            State::Head(_) | State::Closed | State::Refused(_) => Some(0),
        }
    }
}
