//! The control socket: who has connected to it, what they ask, and what they are told.
//!
//! It is part of the master's one loop and never waits: every descriptor is non-blocking, and
//! everything is bounded: clients, the length of a line, what waits to be read by one of them, how
//! long somebody may say nothing. Who does not read is dropped. What a command means is
//! `master/control.rs`'s; where the socket lies is [`place`]'s. When the program is executed anew the
//! clients go along, with all that they are waiting for.

mod client;
mod place;

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

pub use ferricorn_base::words;

use crate::sockets::Listener;
use crate::state::Moment;
use crate::sys;

use self::client::Client;
#[cfg(test)]
pub use self::client::UNREAD;
pub use self::client::{Interest, Peer};
pub use self::place::{Place, directories, open};
use self::words::{Answer, Command, Line, News, Said};

/// Clients at a time.
const CLIENTS: usize = 64;
/// Clients that are let in in one turn of the loop, so that each is heard before its place is taken.
const TOGETHER: usize = 16;
/// After this time is tried again what the system had no descriptors for.
const AGAIN: Duration = Duration::from_secs(1);

/// A client as the master calls it. Never given twice in one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(u64);

/// All clients.
#[derive(Debug)]
pub struct Control {
    clients: Vec<(ClientId, Client)>,
    last: u64,
    /// When the first image began.
    pub started: Moment,
    // The system has no descriptors until then.
    full: Option<Moment>,
}

/// What the next image must know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    started: Moment,
    clients: Vec<(RawFd, client::Record)>,
}

impl Record {
    /// The descriptors of the clients.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.clients.iter().map(|(fd, _)| *fd)
    }
}

impl Control {
    /// Nobody has connected yet.
    pub fn new(started: Moment) -> Control {
        Control {
            clients: Vec::new(),
            last: 0,
            started,
            full: None,
        }
    }

    /// What the next image must know.
    pub fn record(&self) -> Record {
        let clients = self.clients.iter();
        Record {
            started: self.started,
            clients: clients
                .map(|(_, client)| (sys::number(client.as_fd()), client.record()))
                .collect(),
        }
    }

    /// Takes over what another image had. Once.
    pub fn adopt(record: Record) -> Control {
        let mut control = Control::new(record.started);
        for (fd, record) in record.clients {
            // One that cannot be taken is no reason to end.
            if let Ok(fd) = sys::take_over(fd) {
                control.add(Client::adopt(fd, record));
            }
        }
        control
    }

    fn add(&mut self, client: Client) {
        self.last += 1;
        self.clients.push((ClientId(self.last), client));
    }

    /// What to wait for: the sockets of all generations, then each client.
    pub fn polls<'a>(&'a self, sockets: &'a [Rc<Listener>], now: Moment) -> Vec<PollFd<'a>> {
        let open = self.full.is_none_or(|until| until <= now);
        let listens = if open {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let sockets = sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), listens));
        let clients = self.clients.iter();
        sockets
            .chain(clients.map(|(_, client)| PollFd::new(client.as_fd(), client.awaits())))
            .collect()
    }

    /// What came of waiting for [`Control::polls`], of which this is the end: the clients'.
    pub fn polled(&mut self, found: &[PollFlags]) {
        for ((_, client), found) in self.clients.iter_mut().zip(found) {
            client.found(*found);
        }
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// When to look again at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let clients = self.clients.iter();
        clients
            .filter_map(|(_, client)| client.deadline())
            .chain(self.full)
            .min()
    }

    /// Lets somebody in who may only look on, over a pair of sockets of which it has the other end.
    ///
    /// # Errors
    /// What fcntl(2) or getsockopt(2) answer.
    pub fn invite(&mut self, socket: OwnedFd, now: Moment) -> io::Result<()> {
        let mut client = Client::new(socket, now)?;
        client.looks_on = true;
        self.add(client);
        Ok(())
    }

    /// Lets in who waits, if they may, as many as is good for one turn.
    pub fn accept(&mut self, socket: &Listener, now: Moment) {
        if self.full.is_some_and(|until| until > now) {
            return;
        }
        self.full = None;
        for _ in 0..TOGETHER {
            match socket.accept() {
                Ok(fd) => self.connected(fd, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        log::warn!("cannot accept at the control socket: {error}");
                        self.full = Some(now + AGAIN);
                        return;
                    }
                },
            }
        }
    }

    fn connected(&mut self, fd: OwnedFd, now: Moment) {
        let mut client = match Client::new(fd, now) {
            Ok(client) => client,
            Err(error) => return log::debug!("a client of the control socket: {error}"),
        };
        let Peer { uid, pid } = client.peer;
        if uid != 0 && uid != geteuid().as_raw() {
            log::warn!("control: uid {uid} (pid {pid}) may not; refused");
            let refusal = format!("uid {uid} may not control this server");
            client.say(&answer(Answer::failed(refusal)), now);
            client.flush(now);
            return;
        }
        if self.clients.len() >= CLIENTS {
            // Who asks for nothing makes room, the oldest first.
            let idle = self
                .clients
                .iter()
                .enumerate()
                .filter(|(_, (_, c))| c.may_go());
            let Some((oldest, _)) = idle.min_by_key(|(_, (_, client))| client.since()) else {
                client.say(&answer(Answer::failed("too many clients")), now);
                client.flush(now);
                return;
            };
            self.clients.remove(oldest);
        }
        self.add(client);
    }

    /// Writes what can be written and takes the next command of each client that may give one.
    /// A line that is none is answered here.
    pub fn hear(&mut self, now: Moment) -> Vec<(ClientId, Peer, Command)> {
        self.clients.retain(|(_, client)| !client.is_over(now));
        let mut commands = Vec::new();
        for (id, client) in &mut self.clients {
            client.flush(now);
            match client.line(now) {
                None => {}
                Some(Err(reason)) => {
                    client.say(&answer(Answer::failed(reason)), now);
                    client.end();
                }
                Some(Ok(line)) => match Command::read(&line) {
                    Ok(command) if client.looks_on && !command.only_looks() => {
                        let refusal = format!("{} is not for those who look on", command.name());
                        client.say(&answer(Answer::failed(refusal)), now);
                    }
                    Ok(command) => commands.push((*id, client.peer, command)),
                    Err(reason) => client.say(&answer(Answer::failed(reason)), now),
                },
            }
            client.flush(now);
        }
        commands
    }

    /// Answers a command. Nobody waits any more for what it was to bring.
    pub fn answer(&mut self, id: ClientId, said: Answer, now: Moment) {
        if let Some((_, client)) = self.clients.iter_mut().find(|(other, _)| *other == id) {
            client.interest = Interest::Nothing;
            client.say(&answer(said), now);
            client.flush(now);
        }
    }

    /// A client waits for something before it is answered, and is told all until then.
    pub fn interest(&mut self, id: ClientId, interest: Interest) {
        if let Some((_, client)) = self.clients.iter_mut().find(|(other, _)| *other == id) {
            client.interest = interest;
        }
    }

    /// Tells who wants to hear what has happened, and answers who has waited for it.
    pub fn publish(&mut self, news: &News, now: Moment) {
        let listens = |(_, client): &&mut (ClientId, Client)| client.interest != Interest::Nothing;
        let mut listeners = self.clients.iter_mut().filter(listens).peekable();
        if listeners.peek().is_none() {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line::text(Said::Event {
            at: at.unwrap_or_default().as_secs_f64(),
            news: news.clone(),
        });
        for (_, client) in listeners {
            client.say(&line, now);
            if let Some(last) = client.interest.answer(news) {
                client.interest = Interest::Nothing;
                client.say(&answer(last), now);
            }
            client.flush(now);
        }
    }
}

fn answer(said: Answer) -> String {
    Line::text(Said::Answer(said))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_looks_on_may_change_nothing_and_say_nothing() {
        let now = Moment::from_secs(100);
        let mut control = Control::new(now);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        control.invite(ours.into(), now).unwrap();
        // Others of the control socket are sent away after a while.
        assert_eq!(control.deadline(), None);
        assert!(control.hear(now + Duration::from_secs(9999)).is_empty());
        let mut answers = BufReader::new(theirs.try_clone().unwrap());
        for command in [
            Command::Reload { wait: false },
            Command::Stop { wait: false },
            Command::Kill { pid: 1 },
        ] {
            theirs.write_all(command.line().as_bytes()).unwrap();
            control.polled(&[PollFlags::POLLIN]);
            assert!(control.hear(now).is_empty(), "{command:?}");
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            assert!(answer.contains("is not for those who look on"), "{answer}");
        }
        theirs
            .write_all(Command::Status {}.line().as_bytes())
            .unwrap();
        control.polled(&[PollFlags::POLLIN]);
        let heard = control.hear(now);
        assert!(
            matches!(heard[..], [(_, _, Command::Status {})]),
            "{heard:?}"
        );
        // Nor is it so in the next image.
        let record = serde_json::to_string(&control.record()).unwrap();
        assert!(record.contains("\"looks_on\":true"), "{record}");
    }
}
