//! Bytes on their way to a client: heads and small bodies gathered in one piece of memory, then at
//! most one large body behind them.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use ferricorn_base::transport::Transport;

/// Bodies up to this many bytes are copied behind their head; larger ones go by writev(2).
pub(crate) const INLINE: usize = 4 * 1024;
/// Answers to pipelined requests are written when they are this many bytes.
pub(crate) const GATHER: usize = 64 * 1024;
/// How many writes one connection gets before others have their turn.
const TURNS: usize = 16;

/// A body behind the gathered bytes.
#[derive(Debug)]
pub(crate) enum Large {
    Static(&'static [u8]),
    Bytes(Bytes),
    File {
        file: Arc<File>,
        at: u64,
        left: u64,
        sendfile: bool,
    },
}

/// What waits to be written to one connection.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Heads and small bodies.
    pub(crate) bytes: Vec<u8>,
    at: usize,
    large: Option<Large>,
}

/// How far a flush came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything is written.
    All,
    /// The client takes no more now.
    Blocked,
    /// More would go, but others wait.
    Turn,
}

impl Output {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.large.is_none()
    }

    /// Whether nothing more may be gathered before a flush.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.large.is_some() || self.bytes.len() >= GATHER
    }

    /// Puts a body behind what is gathered.
    pub(crate) fn set_large(&mut self, large: Large) {
        self.large = Some(large);
    }

    /// What is gathered and not yet written, to be written by somebody else.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.bytes);
        rest.drain(..std::mem::take(&mut self.at));
        rest
    }

    /// Whether a large body waits.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.large.is_some()
    }

    /// Bytes of the large body that were not written.
    pub(crate) fn left(&self) -> u64 {
        match &self.large {
            None => 0,
            Some(Large::Static(body)) => body.len() as u64,
            Some(Large::Bytes(body)) => body.len() as u64,
            Some(Large::File { left, .. }) => *left,
        }
    }

    /// Forgets everything, after a failure.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.at = 0;
        self.large = None;
    }

    /// Writes what goes; adds what went to `written`.
    ///
    /// # Errors
    /// What writing answers; `UnexpectedEof` when a file is shorter than promised.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        wire: &mut dyn Transport,
        written: &mut u64,
    ) -> io::Result<Flushed> {
        if self.large.is_none() {
            // The usual case: one write of everything.
            while self.at < self.bytes.len() {
                match wire.write(&self.bytes[self.at..]) {
                    Ok(n) => {
                        self.at += n;
                        *written += n as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Flushed::Blocked);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.bytes.clear();
            self.at = 0;
            return Ok(Flushed::All);
        }
        self.flush_large(wire, written)
    }

    fn flush_large(&mut self, wire: &mut dyn Transport, written: &mut u64) -> io::Result<Flushed> {
        for _ in 0..TURNS {
            let head = &self.bytes[self.at..];
            let result = match &mut self.large {
                None => return self.flush(wire, written),
                Some(Large::Static(body)) => {
                    wire.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
                }
                Some(Large::Bytes(body)) => {
                    wire.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
                }
                Some(Large::File { .. }) if !head.is_empty() => wire.write_more(head),
                Some(Large::File {
                    file,
                    at,
                    left,
                    sendfile,
                }) => {
                    let sent = if *sendfile {
                        wire.send_file(file, *at, *left)
                    } else {
                        send_copied(wire, file, *at, *left)
                    };
                    match sent {
                        // Not every file can (EINVAL, sendfile(2)): one of /proc, for example.
                        Err(error) if *sendfile && error.kind() == io::ErrorKind::InvalidInput => {
                            *sendfile = false;
                            continue;
                        }
                        Ok(0) if *left > 0 => {
                            let text = "the file is shorter than the response promised";
                            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                        }
                        sent => sent,
                    }
                }
            };
            match result {
                Ok(n) => {
                    *written += n as u64;
                    self.advance(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(if self.is_empty() {
            Flushed::All
        } else {
            Flushed::Turn
        })
    }

    fn advance(&mut self, n: usize) {
        let head = n.min(self.bytes.len() - self.at);
        self.at += head;
        let rest = n - head;
        let done = match &mut self.large {
            None => false,
            Some(Large::Static(body)) => {
                *body = &body[rest..];
                body.is_empty()
            }
            Some(Large::Bytes(body)) => {
                bytes::Buf::advance(body, rest);
                body.is_empty()
            }
            Some(Large::File { at, left, .. }) => {
                *at += rest as u64;
                *left -= rest as u64;
                *left == 0
            }
        };
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
            if done {
                self.large = None;
            }
        }
    }
}

/// `--no-sendfile`: reads and writes. Not inlined: its buffer would be on the stack of every request,
/// each page of which the compiler touches.
#[inline(never)]
fn send_copied(wire: &mut dyn Transport, file: &File, at: u64, left: u64) -> io::Result<usize> {
    let mut buffer = [0; 32 * 1024];
    let want = buffer
        .len()
        .min(usize::try_from(left).unwrap_or(usize::MAX));
    let n = std::os::unix::fs::FileExt::read_at(file, &mut buffer[..want], at)?;
    if n == 0 {
        Ok(0)
    } else {
        wire.write(&buffer[..n])
    }
}
