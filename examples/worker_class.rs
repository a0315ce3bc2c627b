//! A worker class of one's own: another protocol, another way of waiting, under the same master.
//!
//!     cargo run --release --example worker_class -- --workers 2
//!     printf 'hello\n' | nc -N 127.0.0.1 8000        # olleh
//!
//! This one serves lines, one connection at a time, with blocking reads: a class for few and quick
//! clients. The master binds, forks, watches and stops it like any other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ferricorn::{Command, Context, Error, Exit, Worker};
use nix::poll::{PollFd, PollFlags, poll};

fn main() -> std::process::ExitCode {
    let answer = |line: &str| line.chars().rev().collect::<String>();
    ferricorn::Server::builder()
        .worker(Lines { answer })
        .build()
        .run()
}

/// Answers each line with another.
struct Lines<F> {
    answer: F,
}

impl<F: Fn(&str) -> String + 'static> Worker for Lines<F> {
    fn name(&self) -> &'static str {
        "lines"
    }

    /// There is nothing that takes its time and that workers could share.
    fn load(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Runs in the worker process, after privileges were dropped.
    fn run(self: Box<Self>, mut context: Context) -> Exit {
        // The sockets are shared with the other workers and do not block.
        let sockets = context.listeners.iter().map(|l| l.fd.try_clone());
        let listeners: Vec<TcpListener> = match sockets.collect::<Result<Vec<_>, _>>() {
            Ok(sockets) => sockets.into_iter().map(TcpListener::from).collect(),
            Err(error) => return Exit::Broken(error.to_string()),
        };
        // Ready is a message: until it comes, the master waits and counts the boot's time.
        if context.ready().is_err() {
            return Exit::Done;
        }
        loop {
            // The master takes a worker whose loop is silent for hung.
            context.turn();
            match context.command() {
                // Between two clients nothing is open. A class that must answer all that waits in
                // the backlog at a stop would accept until EAGAIN first.
                Some(Command::Drain { .. } | Command::Quit | Command::Orphaned) => {
                    return Exit::Done;
                }
                // To one that drains, which this one never does for long, or that has several handlers.
                Some(Command::Hurry(_) | Command::Doomed) | None => {}
            }
            let wake = context.wake_fds();
            let mut waits: Vec<PollFd> = wake.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into();
            waits.extend(
                listeners
                    .iter()
                    .map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)),
            );
            // EINTR, for one: the next turn looks again.
            let _ = poll(&mut waits, 1000u16);
            for listener in &listeners {
                if let Ok((client, peer)) = listener.accept() {
                    if let Err(error) = self.serve(&client) {
                        log::debug!("{peer}: {error}");
                    }
                }
            }
        }
    }
}

impl<F: Fn(&str) -> String> Lines<F> {
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        // One client at a time: a second for all of it, however it trickles, and a size.
        let until = Instant::now() + Duration::from_secs(1);
        client.set_write_timeout(Some(Duration::from_secs(1)))?;
        let reader = Until { client, until };
        for line in BufReader::new(reader.take(64 * 1024)).lines() {
            writeln!(client, "{}", (self.answer)(&line?))?;
        }
        Ok(())
    }
}

/// Reads from a client until a moment, not for so long at each read.
struct Until<'a> {
    client: &'a TcpStream,
    until: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.client.set_read_timeout(Some(left))?;
        self.client.read(buffer)
    }
}
