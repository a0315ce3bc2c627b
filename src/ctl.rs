//! `ferricorn ctl`: the client of the control socket, in every program that is built with the library.
//!
//! It finds the server, says one command, prints what the server says, and ends with 0 only when what
//! was asked for has come about. It shares with the server the words and the places of sockets, and
//! nothing else: it must work while the server is stuck and the configuration is broken.
#![forbid(unsafe_code)]

mod find;
mod line;
mod quarantine;
mod show;
mod status;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::control::Place;
use crate::control::words::{Answer, Command, Line, Said, VERSION};
use crate::exit;

pub(crate) use self::line::{command, commands, read, socket};
pub(crate) use self::show::clean;
#[cfg(feature = "top")]
pub(crate) use self::show::news;

/// How long a server may take for what needs no waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a command line asks for.
#[derive(Clone, Debug)]
pub struct Call {
    /// What the server is told.
    pub command: Command,
    /// Print what it says as it is.
    pub json: bool,
    /// Where it is, as the command line says.
    pub socket: Option<PathBuf>,
    /// Where it is, as the configuration says.
    pub place: Place,
}

/// Says the command and prints what comes of it.
pub fn run(call: &Call) -> ExitCode {
    match talk(call) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            let _ = writeln!(io::stderr(), "ferricorn: {}", clean(&error));
            ExitCode::from(exit::ERROR)
        }
    }
}

/// Connects to the server that is meant; with it comes the pid of its master.
///
/// # Errors
/// There is none, or more than one, in words.
pub(crate) fn connect(socket: Option<&Path>, place: &Place) -> Result<(UnixStream, i32), String> {
    find::server(socket, place).map(|Found { stream, pid }| (stream, pid))
}

/// A server that listens.
struct Found {
    stream: UnixStream,
    pid: i32,
}

fn talk(call: &Call) -> Result<(), String> {
    let Found { mut stream, pid } = find::server(call.socket.as_deref(), &call.place)?;
    let (waits, ends) = match call.command {
        Command::Events {} => (true, true),
        Command::Stop { wait } | Command::Quit { wait } => (wait, wait),
        Command::Reload { wait } => (wait, false),
        _ => (false, false),
    };
    let text = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let seconds = PATIENCE.as_secs();
            format!("the server (pid {pid}) does not answer within {seconds} s")
        }
        _ => format!("the server (pid {pid}) has gone before it answered: {error}"),
    };
    let patience = (!waits).then_some(PATIENCE);
    stream.set_read_timeout(patience).map_err(text)?;
    match stream.write_all(call.command.line().as_bytes()) {
        // What it has said before it closed says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(text)?,
    }
    let raw = call.json || matches!(call.command, Command::Events {});
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let read = match lines.read_line(&mut line) {
            // It has not read all, which is said once, before what it has said.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                lines.read_line(&mut line)
            }
            read => read,
        };
        if read.map_err(text)? == 0 {
            return Err(format!(
                "the server (pid {pid}) has gone before it answered"
            ));
        }
        let said = said(&line)?;
        let shown = match &said {
            // That the stream has ended is no event.
            Said::Answer(_) if matches!(call.command, Command::Events {}) => String::new(),
            _ if raw => line.clone(),
            Said::Event { news, .. } => show::news(news),
            Said::Answer(answer) => show::answer(&call.command, answer),
        };
        let written = {
            let mut out = io::stdout().lock();
            out.write_all(shown.as_bytes()).and_then(|()| out.flush())
        };
        // Nobody reads a stream of events any more; whatever else was begun is waited for.
        if written.is_err() && matches!(call.command, Command::Events {}) {
            return Ok(());
        }
        let Said::Answer(answer) = said else {
            continue;
        };
        if ends && answer.ok {
            // It lets go of everything before it lets go of us.
            let _ = io::copy(&mut lines, &mut io::sink());
        }
        return verdict(&call.command, answer);
    }
}

/// Reads a line of the server.
///
/// # Errors
/// It is of another version, or none.
pub(crate) fn said(line: &str) -> Result<Said, String> {
    match serde_json::from_str::<Line>(line) {
        Ok(Line { version, said }) if version == VERSION => Ok(said),
        Ok(Line { version, .. }) => Err(format!(
            "the server speaks version {version} and this program version {VERSION}"
        )),
        Err(error) => Err(format!("cannot read what the server says: {error}")),
    }
}

fn verdict(command: &Command, answer: Answer) -> Result<(), String> {
    if answer.ok {
        return Ok(());
    }
    let reason = answer
        .error
        .unwrap_or_else(|| "it gives no reason".to_owned());
    match command {
        Command::Reload { .. } => Err(format!("reload failed: {reason}")),
        command => Err(format!("{}: {reason}", command.name())),
    }
}
