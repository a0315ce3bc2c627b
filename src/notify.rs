//! Telling the service manager how the server stands: the protocol of sd_notify(3).
//!
//! What was told is remembered, over every execution of the program; what differs from how things
//! stand now is told, a datagram at a time, so that nothing is told twice and no end of a reload is
//! forgotten. Sending never waits: what the manager has no room for is told a moment later, and what
//! else goes wrong is for the log at debug. In the master alone: the program on trial has no
//! [`Notifier`], and the workers lose the variables and the socket.

mod store;
mod words;

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};
use serde::{Deserialize, Serialize};

use crate::state::{Moment, Standing};

use self::store::Change;
use self::words::{Told, Us};

/// The variable that names the manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often a start, a reload or a stop that takes long asks for more time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much it asks for: three times as long, so that one that comes late is no end.
const MORE: Duration = Duration::from_secs(15);
/// After this time is tried again what could not be sent.
const AGAIN: Duration = Duration::from_millis(100);

/// The service manager as the master knows it; nothing is told when there is none.
#[derive(Debug)]
pub struct Notifier {
    record: Record,
    // Made when it is first needed: sockets that are open at the start are taken for inherited ones.
    socket: Option<OwnedFd>,
    again: Option<Moment>,
    watchdog: Option<Moment>,
    more: Option<Moment>,
}

/// What the next image must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// A path, or `@` and an abstract name.
    place: Option<OsString>,
    /// How often the watchdog is to be fed: half of what it waits.
    watchdog: Option<Duration>,
    /// The process that the manager has started; a daemon is another one.
    started: u32,
    told: Told,
    /// It may have a store; one of before 254 does not say, and one without takes no harm.
    stores: bool,
    /// The names of our listeners in it.
    stored: Vec<String>,
    /// Those of them that the first master has, too, where this is a second one.
    common: Vec<String>,
}

impl Record {
    /// What the environment of process `pid` says of a manager.
    fn read(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Record {
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let place = variable(SOCKET).filter(|place| {
            let bytes = place.as_bytes();
            bytes.len() > 1 && matches!(bytes[0], b'/' | b'@')
        });
        // A watchdog without a process is for whoever reads it (sd_watchdog_enabled(3)).
        let ours = match variable("WATCHDOG_PID") {
            Some(_) => number("WATCHDOG_PID") == Some(u64::from(pid)),
            None => true,
        };
        let interval = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 1);
        Record {
            watchdog: interval.map(|micros| Duration::from_micros(micros / 2)),
            place,
            started: pid,
            told: Told::default(),
            stores: number("FDSTORE") != Some(0),
            stored: Vec::new(),
            common: Vec::new(),
        }
    }

    /// For a second master beside this one, of pid `first`: it says nothing until it leads.
    pub fn for_second(&self, first: i32) -> Record {
        Record {
            told: Told::of(first),
            common: self.stored.clone(),
            ..self.clone()
        }
    }
}

impl Notifier {
    /// The manager that has started this process, by its environment. First thing in the master.
    pub fn look() -> Notifier {
        let record = Record::read(|name| std::env::var_os(name), std::process::id());
        Notifier::resume(record)
    }

    /// The manager that another image has talked to.
    pub fn resume(record: Record) -> Notifier {
        Notifier {
            // At once: nobody knows how long the execution took.
            watchdog: record.watchdog.map(|_| Moment::ZERO),
            record,
            socket: None,
            again: None,
            more: None,
        }
    }

    /// The manager has stored listeners under these names for a master before this one.
    pub fn has_stored(&mut self, names: Vec<String>) {
        self.record.stored = names;
    }

    /// Whether there is anybody who could store listeners.
    pub fn stores(&self) -> bool {
        self.record.place.is_some() && self.record.stores
    }

    /// What the next image must know.
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    /// Whether the manager knows that this one leads, or there is none.
    pub fn knows(&self, leader: Option<i32>) -> bool {
        self.record.place.is_none() || self.record.told.leader() == leader
    }

    /// When [`Notifier::tell`] is due at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let due = [self.again, self.watchdog, self.more];
        due.into_iter()
            .flatten()
            .min()
            .filter(|_| self.record.place.is_some())
    }

    /// Tells what has changed, that the server lives, and that it needs more time. `listeners` are
    /// those that the manager is to keep, with their names.
    pub fn tell(
        &mut self,
        standing: &Standing<'_>,
        listeners: &[(String, BorrowedFd<'_>)],
        now: Moment,
    ) {
        if self.record.place.is_none() {
            return;
        }
        self.again = None;
        // What is to survive a crash is there before anybody hears that the server is ready, and stays
        // there at a stop, for the next start.
        if self.keeps(standing) && !self.store(listeners) || !self.leave_store(standing) {
            self.again = Some(now + AGAIN);
            return;
        }
        let pid = std::process::id();
        let us = Us {
            pid,
            known: pid == self.record.started,
        };
        while let Some((message, told)) = words::next(&self.record.told, standing, us, now) {
            if !self.send(&message, None) {
                self.again = Some(now + AGAIN);
                return;
            }
            self.record.told = told;
        }
        if standing.main.is_some() {
            // Feeding the watchdog is for who leads; whoever leads next does so at once.
            self.watchdog = None;
            self.more = None;
            return;
        }
        if self.watchdog.is_none() && self.record.watchdog.is_some() {
            self.watchdog = Some(now);
        }
        if let (Some(due), Some(interval)) = (self.watchdog, self.record.watchdog) {
            if due <= now {
                // Nobody can be served while each worker is past its deadline.
                let fed = !standing.stuck && self.send("WATCHDOG=1", None);
                self.watchdog = Some(now + if fed { interval } else { interval.min(AGAIN) });
            }
        }
        match self.more {
            _ if !words::takes_time(standing) => self.more = None,
            None => self.more = Some(now + PATIENCE),
            Some(due) if due <= now => {
                self.send(&format!("EXTEND_TIMEOUT_USEC={}", MORE.as_micros()), None);
                self.more = Some(now + PATIENCE);
            }
            Some(_) => {}
        }
    }

    /// The start has failed before there was a state.
    pub fn fails(&mut self, reason: &str) {
        self.send(&words::failed(reason), None);
    }

    /// Whether what the manager stores is for this master to say: while it leads, and before it lets
    /// another one.
    fn keeps(&self, standing: &Standing<'_>) -> bool {
        let leads = standing.main.is_none() || standing.main != self.record.told.leader();
        standing.announced && !standing.stopping && leads
    }

    /// Takes out of the store what only this one has when it gives the lead back; false when there is
    /// no room for a datagram now.
    fn leave_store(&mut self, standing: &Standing<'_>) -> bool {
        if standing.main.is_none() || self.record.told.leader().is_some() || !standing.stopping {
            return true;
        }
        let Record { stored, common, .. } = &self.record;
        let common = common.iter().filter(|name| stored.contains(name));
        let common: Vec<String> = common.cloned().collect();
        while let Some(Change::Forget(place)) =
            store::next(&self.record.stored, common.iter().map(|name| &**name))
        {
            if !self.send(&store::forget(&self.record.stored[place]), None) {
                return false;
            }
            self.record.stored.remove(place);
        }
        true
    }

    /// Brings the manager's store up to date; false when there is no room for a datagram now.
    fn store(&mut self, listeners: &[(String, BorrowedFd<'_>)]) -> bool {
        let names = listeners.iter().map(|(name, _)| &**name);
        while let Some(change) = store::next(&self.record.stored, names.clone()) {
            let (message, fd) = match change {
                Change::Forget(place) => (store::forget(&self.record.stored[place]), None),
                Change::Keep(place) => {
                    let (name, fd) = &listeners[place];
                    (store::keep(name), Some(*fd))
                }
            };
            if !self.send(&message, fd) {
                return false;
            }
            match change {
                Change::Forget(place) => drop(self.record.stored.remove(place)),
                Change::Keep(place) => self.record.stored.push(listeners[place].0.clone()),
            }
        }
        true
    }

    /// Sends one datagram; false when there is no room for it now.
    fn send(&mut self, message: &str, fd: Option<BorrowedFd<'_>>) -> bool {
        match self.try_send(message.as_bytes(), fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                log::debug!("cannot tell the service manager: {error}");
                true
            }
            Ok(()) => true,
        }
    }

    fn try_send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(place) = &self.record.place else {
            return Ok(());
        };
        let address = match place.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            _ => UnixAddr::new(Path::new(place))?,
        };
        let from = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                socket(AddressFamily::Unix, SockType::Datagram, flags, None)?
            }
        };
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        let parts = [IoSlice::new(message)];
        let sent = sendmsg(from.as_raw_fd(), &parts, control, flags, Some(&address));
        self.socket = Some(from);
        Ok(sent.map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::state::Step;

    fn read(variables: &[(&str, &str)]) -> Record {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(value))
        };
        Record::read(variable, 7)
    }

    /// A notifier, and a manager that is told by it.
    fn managed(watchdog: &str) -> (Notifier, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("notify");
        let manager = UnixDatagram::bind(&place).unwrap();
        manager.set_nonblocking(true).unwrap();
        let place = place.to_str().unwrap();
        let record = read(&[(SOCKET, place), ("WATCHDOG_USEC", watchdog)]);
        (Notifier::resume(record), manager, dir)
    }

    /// How often this is told while things stand so from `now` on, for so long. The clock turns as the
    /// master's loop does: whenever something is due.
    fn told(
        (notifier, manager, _): &mut (Notifier, UnixDatagram, tempfile::TempDir),
        word: &str,
        standing: &Standing<'_>,
        now: Moment,
        time: Duration,
    ) -> usize {
        let (mut count, mut at) = (0, now);
        while at <= now + time {
            notifier.tell(standing, &[], at);
            let mut bytes = [0; 4096];
            while let Ok(length) = manager.recv(&mut bytes) {
                count += usize::from(bytes[..length].starts_with(word.as_bytes()));
            }
            at = match notifier.deadline() {
                Some(due) if due > at => due,
                _ => at + time,
            };
        }
        count
    }

    const SERVING: Standing<'_> = Standing {
        announced: true,
        main: None,
        stopping: false,
        reloads: 0,
        reload: None,
        failure: None,
        generation: 1,
        ready: 1,
        wanted: 1,
        alive: 1,
        stuck: false,
        outage: None,
        trouble: None,
    };

    #[test]
    fn a_start_a_reload_and_a_stop_that_take_long_ask_for_more_time_again_and_again() {
        let starts = Standing {
            announced: false,
            ..SERVING
        };
        let reloads = Standing {
            reloads: 1,
            reload: Some(Step::Trying),
            ..SERVING
        };
        let stops = Standing {
            stopping: true,
            ..SERVING
        };
        let mut all = managed("");
        let mut now = Duration::from_secs(100);
        let minute = Duration::from_secs(60);
        for (standing, times) in [
            (starts, 12),
            (SERVING, 0),
            (reloads, 12),
            (SERVING, 0),
            (stops, 12),
        ] {
            let told = told(
                &mut all,
                "EXTEND_TIMEOUT_USEC=15000000",
                &standing,
                now,
                minute,
            );
            assert_eq!(told, times, "{standing:?}");
            now += 2 * minute;
        }
    }

    #[test]
    fn the_watchdog_is_fed_by_who_leads_unless_every_worker_is_stuck() {
        let stuck = Standing {
            stuck: true,
            ..SERVING
        };
        let follows = Standing {
            main: Some(7),
            ..SERVING
        };
        let mut all = managed("2000000");
        let mut now = Duration::from_secs(100);
        let ten = Duration::from_secs(10);
        for (standing, times) in [(SERVING, 11), (stuck, 0), (SERVING, 11), (follows, 0)] {
            let told = told(&mut all, "WATCHDOG=1", &standing, now, ten);
            assert_eq!(told, times, "{standing:?}");
            now += 2 * ten;
        }
    }

    #[test]
    fn a_manager_stores_unless_it_says_otherwise() {
        let somewhere = (SOCKET, "/run/n");
        for (variables, stores) in [
            (&[somewhere][..], true),
            (&[somewhere, ("FDSTORE", "16")], true),
            (&[somewhere, ("FDSTORE", "0")], false),
            (&[("FDSTORE", "16")], false),
        ] {
            let notifier = Notifier::resume(read(variables));
            assert_eq!(notifier.stores(), stores, "{variables:?}");
        }
    }

    #[test]
    fn the_environment_says_where_and_how_often() {
        let second = Some(Duration::from_secs(1));
        let at = |place: &str| Some(OsString::from(place));
        for (variables, place, watchdog) in [
            (&[][..], None, None),
            (&[(SOCKET, "/run/n")], at("/run/n"), None),
            (&[(SOCKET, "@n")], at("@n"), None),
            // vsock(7) and relative paths are not for us.
            (&[(SOCKET, "vsock:2:1")], None, None),
            (&[(SOCKET, "@")], None, None),
            (&[(SOCKET, "")], None, None),
            (&[("WATCHDOG_USEC", "2000000")], None, second),
            (
                &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")],
                None,
                second,
            ),
            (
                &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")],
                None,
                None,
            ),
            (
                &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "")],
                None,
                None,
            ),
            (&[("WATCHDOG_USEC", "0")], None, None),
            (&[("WATCHDOG_USEC", "soon")], None, None),
        ] {
            let record = read(variables);
            assert_eq!(
                (record.place, record.watchdog),
                (place, watchdog),
                "{variables:?}"
            );
        }
    }
}
