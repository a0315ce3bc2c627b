//! What a web server says on one connection: bytes in, events out. Answers by itself what is not about
//! a request; never knows where bytes come from.

use ferricorn_http::Reject;

use super::pairs::Pairs;
use super::record::{Error, Header, Kind, ProtocolStatus, Records, Role, Step};
use super::values::{Asked, Values};
use super::write::{KEEP_CONN, end_request, end_stream, unknown_type};
use crate::codec::vars::{VarLimits, Vars};

/// What a connection may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are under way at once. One more is refused. Default: 1, as with php-fpm and all
    /// that is made with libfcgi; nginx, Apache and lighttpd never ask for more.
    pub requests: usize,
    /// The variables of one request.
    pub params: VarLimits,
    /// What is answered who asks for capabilities. Default: nothing.
    pub values: Values,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests: 1,
            params: VarLimits::default(),
            values: Values::default(),
        }
    }
}

/// What the reader made of the input. Offsets count from the first byte of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more can be done with this input. Drop `consumed` bytes, keep the rest (less than a
    /// header), and come back when there is more behind it.
    NeedMore {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// Something was answered that is no application's matter: it is in `out`, to be sent. Whoever
    /// lets that grow while the peer reads nothing is to stop reading, too.
    Replied {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// A request has begun; its variables follow.
    Begin {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// What it is called, until it is ended.
        id: u16,
    },
    /// The variables of a request are complete: [`Server::params`].
    Params {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// Of which request.
        id: u16,
    },
    /// Content of a request: skip `skip` bytes of framing, take `len` bytes (never 0), drop
    /// `skip + len`.
    Stdin {
        /// Of which request.
        id: u16,
        /// Bytes of framing in front of the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// The content of a request is complete. Whether it is as long as CONTENT_LENGTH said is for who
    /// reads it to see (section 6.2).
    StdinEnd {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// Of which request.
        id: u16,
    },
    /// The web server wants no answer any more: [`Server::end`] as soon as possible (section 5.4).
    Abort {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// Of which request.
        id: u16,
    },
}

/// The reader of one connection.
///
/// Resumable at every byte, linear in the input however it is cut. After a request was ended
/// ([`Server::end`]) what still comes of it is dropped. Responders only: other roles are refused.
#[derive(Debug, Default)]
pub struct Server {
    records: Records,
    /// What the content that comes next is.
    content: Content,
    active: Vec<Request>,
    /// Memory of requests that are over.
    spare: Vec<Request>,
    /// A request came that wants the connection closed behind it.
    closing: bool,
    failed: Option<Error>,
}

/// Length of the content that begins a request.
const BEGIN_LEN: usize = 8;

#[derive(Debug, Default)]
enum Content {
    /// Of no use.
    #[default]
    Nothing,
    Begin {
        id: u16,
        body: [u8; BEGIN_LEN],
        have: usize,
    },
    Params(u16),
    Stdin(u16),
    Values(Box<Asked>),
}

#[derive(Debug, Default)]
struct Request {
    id: u16,
    stage: Stage,
    keep: bool,
    pairs: Pairs,
    vars: Vars,
    refused: Option<Reject>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Params,
    Stdin,
    /// All has come.
    Complete,
}

impl Server {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new() -> Server {
        Server::default()
    }

    /// Makes one step. `input` begins with the first byte that was not consumed yet.
    ///
    /// # Errors
    /// Nothing more can be read of this connection: close it. Every later call says the same.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Event, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let event = self.step(input, limits, out);
        self.failed = event.err();
        event
    }

    /// The variables of a request, from its [`Event::Params`] on until it is ended.
    ///
    /// # Errors
    /// What to answer instead: they were too many, too large, or malformed. The connection goes on.
    pub fn params(&self, id: u16) -> Result<&Vars, Reject> {
        static NONE: Vars = Vars::new();
        match self.active.iter().find(|request| request.id == id) {
            Some(Request {
                refused: Some(reject),
                ..
            }) => Err(*reject),
            Some(request) => Ok(&request.vars),
            None => Ok(&NONE),
        }
    }

    /// Ends a request: writes the end of its answer, and of the connection's part in it. To be called
    /// once for each that began, as soon as all else of its answer is written; what comes of it later
    /// is dropped. Whether the connection is to be closed once `out` is sent (section 5.1: without
    /// `FCGI_KEEP_CONN` the application closes it).
    pub fn end(
        &mut self,
        id: u16,
        app_status: u32,
        status: ProtocolStatus,
        out: &mut Vec<u8>,
    ) -> bool {
        if let Some(index) = self.active.iter().position(|request| request.id == id) {
            if status == ProtocolStatus::Complete {
                end_stream(out, Kind::Stdout, id);
            }
            end_request(out, id, app_status, status);
            if let Content::Params(of) | Content::Stdin(of) = self.content {
                if of == id {
                    self.content = Content::Nothing;
                }
            }
            let ended = self.active.swap_remove(index);
            self.closing |= !ended.keep;
            self.spare.push(ended);
        }
        self.is_closing()
    }

    /// Whether the connection is to be closed once all is sent: a request that wanted it has ended, or
    /// was refused, and none is under way.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing && self.active.is_empty()
    }

    /// Requests that are under way.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Whether nothing is under way, `input` being what was not consumed yet: the connection may be
    /// closed without harm, or forgotten and read on by a new reader.
    #[must_use]
    pub fn is_idle(&self, input: &[u8]) -> bool {
        self.active.is_empty() && input.is_empty() && !self.records.in_record()
    }
}

impl Server {
    fn step(&mut self, input: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Result<Event, Error> {
        let mut at = 0;
        loop {
            let event = match self.records.next(&input[at..])? {
                Step::NeedMore { consumed } => {
                    let consumed = at + consumed;
                    return Ok(Event::NeedMore { consumed });
                }
                Step::Header { consumed, header } => {
                    at += consumed;
                    self.content = Content::Nothing;
                    self.header(header, at, limits, out)?
                }
                Step::Content { len, last } => {
                    if let Content::Stdin(id) = self.content {
                        return Ok(Event::Stdin { id, skip: at, len });
                    }
                    let content = &input[at..at + len];
                    at += len;
                    self.content(content, last, at, limits, out)?
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// A record begins; its header and all before it are `consumed`.
    fn header(
        &mut self,
        header: Header,
        consumed: usize,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, Error> {
        let Header {
            kind, id, content, ..
        } = header;
        if header.is_management() {
            match (kind, content) {
                (Kind::GetValues, 0) => limits.values.answer(&Vars::new(), out),
                (Kind::GetValues, _) => {
                    self.content = Content::Values(Box::default());
                    return Ok(None);
                }
                _ => unknown_type(out, kind),
            }
            return Ok(Some(Event::Replied { consumed }));
        }
        let request = self.active.iter_mut().find(|request| request.id == id);
        let (request, end) = match (kind, request) {
            (Kind::BeginRequest, Some(_)) => return Err(Error::Id(id)),
            (Kind::BeginRequest, None) if usize::from(content) != BEGIN_LEN => {
                return Err(Error::Length(kind));
            }
            (Kind::BeginRequest, None) => {
                let (body, have) = ([0; BEGIN_LEN], 0);
                self.content = Content::Begin { id, body, have };
                return Ok(None);
            }
            // Of one that has ended, perhaps before all of it had come (section 3.3).
            (_, None) => return Ok(None),
            (_, Some(request)) => (request, content == 0),
        };
        let event = match (kind, request.stage) {
            (Kind::AbortRequest, _) => Some(Event::Abort { consumed, id }),
            (Kind::Params, Stage::Params) if end => {
                request.stage = Stage::Stdin;
                if let Err(reject) = request.pairs.end() {
                    request.refused.get_or_insert(reject);
                }
                Some(Event::Params { consumed, id })
            }
            (Kind::Params, Stage::Params) => {
                self.content = Content::Params(id);
                None
            }
            (Kind::Stdin, Stage::Stdin) if end => {
                request.stage = Stage::Complete;
                Some(Event::StdinEnd { consumed, id })
            }
            (Kind::Stdin, Stage::Stdin) => {
                self.content = Content::Stdin(id);
                None
            }
            // An end that is said twice.
            (Kind::Params, _) | (Kind::Stdin, Stage::Complete) if end => None,
            (Kind::Params | Kind::Stdin, _) => return Err(Error::Order(kind)),
            // For filters; and what is of no request by the specification.
            (Kind::Data | Kind::Other(_), _) => None,
            _ => return Err(Error::Kind(kind)),
        };
        Ok(event)
    }

    /// Content that is not of STDIN; it and all before it are `consumed`.
    fn content(
        &mut self,
        content: &[u8],
        last: bool,
        consumed: usize,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, Error> {
        match &mut self.content {
            Content::Nothing | Content::Stdin(_) => {}
            Content::Begin { id, body, have } => {
                body[*have..*have + content.len()].copy_from_slice(content);
                *have += content.len();
                if last {
                    let (id, body) = (*id, *body);
                    return Ok(Some(self.begin(id, body, consumed, limits, out)));
                }
            }
            Content::Params(id) => {
                let request = self.active.iter_mut().find(|request| request.id == *id);
                if let Some(request) = request.filter(|request| request.refused.is_none()) {
                    let fed = request
                        .pairs
                        .feed(content, &mut request.vars, limits.params);
                    request.refused = fed.err();
                }
            }
            Content::Values(asked) => {
                asked.feed(content)?;
                if last {
                    asked.end()?;
                    limits.values.answer(&asked.vars, out);
                    return Ok(Some(Event::Replied { consumed }));
                }
            }
        }
        Ok(None)
    }

    fn begin(
        &mut self,
        id: u16,
        body: [u8; BEGIN_LEN],
        consumed: usize,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Event {
        let [high, low, flags, ..] = body;
        let keep = flags & KEEP_CONN != 0;
        let refusal = match Role::from(u16::from_be_bytes([high, low])) {
            Role::Responder if self.active.len() < limits.requests.max(1) => None,
            Role::Responder if limits.requests > 1 => Some(ProtocolStatus::Overloaded),
            Role::Responder => Some(ProtocolStatus::CannotMultiplex),
            _ => Some(ProtocolStatus::UnknownRole),
        };
        if let Some(status) = refusal {
            end_request(out, id, 0, status);
            self.closing |= !keep;
            return Event::Replied { consumed };
        }
        let mut request = self.spare.pop().unwrap_or_default();
        request.vars.clear();
        let vars = request.vars;
        self.active.push(Request {
            id,
            keep,
            vars,
            ..Request::default()
        });
        Event::Begin { consumed, id }
    }
}
