//! Asking the master how the server stands, over the aide's channel to its control socket.
//!
//! Whoever asks gets what was told at most [`FRESH`] ago, else asks anew and waits for at most
//! [`PATIENCE`]; then it gets the last answer, which says so. Until the master has answered that, nobody
//! waits again. So a page costs the master at most five answers per second, and a master that is busy
//! costs a page one second, once.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::sys::monotonic;
use ferricorn_base::words::{Command, Line, Said, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Snapshot;

/// An answer that is not older than this is good enough.
const FRESH: Duration = Duration::from_millis(200);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest answer in bytes. That of a board full of workers is a small part of it.
const LONGEST: usize = 8 << 20;

/// The way to the master; clones share it.
#[derive(Clone, Debug)]
pub struct Inquiry {
    line: Arc<Mutex<Channel>>,
    board: Arc<Board>,
}

struct Channel {
    socket: UnixStream,
    input: Vec<u8>,
    /// The last answer and when it came.
    last: Option<(Arc<Status>, Duration)>,
    /// When the question was put that is not answered yet.
    asked: Option<Duration>,
    /// The master has closed its end.
    closed: bool,
}

impl Inquiry {
    /// Over this channel, whose other end is a client of the control socket.
    ///
    /// # Errors
    /// What fcntl(2) answers.
    pub(crate) fn new(channel: OwnedFd, board: Arc<Board>) -> io::Result<Inquiry> {
        let socket = UnixStream::from(channel);
        socket.set_nonblocking(true)?;
        Ok(Inquiry {
            line: Arc::new(Mutex::new(Channel {
                socket,
                input: Vec::new(),
                last: None,
                asked: None,
                closed: false,
            })),
            board,
        })
    }

    /// What the workers say.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// How the server stands; none when the master has never answered.
    #[must_use]
    pub fn look(&self) -> Option<Snapshot> {
        let mut channel = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = !channel.refresh();
        let (status, told) = channel.last.clone()?;
        Some(Snapshot {
            status,
            told,
            is_silent,
            board: Arc::clone(&self.board),
        })
    }
}

impl Channel {
    /// Sees to it that the last answer is fresh; whether it is.
    fn refresh(&mut self) -> bool {
        let begin = monotonic();
        let is_fresh = |told: Duration| begin < told + FRESH;
        if self.last.as_ref().is_some_and(|(_, told)| is_fresh(*told)) {
            return true;
        }
        if self.asked.is_none() && self.ask().is_err() {
            self.closed = true;
        }
        let asked = *self.asked.get_or_insert(begin);
        loop {
            match self.hear() {
                Ok(()) if self.asked.is_none() => {
                    let last = self.last.as_ref();
                    return last.is_some_and(|(_, told)| is_fresh(*told));
                }
                Ok(()) => {}
                Err(_) => self.closed = true,
            }
            let left = (asked + PATIENCE).saturating_sub(monotonic());
            if self.closed || left.is_zero() {
                return false;
            }
            wait(self.socket.as_fd(), left);
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        let question = Command::Status {}.line();
        // It is the only one under way, so that there is room for it.
        let written = self.socket.write(question.as_bytes())?;
        if written < question.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Reads what there is.
    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.input.len() > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.answered(&line);
            }
        }
    }

    fn answered(&mut self, line: &[u8]) {
        let said = serde_json::from_slice(line).map(|line: Line| line.said);
        match said {
            Ok(Said::Answer(answer)) => {
                self.asked = None;
                if let Some(status) = answer.status {
                    self.last = Some((Arc::from(status), monotonic()));
                }
            }
            Ok(Said::Event { .. }) => {}
            // Another program's, for the moment until its own aide is there.
            Err(error) => {
                self.asked = None;
                log::debug!("cannot read what the master says: {error}");
            }
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("asked", &self.asked)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn wait(fd: BorrowedFd<'_>, time: Duration) {
    let millis = time.as_millis() + 1;
    let time = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], time);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use ferricorn_base::words::Answer;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    fn pair() -> (Inquiry, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let board = Arc::new(Board::create().unwrap());
        (Inquiry::new(ours.into(), board).unwrap(), theirs)
    }

    fn answer(master: &mut UnixStream, wanted: usize) {
        let status = Status {
            wanted,
            ..Status::default()
        };
        let answer = Answer {
            status: Some(Box::new(status)),
            ..Answer::done()
        };
        let line = Line::text(Said::Answer(answer));
        master.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_master_is_asked_once_and_its_answer_kept_for_a_moment() {
        let (inquiry, mut master) = pair();
        answer(&mut master, 3);
        for _ in 0..3 {
            let snapshot = inquiry.look().unwrap();
            assert_eq!((snapshot.status.wanted, snapshot.is_silent), (3, false));
        }
        let mut line = String::new();
        let mut questions = BufReader::new(master.try_clone().unwrap());
        questions.read_line(&mut line).unwrap();
        assert!(line.contains("\"status\""), "{line}");
        assert!(questions.buffer().is_empty(), "asked once");
        std::thread::sleep(FRESH);
        answer(&mut master, 4);
        assert_eq!(inquiry.look().unwrap().status.wanted, 4);
    }

    #[test]
    fn a_master_that_is_silent_is_waited_for_once_and_what_it_said_is_shown_as_old() {
        let (inquiry, mut master) = pair();
        answer(&mut master, 3);
        inquiry.look().unwrap();
        std::thread::sleep(FRESH);
        let snapshot = inquiry.look().unwrap();
        assert_eq!((snapshot.status.wanted, snapshot.is_silent), (3, true));
        assert!(snapshot.age() >= PATIENCE);
        let begin = Instant::now();
        for _ in 0..5 {
            assert!(inquiry.look().unwrap().is_silent);
        }
        assert!(begin.elapsed() < PATIENCE, "nobody waits again");
        answer(&mut master, 5);
        let snapshot = inquiry.look().unwrap();
        assert_eq!((snapshot.status.wanted, snapshot.is_silent), (5, false));
    }

    #[test]
    fn a_master_that_is_gone_or_talks_nonsense_is_no_reason_to_wait() {
        let (inquiry, mut master) = pair();
        master.write_all(b"nonsense\n").unwrap();
        assert!(inquiry.look().is_none());
        drop(master);
        std::thread::sleep(FRESH);
        assert!(inquiry.look().is_none());
    }
}
