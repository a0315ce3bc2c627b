//! The exchange with one program: the body goes to its standard input, its standard output becomes the answer,
//! all three streams at once and none waited for. Driven by the worker's loop.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use ferricorn_base::sys::spawn::{Resource, Start};
use ferricorn_base::task::{Turn, Watch};
use ferricorn_base::{Error, Step, Task, logs};
use http::StatusCode;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::errors::Errors;
use super::keeper::{About, Place, Ward};
use super::place::Found;
use crate::codec::HeadLimits;
use crate::codec::cgi_head::{Answer, Form, HeadReader, Kind};
use crate::codec::vars::Vars;

/// Bytes that are read at once: what a pipe holds.
const PIECE: usize = 64 * 1024;
/// Writes to it in one turn.
const WRITES: usize = 16;
/// What of its errors is read in one turn.
const ERRORS: usize = 16 * 1024;

/// What is needed to begin.
pub(super) struct Order<'a> {
    pub(super) found: Found,
    pub(super) vars: &'a Vars,
    pub(super) limits: Vec<(Resource, u64)>,
    pub(super) timeout: Option<Duration>,
    /// Bytes of the body; `None`: as many as there will be.
    pub(super) length: Option<u64>,
    pub(super) place: Place,
}

/// One that was not started yet.
#[derive(Debug)]
struct Prepared {
    found: Found,
    environment: Vec<CString>,
    limits: Vec<(Resource, u64)>,
    place: Place,
}

/// An exchange.
#[derive(Debug)]
pub(super) struct Running {
    prepared: Option<Prepared>,
    streams: Option<Streams>,
    timeout: Option<Duration>,
    /// The length of the body is to be told, and is not known before all of it is here.
    needs_length: bool,
    /// The name says that it writes its head itself (RFC 3875 section 5).
    writes_http: bool,
    head: Vec<u8>,
    reader: HeadReader,
    /// There is a head, and so many bytes of content are to follow, if it says so.
    answered: Option<Option<u64>>,
    /// What of the content came with the head.
    first: Option<Bytes>,
    errors: Errors,
    began_us: u64,
    /// When it has taken too long.
    due_us: u64,
}

/// Our ends.
#[derive(Debug)]
struct Streams {
    ward: Ward,
    /// `None`: all of the body was written, or it wants no more.
    input: Option<Pipe>,
    output: Pipe,
    errors: Option<Pipe>,
}

#[derive(Debug)]
struct Pipe {
    file: File,
    watch: Watch,
}

/// What reading a pipe brings.
enum Got {
    Some,
    Nothing,
    End,
}

impl Order<'_> {
    /// An exchange that begins with the first step.
    pub(super) fn prepare(self) -> Result<Running, Error> {
        let environment = self.vars.iter().map(|(name, value)| {
            let both = [name, b"=", value].concat();
            CString::new(both).map_err(|_| Error::msg("a variable holds a NUL"))
        });
        let name = self.found.path.file_name().unwrap_or_default();
        Ok(Running {
            writes_http: name.as_encoded_bytes().starts_with(b"nph-"),
            prepared: Some(Prepared {
                environment: environment.collect::<Result<_, _>>()?,
                found: self.found,
                limits: self.limits,
                place: self.place,
            }),
            streams: None,
            timeout: self.timeout,
            needs_length: self.length.is_none(),
            head: Vec::new(),
            reader: HeadReader::new(),
            answered: None,
            first: None,
            errors: Errors::default(),
            began_us: 0,
            due_us: u64::MAX,
        })
    }
}

impl Task for Running {
    fn needs_whole_body(&self) -> bool {
        self.needs_length
    }

    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        logs::enter(turn.request.request_id());
        let step = self.go_on(turn);
        logs::leave();
        step
    }
}

impl Running {
    fn go_on(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        if let Some(prepared) = self.prepared.take() {
            self.streams = Some(self.start(prepared, turn)?);
            self.began_us = turn.now_us();
            self.put_off(turn);
        }
        if let Some(first) = self.first.take() {
            return self.content(first);
        }
        let mut more = self.feed(turn)?;
        more |= self.listen(turn)?;
        let mut piece = Vec::new();
        loop {
            return match self.streams()?.output.read(&mut piece, PIECE)? {
                Got::Some => {
                    self.put_off(turn);
                    if self.answered.is_some() {
                        return self.content(piece.into());
                    }
                    match self.read_head(&piece, turn)? {
                        Some(step) => Ok(step),
                        None => continue,
                    }
                }
                Got::End => self.end(turn),
                Got::Nothing if turn.now_us() >= self.due_us => Ok(self.late()),
                Got::Nothing => {
                    let left = Duration::from_micros(self.due_us.saturating_sub(turn.now_us()));
                    match more {
                        // When others have had their turn.
                        true => turn.wake_after(Duration::from_millis(1)),
                        false if self.due_us == u64::MAX => turn.wake_never(),
                        false => turn.wake_after(left),
                    }
                    Ok(Step::Wait)
                }
            };
        }
    }

    /// Has it started, with pipes to it.
    fn start(&self, prepared: Prepared, turn: &mut Turn<'_>) -> Result<Streams, Error> {
        let (its_input, input) = pipe2(OFlag::O_CLOEXEC)?;
        let (output, its_output) = pipe2(OFlag::O_CLOEXEC)?;
        let (errors, its_errors) = pipe2(OFlag::O_CLOEXEC)?;
        let mut environment = prepared.environment;
        if self.needs_length {
            let length = turn.request.body().len();
            environment.push(CString::new(format!("CONTENT_LENGTH={length}"))?);
        }
        let path = prepared.found.c_path();
        let path = path.ok_or_else(|| Error::msg("the path of the program holds a NUL"))?;
        let (head, client) = (turn.request.head(), turn.request.client());
        let about = About {
            id: turn.request.request_id().to_string(),
            line: format!(
                "{} for {} {} of {client}",
                prepared.found.path.display(),
                head.method(),
                head.target()
            ),
        };
        let start = Start {
            // Never anything of the query (RFC 3875 section 4.4).
            arguments: vec![path.clone()],
            path,
            environment,
            directory: prepared.found.directory,
            streams: [its_input, its_output, its_errors],
            limits: prepared.limits,
        };
        let streams = [input, output, errors].map(|fd| Pipe::of(fd, turn));
        let [input, output, errors] = streams;
        Ok(Streams {
            input: Some(input?),
            output: output?,
            errors: Some(errors?),
            ward: Ward::start(start, about, prepared.place)?,
        })
    }

    fn streams(&mut self) -> Result<&mut Streams, Error> {
        let streams = self.streams.as_mut();
        streams.ok_or_else(|| Error::msg("the program was not started"))
    }

    /// It has shown that it goes on.
    fn put_off(&mut self, turn: &Turn<'_>) {
        if let Some(time) = self.timeout {
            let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            self.due_us = turn.now_us().saturating_add(time);
        }
    }

    /// Writes what is here of the body: whether more could go at once.
    fn feed(&mut self, turn: &mut Turn<'_>) -> Result<bool, Error> {
        for _ in 0..WRITES {
            let Some(pipe) = &mut self.streams()?.input else {
                // It wants no more, and the client is to be heard all the same.
                if !self.needs_length {
                    let len = turn.body()?.len();
                    turn.take(len);
                }
                return Ok(false);
            };
            let bytes = turn.body()?;
            if bytes.is_empty() {
                if turn.is_body_ended() {
                    self.streams()?.input = None;
                }
                return Ok(false);
            }
            if !pipe.watch.is_writable() {
                return Ok(false);
            }
            match pipe.file.write(bytes) {
                Ok(n) => {
                    turn.take(n);
                    self.put_off(turn);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    pipe.watch.filled();
                    return Ok(false);
                }
                // A program need not read (RFC 3875 section 4.2).
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.streams()?.input = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads what it says on the side: whether there may be more.
    fn listen(&mut self, turn: &Turn<'_>) -> Result<bool, Error> {
        let seconds = turn.now_us().saturating_sub(self.began_us) / 1_000_000;
        let mut piece = Vec::new();
        let streams = self.streams.as_mut();
        let Some(pipe) = streams.and_then(|streams| streams.errors.as_mut()) else {
            return Ok(false);
        };
        let got = pipe.read(&mut piece, ERRORS)?;
        let name = turn.request.path();
        self.errors
            .push(&piece, seconds, |line| log::warn!("{name}: {line}"));
        match got {
            Got::Some => Ok(true),
            Got::Nothing => Ok(false),
            Got::End => {
                self.streams()?.errors = None;
                Ok(false)
            }
        }
    }

    /// Its last words.
    fn hear_out(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        // As much as a pipe holds.
        for _ in 0..PIECE / ERRORS {
            if !self.listen(turn)? {
                break;
            }
        }
        let name = turn.request.path();
        self.errors.end(|line| log::warn!("{name}: {line}"));
        Ok(())
    }

    /// More of its head: what follows from that, once it is complete.
    fn read_head(&mut self, piece: &[u8], turn: &mut Turn<'_>) -> Result<Option<Step>, Error> {
        self.head.extend_from_slice(piece);
        let (len, answer) = match self.reader.next(&self.head, HeadLimits::default()) {
            Ok(None) => return Ok(None),
            Ok(Some(read)) => read,
            Err(error) => return self.bad(error.0, turn).map(Some),
        };
        if self.writes_http && answer.form != Form::Http {
            let reason = "the head of an nph- program has no status line";
            return self.bad(reason, turn).map(Some);
        }
        let rest = self.head.split_off(len);
        self.head = Vec::new();
        self.answered = Some(answer.length);
        if let Kind::LocalRedirect(target) = answer.kind {
            self.hear_out(turn)?;
            let timeout = self.timeout;
            self.streams()?.ward.let_go(timeout);
            return Ok(Some(Step::Redirect(target)));
        }
        self.first = (!rest.is_empty()).then(|| rest.into());
        let Answer { status, fields, .. } = answer;
        Ok(Some(Step::Head(status, fields, answer.length)))
    }

    /// Some of the content; what is beyond its length is nobody's.
    fn content(&mut self, mut piece: Bytes) -> Result<Step, Error> {
        if let Some(Some(left)) = &mut self.answered {
            let len = usize::try_from(*left).unwrap_or(usize::MAX);
            piece.truncate(len);
            *left -= piece.len() as u64;
        }
        Ok(Step::Content(piece))
    }

    /// It says no more.
    fn end(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        self.hear_out(turn)?;
        let timeout = self.timeout;
        let streams = self.streams()?;
        let reason = streams.ward.failure().map(|failed| {
            let failed = failed.to_string();
            format!("the program cannot be started: {failed}")
        });
        streams.ward.let_go(timeout);
        if let Some(reason) = reason {
            return Ok(Step::Fail(StatusCode::BAD_GATEWAY, Error::msg(reason)));
        }
        match self.answered {
            Some(_) => Ok(Step::End),
            None => self.bad("the program ended without a head", turn),
        }
    }

    /// What it answers is no answer.
    fn bad(&mut self, reason: &str, turn: &mut Turn<'_>) -> Result<Step, Error> {
        self.hear_out(turn)?;
        let error = match self.errors.tail() {
            tail if tail.is_empty() => Error::msg(reason),
            tail => Error::msg(format!("{reason}; it said: {tail}")),
        };
        Ok(Step::Fail(StatusCode::BAD_GATEWAY, error))
    }

    /// It has taken too long. It is ended when this is dropped.
    fn late(&mut self) -> Step {
        let after = match self.answered {
            None => "no answer",
            Some(_) => "nothing more of the answer",
        };
        let time = self.timeout.unwrap_or_default();
        let error = Error::msg(format!("{after} of the program for {time:?}"));
        Step::Fail(StatusCode::GATEWAY_TIMEOUT, error)
    }
}

impl Pipe {
    /// Our end of one, watched.
    fn of(fd: OwnedFd, turn: &mut Turn<'_>) -> io::Result<Pipe> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let watch = turn.watch(fd.as_fd())?;
        let file = File::from(fd);
        Ok(Pipe { file, watch })
    }

    /// Reads once, so many bytes at most.
    fn read(&mut self, into: &mut Vec<u8>, most: usize) -> io::Result<Got> {
        if !self.watch.is_readable() {
            return Ok(Got::Nothing);
        }
        into.resize(most, 0);
        let read = loop {
            match self.file.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        into.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(Got::End),
            Ok(_) => Ok(Got::Some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.watch.drained();
                Ok(Got::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}
