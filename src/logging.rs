//! Opening the logs, which only the master may do: afterwards workers have fewer rights.
//!
//! A file is opened to append and given to the workers' account, descriptors go to the workers by
//! fork or over the life-line. Syslog and the journal are sockets, which nobody opens anew: whoever
//! listens there is found by its address each time. What is written is `ferricorn_base::logs`'s.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::rc::Rc;

use ferricorn_base::logs::syslog::Sender;
use ferricorn_base::logs::{self, Outlet};
use log::LevelFilter;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socketpair};
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Destination};
use crate::syslog::Receiver;

/// The logs of a generation.
#[derive(Debug)]
pub struct LogFiles {
    record: Record,
    error: OwnedFd,
    access: Option<OwnedFd>,
    syslog: Option<OwnedFd>,
    relay: Option<Rc<Relay>>,
}

/// The way of messages for a syslog that is reached by a stream: a pair of SOCK_SEQPACKET sockets, into
/// which all processes put messages, and out of which the aide takes them to send them on. It is made
/// once and shared by all generations, so that no message is left behind in one.
#[derive(Debug)]
pub struct Relay {
    giving: OwnedFd,
    taking: OwnedFd,
}

/// What another image must be told of the logs beside their descriptors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    error: To,
    access: Option<To>,
    syslog: Option<SyslogRecord>,
    /// What the journal is to call the server.
    name: String,
}

/// Where a log goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum To {
    Standard,
    File(OsString),
    Journal(OsString),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SyslogRecord {
    /// Where each datagram is sent to; none where the socket is connected.
    path: Option<OsString>,
    sender: Sender,
    access: bool,
    /// The aide sends them on.
    relayed: bool,
}

impl Record {
    fn is_relayed(&self) -> bool {
        self.syslog.as_ref().is_some_and(|syslog| syslog.relayed)
    }
}

impl Relay {
    fn new() -> io::Result<Relay> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (giving, taking) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(Relay { giving, taking })
    }

    /// One that another image has made.
    pub fn of([giving, taking]: [OwnedFd; 2]) -> Relay {
        Relay { giving, taking }
    }

    /// The end into which messages go, then the other.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.giving.as_fd(), self.taking.as_fd()]
    }

    /// Where they come out.
    pub fn taking(&self) -> BorrowedFd<'_> {
        self.taking.as_fd()
    }
}

impl LogFiles {
    /// What another image must be told of them.
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    /// Logs that another image had open: descriptors as [`LogFiles::descriptors`] gives them.
    pub fn handed_over(
        error: OwnedFd,
        access: Option<OwnedFd>,
        syslog: Option<OwnedFd>,
        relay: Option<Rc<Relay>>,
        record: Record,
    ) -> LogFiles {
        LogFiles {
            relay: relay.filter(|_| record.is_relayed()),
            record,
            error,
            access,
            syslog,
        }
    }

    /// Opens what the configuration names; a way to the aide may be there already.
    ///
    /// # Errors
    /// The file that cannot be opened, with its path; a socket that cannot be made.
    pub fn open(config: &Config, relay: Option<&Rc<Relay>>) -> io::Result<LogFiles> {
        let to = config.syslog.as_ref().map(|syslog| &syslog.to);
        let (path, syslog, relay) = match to {
            Some(Receiver::Udp(address)) => (None, Some(udp(*address)?), None),
            Some(Receiver::Datagrams(path)) => {
                let socket = UnixDatagram::unbound()?;
                (Some(path.into()), Some(socket.into()), None)
            }
            Some(Receiver::Tcp(_) | Receiver::Stream(_)) => {
                let relay = match relay {
                    Some(relay) => Rc::clone(relay),
                    None => Rc::new(Relay::new()?),
                };
                (None, Some(relay.giving.try_clone()?), Some(relay))
            }
            None => (None, None, None),
        };
        let access = config.access_log.as_ref();
        let record = Record {
            error: resolve(&config.error_log, io::stderr().as_fd()),
            access: access.map(|to| resolve(to, io::stdout().as_fd())),
            syslog: config.syslog.as_ref().map(|syslog| SyslogRecord {
                path,
                sender: syslog.sender.clone(),
                access: syslog.access,
                relayed: relay.is_some(),
            }),
            name: config.identifier(),
        };
        LogFiles::open_at(record, syslog, relay)
    }

    /// Opens the same destinations once more: after a rotation the names mean new files.
    ///
    /// # Errors
    /// As [`LogFiles::open`].
    pub fn reopen(&self) -> io::Result<LogFiles> {
        let syslog = self.syslog.as_ref().map(OwnedFd::try_clone).transpose()?;
        LogFiles::open_at(self.record.clone(), syslog, self.relay.clone())
    }

    fn open_at(
        record: Record,
        syslog: Option<OwnedFd>,
        relay: Option<Rc<Relay>>,
    ) -> io::Result<LogFiles> {
        let open = |to: &To, standard: BorrowedFd<'_>| match to {
            To::Standard => Ok(logs::unshared(standard.try_clone_to_owned()?)),
            To::File(path) => file(Path::new(path)),
            To::Journal(path) => journal(Path::new(path)),
        };
        let access = record.access.as_ref();
        Ok(LogFiles {
            error: open(&record.error, io::stderr().as_fd())?,
            access: access
                .map(|to| open(to, io::stdout().as_fd()))
                .transpose()?,
            syslog,
            relay,
            record,
        })
    }

    /// The error log.
    pub fn error(&self) -> BorrowedFd<'_> {
        self.error.as_fd()
    }

    /// The access log, if there is one beside syslog.
    pub fn access(&self) -> Option<BorrowedFd<'_>> {
        self.access.as_ref().map(AsFd::as_fd)
    }

    /// The socket for syslog.
    pub fn syslog(&self) -> Option<BorrowedFd<'_>> {
        self.syslog.as_ref().map(AsFd::as_fd)
    }

    /// The way of messages for syslog to the aide, if they go that way.
    pub fn relay(&self) -> Option<&Rc<Relay>> {
        self.relay.as_ref()
    }

    /// Where the error log goes, for one process.
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn error_outlets(&self) -> io::Result<Vec<Outlet>> {
        let mut outlets = vec![self.outlet(&self.record.error, self.error())?];
        outlets.extend(self.syslog_outlet(|_| true)?);
        Ok(outlets)
    }

    /// Where the access log goes, for one worker; nowhere: there is none.
    ///
    /// # Errors
    /// As [`LogFiles::error_outlets`].
    pub fn access_outlets(&self) -> io::Result<Vec<Outlet>> {
        let mut outlets = Vec::new();
        if let (Some(to), Some(fd)) = (&self.record.access, self.access()) {
            outlets.push(self.outlet(to, fd)?);
        }
        outlets.extend(self.syslog_outlet(|syslog| syslog.access)?);
        Ok(outlets)
    }

    fn outlet(&self, to: &To, fd: BorrowedFd<'_>) -> io::Result<Outlet> {
        let fd = fd.try_clone_to_owned()?;
        Ok(match to {
            To::Journal(path) => {
                let to = UnixAddr::new(Path::new(path))?;
                Outlet::journal(fd, to, self.record.name.clone())
            }
            To::Standard | To::File(_) => Outlet::lines(fd),
        })
    }

    fn syslog_outlet(&self, wanted: fn(&SyslogRecord) -> bool) -> io::Result<Option<Outlet>> {
        let record = self.record.syslog.as_ref().filter(|record| wanted(record));
        let (Some(record), Some(fd)) = (record, self.syslog()) else {
            return Ok(None);
        };
        let path = record.path.as_ref();
        let to = path
            .map(|path| UnixAddr::new(Path::new(path)))
            .transpose()?;
        let fd = fd.try_clone_to_owned()?;
        Ok(Some(Outlet::syslog(fd, to, record.sender.clone())))
    }

    /// Sends this process's error log there.
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn take_effect(&self) -> io::Result<()> {
        logs::set_outlets(self.error_outlets()?);
        Ok(())
    }
}

/// The level of this name in the settings; `critical` is `error`.
pub fn level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "trace" => LevelFilter::Trace,
        "debug" => LevelFilter::Debug,
        "info" => LevelFilter::Info,
        "warning" => LevelFilter::Warn,
        "error" | "critical" => LevelFilter::Error,
        _ => return None,
    })
}

/// What a level is called in the settings.
pub fn level_name(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::Trace => "trace",
        LevelFilter::Debug => "debug",
        LevelFilter::Info => "info",
        LevelFilter::Warn => "warning",
        LevelFilter::Error | LevelFilter::Off => "error",
    }
}

/// What a destination comes to where `standard` is what it is.
fn resolve(destination: &Destination, standard: BorrowedFd<'_>) -> To {
    match destination {
        Destination::Standard => To::Standard,
        Destination::File(path) => To::File(path.into()),
        Destination::Journal(path) => To::Journal(path.into()),
        Destination::Auto if is_journal(standard) => To::Journal(logs::journal::SOCKET.into()),
        Destination::Auto => To::Standard,
    }
}

/// Whether the service manager has connected `fd` to the journal (`JOURNAL_STREAM`,
/// systemd.exec(5)).
fn is_journal(fd: BorrowedFd<'_>) -> bool {
    let said = env::var("JOURNAL_STREAM").unwrap_or_default();
    let stat = fstat(fd);
    stat.is_ok_and(|stat| said == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A socket by which messages go to a receiver.
fn udp(address: SocketAddr) -> io::Result<OwnedFd> {
    let any = match address.is_ipv4() {
        true => "0.0.0.0:0",
        false => "[::]:0",
    };
    let named = |error: io::Error| {
        let text = format!("cannot send to syslog at udp://{address}: {error}");
        io::Error::new(error.kind(), text)
    };
    let socket = UdpSocket::bind(any).map_err(named)?;
    socket.connect(address).map_err(named)?;
    Ok(socket.into())
}

/// A socket for the journal at `path`.
fn journal(path: &Path) -> io::Result<OwnedFd> {
    if !path.exists() {
        let text = format!("there is no journal at {}", path.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(UnixDatagram::unbound()?.into())
}

fn file(path: &Path) -> io::Result<OwnedFd> {
    let named = |error: io::Error| {
        let text = format!("cannot open the log file {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    };
    // Non-blocking for the sake of a named pipe that nobody reads: the master never waits.
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let file: File = options.open(path).map_err(named)?;
    Ok(file.into())
}

#[cfg(test)]
#[allow(clippy::field_reassign_with_default, reason = "it has private fields")]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_is_made_anew_under_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let [path, rotated] = ["error.log", "error.log.1"].map(|name| dir.path().join(name));
        let mut config = Config::default();
        config.error_log = Destination::File(path.clone());
        let files = LogFiles::open(&config, None).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        let files = files.reopen().unwrap();
        nix::unistd::write(files.error(), b"line\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"line\n");
        assert!(std::fs::read(&rotated).unwrap().is_empty());
        assert!(files.access().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        for (to, named) in [
            (
                Destination::File("/nonexistent/error.log".into()),
                "/nonexistent/error.log",
            ),
            (
                Destination::Journal("/nonexistent/journal".into()),
                "no journal at /nonexistent/journal",
            ),
        ] {
            let mut config = Config::default();
            config.error_log = to;
            let error = LogFiles::open(&config, None).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
