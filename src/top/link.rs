//! A connection to the control socket on which one thing after the other is asked. It waits, a bounded
//! time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use super::Call;
use crate::control::words::{Answer, Command, Said, Status};
use crate::ctl;

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    lines: BufReader<UnixStream>,
    pid: i32,
}

impl Link {
    /// Finds the server and connects.
    ///
    /// # Errors
    /// There is none, or more than one, or it does not let us in.
    pub(super) fn open(call: &Call) -> Result<Link, String> {
        let (stream, pid) = ctl::connect(call.socket.as_deref(), &call.place)?;
        let bounded = stream.set_read_timeout(Some(ctl::PATIENCE));
        bounded.map_err(|error| error.to_string())?;
        Ok(Link {
            lines: BufReader::new(stream),
            pid,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// There is none. An answer that refuses is none of them.
    pub(super) fn ask(&mut self, command: &Command) -> Result<Answer, String> {
        self.say(command)?;
        loop {
            if let Said::Answer(answer) = self.hear()? {
                return Ok(answer);
            }
        }
    }

    /// How the server stands.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn status(&mut self) -> Result<Status, String> {
        let answer = self.ask(&Command::Status {})?;
        let none = || answer.error.unwrap_or_else(|| "it does not say".to_owned());
        answer.status.map(|status| *status).ok_or_else(none)
    }

    /// Says something without waiting.
    pub(super) fn say(&mut self, command: &Command) -> Result<(), String> {
        let line = command.line();
        match self.lines.get_mut().write_all(line.as_bytes()) {
            // What it has said before it closed says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| self.lost(&error)),
        }
    }

    /// The next thing that the server says.
    pub(super) fn hear(&mut self) -> Result<Said, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Err(format!("the server (pid {}) has gone", self.pid)),
            Ok(_) => ctl::said(&line),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// From now on it waits as long as it takes.
    #[cfg(feature = "top")]
    pub(super) fn wait_for_ever(&mut self) -> Result<(), String> {
        let stream = self.lines.get_ref();
        stream.set_read_timeout(None).map_err(|e| self.lost(&e))
    }

    fn lost(&self, error: &io::Error) -> String {
        let pid = self.pid;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                let seconds = ctl::PATIENCE.as_secs();
                format!("the server (pid {pid}) does not answer within {seconds} s")
            }
            _ => format!("the server (pid {pid}) has gone: {error}"),
        }
    }
}
