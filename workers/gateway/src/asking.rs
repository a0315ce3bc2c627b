//! One request to a back end, as a task: connect or take a connection that is kept, say what is asked, then
//! write the body and read the answer as either goes. What is said differs by [`Dialect`]; how, does not.

mod heard;

use std::io;
use std::time::Duration;

use ferricorn_base::task::Turn;
use ferricorn_base::{Error, Step, Task};
use http::StatusCode;

use crate::answer::Answer;
use crate::codec::http_answer::{AnswerReader, Question};
use crate::codec::vars::{Given, Vars};
use crate::codec::{fastcgi, scgi, uwsgi};
use crate::forward;
use crate::options::Options;
use crate::script::Script;
use crate::stderr::Stderr;
use crate::upstream::{Link, Moved, Pool, Target};

/// Bytes that one read brings at most.
const READ: usize = 64 * 1024;
/// Bytes of a body that one record has at most.
const RECORD: usize = 32 * 1024;
/// The one request of a connection.
const ID: u16 = 1;

/// What is spoken with the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// FastCGI, as a responder, one request at a time.
    FastCgi,
    /// SCGI.
    Scgi,
    /// uwsgi with modifier 0.
    Uwsgi,
    /// HTTP/1.1, as a reverse proxy.
    Http,
}

/// A back end, and how it is asked.
#[derive(Debug)]
pub struct BackEnd {
    pub(crate) dialect: Dialect,
    pub(crate) target: Target,
    pub(crate) options: Options,
    pub(crate) pool: Pool,
    pub(crate) software: String,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Asking {
    back_end: std::sync::Arc<BackEnd>,
    script: Script,
    link: Option<Link>,
    /// The address that is tried.
    address: usize,
    connected: bool,
    /// What is to be written, from `at` on.
    out: Vec<u8>,
    at: usize,
    /// How much of it stands in front of the body.
    opening: usize,
    /// It cannot be written once more.
    lost: bool,
    /// All of it was put into `out`.
    body_ended: bool,
    records: fastcgi::Client,
    http: AnswerReader,
    /// Something of an answer came.
    heard: bool,
    /// It may be asked once more, when nothing is known of the first time.
    idempotent: bool,
    /// What was read and not understood yet.
    input: Vec<u8>,
    answer: Answer,
    /// The back end has answered.
    over: bool,
    stderr: Stderr,
    length: Option<u64>,
}

impl Asking {
    pub(crate) fn new(
        back_end: std::sync::Arc<BackEnd>,
        script: Script,
        length: Option<u64>,
        idempotent: bool,
    ) -> Asking {
        Asking {
            back_end,
            script,
            link: None,
            address: 0,
            connected: false,
            out: Vec::new(),
            at: 0,
            opening: 0,
            lost: false,
            body_ended: false,
            records: fastcgi::Client::new(),
            http: AnswerReader::new(),
            heard: false,
            idempotent,
            input: Vec::new(),
            answer: Answer::default(),
            over: false,
            stderr: Stderr::default(),
            length,
        }
    }

    /// Says what is asked.
    fn open(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.back_end.dialect == Dialect::Http {
            forward::write_head(&mut self.out, turn.request, self.length);
            self.opening = self.out.len();
            return Ok(());
        }
        let length = match self.length {
            None => Some(turn.request.body().len()),
            length => length,
        };
        let mut vars = Vars::new();
        vars.fill(
            turn.request,
            &Given {
                script_name: &self.script.name,
                path_info: &self.script.info,
                document_root: self.back_end.options.root.as_deref().map(str::as_bytes),
                script_filename: self.script.file.as_deref(),
                content_length: length.filter(|length| *length > 0),
                server_software: &self.back_end.software,
                authorization: true,
                environment: &self.back_end.options.env,
            },
        );
        match self.back_end.dialect {
            Dialect::FastCgi => {
                let keep = self.back_end.pool.keeps();
                fastcgi::begin(&mut self.out, ID, fastcgi::Role::Responder, keep);
                fastcgi::params(&mut self.out, ID, &vars)?;
            }
            Dialect::Scgi => scgi::write(&mut self.out, &vars, length.unwrap_or(0))?,
            Dialect::Uwsgi => uwsgi::write(&mut self.out, 0, &vars)?,
            Dialect::Http => {}
        }
        self.opening = self.out.len();
        Ok(())
    }

    /// Takes a connection, or begins to make one.
    fn reach(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        if let Some(link) = self.back_end.pool.take(turn) {
            self.connected = true;
            self.link = Some(link);
        } else {
            self.link = Some(self.back_end.target.connect(self.address, turn)?);
            self.connected = false;
            turn.wake_after(self.back_end.options.connect_timeout);
        }
        match self.back_end.dialect {
            Dialect::FastCgi => {
                self.records = fastcgi::Client::new();
                self.records.begin(ID);
            }
            Dialect::Http => self.http.begin(Question {
                head: turn.request.head().method() == "HEAD",
                upgrade: false,
            }),
            Dialect::Scgi | Dialect::Uwsgi => {}
        }
        Ok(())
    }

    /// Once more, over another connection, where nothing was heard and nothing is lost: one that was kept
    /// may be closed at any moment.
    fn retry(&mut self) -> bool {
        let kept = self.link.as_ref().is_some_and(|link| !link.is_new());
        let again = kept && !self.lost && !self.heard && self.idempotent;
        if again {
            self.link = None;
            self.connected = false;
            self.out.truncate(self.opening);
            self.at = 0;
            self.body_ended = false;
            self.input.clear();
        }
        again
    }

    /// Writes what goes.
    fn write(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        loop {
            let idle = self.at == self.out.len();
            // The beginning of the body goes with what stands in front of it.
            if (idle || self.is_at_start()) && !self.over && self.has_more(turn)? {
                if idle && !turn.body()?.is_empty() {
                    self.out.clear();
                    (self.at, self.lost) = (0, true);
                }
                self.frame(turn)?;
            }
            let Some(link) = self.link.as_mut().filter(|_| self.at < self.out.len()) else {
                return Ok(());
            };
            match link.write(&self.out[self.at..]) {
                Ok(Moved::Bytes(n)) => {
                    self.at += n;
                    set_patience(turn, self.back_end.options.timeout);
                }
                Ok(_) => return Ok(()),
                Err(_) => {
                    // It may have answered all the same, before it closed. What is left is of no use.
                    self.at = self.out.len();
                    self.body_ended = true;
                    return Ok(());
                }
            }
        }
    }

    /// Whether the back end has more to read or to answer, and the client nothing to send.
    fn is_asked(&self) -> bool {
        self.body_ended || self.at < self.out.len()
    }

    fn is_at_start(&self) -> bool {
        self.at == 0 && self.out.len() == self.opening
    }

    /// Whether there is more to be said of the body.
    fn has_more(&self, turn: &mut Turn<'_>) -> io::Result<bool> {
        Ok(!self.body_ended && (!turn.body()?.is_empty() || turn.is_body_ended()))
    }

    /// Puts more of the body behind what is to be written.
    fn frame(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        let body = turn.body()?;
        let some = &body[..body.len().min(RECORD)];
        let len = some.len();
        match self.back_end.dialect {
            Dialect::FastCgi => fastcgi::stream(&mut self.out, fastcgi::Kind::Stdin, ID, some),
            Dialect::Http if self.length.is_none() => forward::write_chunk(&mut self.out, some),
            _ => self.out.extend_from_slice(some),
        }
        turn.take(len);
        self.lost |= len > 0;
        if turn.body()?.is_empty() && turn.is_body_ended() {
            self.body_ended = true;
            match self.back_end.dialect {
                Dialect::FastCgi => fastcgi::end_stream(&mut self.out, fastcgi::Kind::Stdin, ID),
                Dialect::Http if self.length.is_none() => forward::end_chunks(&mut self.out),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads what is there: whether the back end has closed.
    fn read(&mut self, turn: &mut Turn<'_>) -> io::Result<Option<bool>> {
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        let start = self.input.len();
        self.input.resize(start + READ, 0);
        let moved = link.read(&mut self.input[start..]);
        let read = match &moved {
            Ok(Moved::Bytes(n)) => *n,
            _ => 0,
        };
        self.input.truncate(start + read);
        match moved? {
            Moved::Bytes(_) => {
                self.heard = true;
                set_patience(turn, self.back_end.options.timeout);
                Ok(Some(false))
            }
            Moved::Nothing => Ok(None),
            Moved::End => Ok(Some(true)),
        }
    }

    /// What becomes of the connection when the answer is complete.
    fn keep(&mut self, turn: &mut Turn<'_>) {
        let Some(link) = self.link.take() else {
            return;
        };
        let sent = self.body_ended && self.at == self.out.len();
        let fit = match self.back_end.dialect {
            Dialect::FastCgi => self.records.is_idle(&self.input),
            Dialect::Http => self.http.is_reusable(&self.input),
            Dialect::Scgi | Dialect::Uwsgi => false,
        };
        if sent && fit && self.back_end.pool.keeps() {
            self.back_end.pool.put(link, turn);
        }
    }

    fn fail(&self, status: StatusCode, why: impl std::fmt::Display) -> Step {
        let target = &self.back_end.target;
        Step::Fail(status, Error::msg(format!("{target}: {why}")))
    }

    fn go_on(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        loop {
            if let Some(step) = self.answer.step() {
                if matches!(step, Step::End) {
                    self.keep(turn);
                }
                return Ok(step);
            }
            if self.link.is_none() {
                if self.opening == 0 {
                    self.open(turn)?;
                }
                if let Err(error) = self.reach(turn) {
                    // EAGAIN: more wait for the back end than it lets in.
                    let full = error.kind() == io::ErrorKind::WouldBlock;
                    return match self.next_address() {
                        true => continue,
                        false if full => {
                            Ok(self.fail(StatusCode::SERVICE_UNAVAILABLE, "it is busy"))
                        }
                        false => Ok(self.fail(StatusCode::BAD_GATEWAY, error)),
                    };
                }
            }
            if !self.connected {
                let link = self.link.as_mut();
                match link.map_or(Ok(false), Link::is_connected) {
                    Ok(true) => {
                        self.connected = true;
                        set_patience(turn, self.back_end.options.timeout);
                    }
                    Ok(false) if turn.is_due() => {
                        if self.next_address() {
                            continue;
                        }
                        let late = "it cannot be connected to in time";
                        return Ok(self.fail(StatusCode::GATEWAY_TIMEOUT, late));
                    }
                    Ok(false) => return Ok(Step::Wait),
                    Err(_) if self.next_address() => continue,
                    Err(error) => return Ok(self.fail(StatusCode::BAD_GATEWAY, error)),
                }
            }
            self.write(turn)?;
            let ended = match self.read(turn) {
                Ok(Some(ended)) => ended,
                // While it is the client's turn, the back end is not late.
                Ok(None) if turn.is_due() && self.is_asked() => {
                    return Ok(self.fail(StatusCode::GATEWAY_TIMEOUT, "it takes too long"));
                }
                Ok(None) => return Ok(Step::Wait),
                Err(_) if self.retry() => continue,
                Err(error) => return Ok(self.fail(StatusCode::BAD_GATEWAY, error)),
            };
            if ended && self.input.is_empty() && self.retry() {
                continue;
            }
            if let Err(error) = self.understand(turn.request, ended) {
                return Ok(self.fail(StatusCode::BAD_GATEWAY, format!("{error:#}")));
            }
        }
    }

    /// Whether there is another address to try.
    fn next_address(&mut self) -> bool {
        self.link = None;
        self.address += 1;
        self.address < self.back_end.target.addresses()
    }
}

impl Task for Asking {
    fn needs_whole_body(&self) -> bool {
        // Its length is to be announced.
        self.length.is_none() && self.back_end.dialect != Dialect::Http
    }

    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        self.go_on(turn)
    }
}

fn set_patience(turn: &mut Turn<'_>, time: Duration) {
    if time.is_zero() {
        turn.wake_never();
    } else {
        turn.wake_after(time);
    }
}
