//! What an application answers on one connection: bytes in, events out. One request at a time, as
//! php-fpm and all that is made with libfcgi serve them.

use super::record::{Error, Header, Kind, ProtocolStatus, Records, Step};
use super::values::{Asked, Values};

/// What the reader made of the input. Offsets count from the first byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more can be done with this input. Drop `consumed` bytes, keep the rest (less than a
    /// header), and come back when there is more behind it.
    NeedMore {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// Some of the answer: skip `skip` bytes of framing, take `len` bytes (never 0), drop `skip + len`.
    Stdout {
        /// Bytes of framing in front of the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// Some of what is for the log; as [`Event::Stdout`].
    Stderr {
        /// Bytes of framing in front of the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// The request is over. The connection may carry another one, if it was asked to
    /// ([`begin`](super::begin)) and the whole of this one was sent.
    End {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// What a CGI program would have exited with.
        app_status: u32,
        /// How the request ended: answered only if [`ProtocolStatus::Complete`].
        status: ProtocolStatus,
    },
    /// What was asked by [`Values::ask`] is answered. php-fpm closes the connection then.
    Values {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// The answer.
        values: Values,
    },
}

/// The reader of one connection. Resumable at every byte, linear in the input however it is cut.
#[derive(Debug, Default)]
pub struct Client {
    records: Records,
    /// What the content that comes next is.
    content: Content,
    /// The request that is not over; 0: none.
    id: u16,
    /// STDOUT has ended. An application need not say so, and php-fpm does not.
    stdout_ended: bool,
    asked: bool,
    failed: Option<Error>,
}

/// Length of the content that ends a request.
const END_LEN: usize = 8;

#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Stdout,
    Stderr,
    End {
        body: [u8; END_LEN],
        have: usize,
    },
    Values(Box<Asked>),
}

impl Client {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new() -> Client {
        Client::default()
    }

    /// A request of this id, which is not 0, is about to be sent; the one before is over.
    pub fn begin(&mut self, id: u16) {
        self.id = id;
        self.stdout_ended = false;
    }

    /// The application is about to be asked for its capabilities.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// Whether no answer is outstanding, `input` being what was not consumed yet. What an application
    /// says then belongs to nothing: such a connection is not used again.
    #[must_use]
    pub fn is_idle(&self, input: &[u8]) -> bool {
        self.id == 0 && !self.asked && self.failed.is_none() && input.is_empty()
    }

    /// Makes one step. `input` begins with the first byte that was not consumed yet.
    ///
    /// # Errors
    /// Nothing more can be read of this connection: close it, and what has come of the answer is all.
    /// Every later call says the same.
    pub fn next(&mut self, input: &[u8]) -> Result<Event, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let event = self.step(input);
        self.failed = event.err();
        event
    }

    /// The connection is at its end.
    ///
    /// # Errors
    /// [`Error::End`]: something was outstanding.
    pub fn end(&self, input: &[u8]) -> Result<(), Error> {
        match self.is_idle(input) && !self.records.in_content() {
            true => Ok(()),
            false => Err(self.failed.unwrap_or(Error::End)),
        }
    }

    fn step(&mut self, input: &[u8]) -> Result<Event, Error> {
        let mut at = 0;
        loop {
            match self.records.next(&input[at..])? {
                Step::NeedMore { consumed } => {
                    let consumed = at + consumed;
                    return Ok(Event::NeedMore { consumed });
                }
                Step::Header { consumed, header } => {
                    at += consumed;
                    self.content = self.header(header)?;
                    // Nothing is said of any of what was asked, or the question was not understood.
                    if self.asked && header.is_management() && header.content == 0
                        || header.kind == Kind::UnknownType
                    {
                        self.asked = false;
                        return Ok(Event::Values {
                            consumed: at,
                            values: Values::default(),
                        });
                    }
                }
                Step::Content { len, last } => {
                    let content = &input[at..at + len];
                    match self.content {
                        Content::Stdout => return Ok(Event::Stdout { skip: at, len }),
                        Content::Stderr => return Ok(Event::Stderr { skip: at, len }),
                        _ => at += len,
                    }
                    if let Some(event) = self.content(content, last, at)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// What the content of this record is.
    fn header(&mut self, header: Header) -> Result<Content, Error> {
        let Header {
            kind, id, content, ..
        } = header;
        match kind {
            Kind::GetValuesResult if header.is_management() && self.asked => {
                return Ok(Content::Values(Box::default()));
            }
            Kind::UnknownType if header.is_management() && self.asked => {
                return Ok(Content::Nothing);
            }
            Kind::Stdout | Kind::Stderr | Kind::EndRequest => {}
            _ => return Err(Error::Kind(kind)),
        }
        if header.is_management() || id != self.id {
            return Err(Error::Id(id));
        }
        match kind {
            Kind::Stdout if self.stdout_ended && content > 0 => Err(Error::Order(kind)),
            Kind::Stdout => {
                self.stdout_ended = content == 0;
                Ok(Content::Stdout)
            }
            Kind::Stderr => Ok(Content::Stderr),
            _ if usize::from(content) != END_LEN => Err(Error::Length(kind)),
            _ => {
                let (body, have) = ([0; END_LEN], 0);
                Ok(Content::End { body, have })
            }
        }
    }

    /// Content that is nobody's but ours; it and all before it are `consumed`.
    fn content(
        &mut self,
        content: &[u8],
        last: bool,
        consumed: usize,
    ) -> Result<Option<Event>, Error> {
        match &mut self.content {
            Content::Nothing | Content::Stdout | Content::Stderr => Ok(None),
            Content::End { body, have } => {
                body[*have..*have + content.len()].copy_from_slice(content);
                *have += content.len();
                let [a, b, c, d, status, ..] = *body;
                if !last {
                    return Ok(None);
                }
                self.id = 0;
                Ok(Some(Event::End {
                    consumed,
                    app_status: u32::from_be_bytes([a, b, c, d]),
                    status: status.into(),
                }))
            }
            Content::Values(asked) => {
                asked.feed(content)?;
                if !last {
                    return Ok(None);
                }
                asked.end()?;
                self.asked = false;
                let values = Values::read(&asked.vars);
                Ok(Some(Event::Values { consumed, values }))
            }
        }
    }
}
