//! The life-line: one SOCK_SEQPACKET pair between the master and each worker.
//!
//! Reports come up, commands and descriptors go down, and end-of-file means that the other side is
//! gone. Both ends are non-blocking and close-on-exec; a message is one datagram of at most
//! [`MESSAGE_MAX`] bytes, so nothing is ever half read. The master believes only the form of what
//! comes up: a tag and bounded text. Who it is that a mold has forked says the system, which stamps
//! the message with the pid of its sender.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use log::LevelFilter;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixCredentials, getsockopt, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

/// The longest message in bytes; longer text is cut.
pub const MESSAGE_MAX: usize = 2048;
/// Descriptors that go down with one command.
const FDS_MAX: usize = 4;

/// Why a worker asks to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retirement {
    /// It served as many requests as it should.
    MaxRequests,
    /// A handler panicked in it.
    Panic,
    /// Somebody sent it SIGTERM.
    Asked,
    /// The operator wants it, over the control socket.
    Commanded,
    /// It served for as long as it should.
    Lifetime,
    /// It has more memory than it should.
    Memory,
    /// One of its handlers is past its time, and others go on.
    Timeout,
}

/// How far a worker came that could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// `App::load` failed: exit code 4.
    Load,
    /// `App::boot` or what comes around it failed: exit code 3.
    Boot,
}

/// What a worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// It is there, and a child of the master: the first report of a worker that a mold has forked.
    /// Whatever the worker puts here, its own pid arrives.
    Born {
        /// Who has sent it, as the system says (SCM_CREDENTIALS, unix(7)).
        pid: i32,
    },
    /// It accepts connections from now on.
    Ready,
    /// It wants a successor and serves until it is told to drain.
    Retiring(Retirement),
    /// It cannot start and will exit.
    Failed {
        /// How far it came.
        stage: Stage,
        /// The reason, for the log; at most [`MESSAGE_MAX`] bytes.
        reason: String,
    },
    /// It was asked to reopen its logs, which only the master may open.
    ReopenLogs,
    /// From the aide: it was asked whether it lives, and all of it does.
    Here,
    /// It leaves, and this became of what it had. The last report.
    Left {
        /// Requests that it has answered since its start.
        answered: u64,
        /// Connections that siblings took over.
        handed_over: u64,
        /// Connections that it closed while nothing was under way on them, since it was told to go.
        closed_idle: u64,
        /// Connections that it closed in the middle of something.
        forced: u64,
    },
}

/// What the master commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Stop accepting, finish what is under way, exit.
    Drain {
        /// Nobody else accepts, at one of the listeners or at all: take what waits in the backlog
        /// first.
        stop: bool,
        /// Others serve on: hand them the connections. Else keep idle ones for a while, or with
        /// `stop` only for a moment.
        heirs: bool,
    },
    /// Draining for long enough: cut what is not finished within this time, in whole milliseconds.
    Hurry(Duration),
    /// You will be ended in a moment, as no handler comes back in time: send away who waits for one.
    Doomed,
    /// Exit at once.
    Quit,
    /// New log files. Descriptors: the error log, then the access log, where the flags say so.
    Logs {
        /// A descriptor of the error log comes along.
        error: bool,
        /// A descriptor of the access log comes along.
        access: bool,
    },
    /// What is logged from now on.
    Level(LevelFilter),
    /// The eventfd that wakes the worker on `seat` comes along.
    Door {
        /// Its page set on the scoreboard.
        seat: usize,
    },
    /// To the aide: nobody can serve, so that it is to answer at the workers' listeners; or no more.
    Outage {
        /// Whether there is one.
        on: bool,
    },
    /// To the aide: say that you live.
    Ask,
    /// To the mold: make a worker, whose end of its life-line comes along.
    Fork {
        /// The stable number of its place.
        slot: usize,
        /// Its page set on the scoreboard.
        seat: usize,
    },
}

/// The master's end of one worker's life-line.
#[derive(Debug)]
pub struct MasterEnd(OwnedFd);

/// The worker's end of its life-line.
#[derive(Debug)]
pub struct WorkerEnd(OwnedFd);

/// Makes a life-line, before the fork.
///
/// # Errors
/// What socketpair(2) answers.
pub fn pair() -> io::Result<(MasterEnd, WorkerEnd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (master, worker) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((MasterEnd(master), WorkerEnd(worker)))
}

impl MasterEnd {
    /// Has the system stamp each report with the pid of who sends it from now on, as [`Up::Born`]
    /// needs it (SO_PASSCRED, unix(7)).
    ///
    /// # Errors
    /// What setsockopt(2) answers.
    pub fn ask_who(&self) -> io::Result<()> {
        Ok(setsockopt(&self.0, sockopt::PassCred, &true)?)
    }

    /// Sends a command with its descriptors; never blocks.
    ///
    /// # Errors
    /// `WouldBlock` when the worker reads nothing, `BrokenPipe` when it is gone.
    pub fn send(&self, command: Down, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut message = vec![];
        match command {
            Down::Drain { stop, heirs } => {
                message.extend([b'D', u8::from(stop), u8::from(heirs)]);
            }
            Down::Hurry(within) => {
                message.push(b'H');
                message.extend((within.as_millis() as u64).to_le_bytes());
            }
            Down::Doomed => message.push(b'T'),
            Down::Quit => message.push(b'Q'),
            Down::Logs { error, access } => {
                message.extend([b'L', u8::from(error), u8::from(access)]);
            }
            Down::Level(level) => message.extend([b'V', level as u8]),
            Down::Door { seat } => {
                message.push(b'E');
                message.extend((seat as u64).to_le_bytes());
            }
            Down::Outage { on } => message.extend([b'O', u8::from(on)]),
            Down::Ask => message.push(b'A'),
            Down::Fork { slot, seat } => {
                message.push(b'K');
                message.extend((slot as u64).to_le_bytes());
                message.extend((seat as u64).to_le_bytes());
            }
        }
        send(self.0.as_fd(), &message, fds)
    }

    /// Takes the next report, `None` when there is none now.
    ///
    /// # Errors
    /// `UnexpectedEof` when the worker is gone, `InvalidData` for a message of unknown form.
    pub fn receive(&self) -> io::Result<Option<Up>> {
        // Descriptors get no room: a worker that sends some could fill its master's table.
        let control = match getsockopt(&self.0, sockopt::PassCred)? {
            true => nix::cmsg_space!(UnixCredentials),
            false => Vec::new(),
        };
        let Some(Message { bytes, sender, .. }) = receive(self.0.as_fd(), control)? else {
            return Ok(None);
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Some(match bytes.as_slice() {
            b"B" => Up::Born {
                pid: sender.ok_or_else(unknown)?,
            },
            b"R" => Up::Ready,
            b"Tm" => Up::Retiring(Retirement::MaxRequests),
            b"Tp" => Up::Retiring(Retirement::Panic),
            b"Ta" => Up::Retiring(Retirement::Asked),
            b"Tc" => Up::Retiring(Retirement::Commanded),
            b"Tl" => Up::Retiring(Retirement::Lifetime),
            b"Ty" => Up::Retiring(Retirement::Memory),
            b"Th" => Up::Retiring(Retirement::Timeout),
            b"O" => Up::ReopenLogs,
            b"H" => Up::Here,
            [b'X', numbers @ ..] => left(numbers).ok_or_else(unknown)?,
            [b'F', b'l', reason @ ..] => Up::Failed {
                stage: Stage::Load,
                reason: text(reason),
            },
            [b'F', b'b', reason @ ..] => Up::Failed {
                stage: Stage::Boot,
                reason: text(reason),
            },
            _ => return Err(unknown()),
        }))
    }
}

impl WorkerEnd {
    /// Sends a report; never blocks. Text beyond the message's bound is cut.
    ///
    /// # Errors
    /// `BrokenPipe` when the master is gone.
    pub fn send(&self, report: &Up) -> io::Result<()> {
        let mut message = vec![];
        match report {
            Up::Born { .. } => message.push(b'B'),
            Up::Ready => message.push(b'R'),
            Up::Retiring(Retirement::MaxRequests) => message.extend(b"Tm"),
            Up::Retiring(Retirement::Panic) => message.extend(b"Tp"),
            Up::Retiring(Retirement::Asked) => message.extend(b"Ta"),
            Up::Retiring(Retirement::Commanded) => message.extend(b"Tc"),
            Up::Retiring(Retirement::Lifetime) => message.extend(b"Tl"),
            Up::Retiring(Retirement::Memory) => message.extend(b"Ty"),
            Up::Retiring(Retirement::Timeout) => message.extend(b"Th"),
            Up::ReopenLogs => message.push(b'O'),
            Up::Here => message.push(b'H'),
            Up::Left {
                answered,
                handed_over,
                closed_idle,
                forced,
            } => {
                message.push(b'X');
                for number in [answered, handed_over, closed_idle, forced] {
                    message.extend(number.to_le_bytes());
                }
            }
            Up::Failed { stage, reason } => {
                message.extend([b'F', if *stage == Stage::Load { b'l' } else { b'b' }]);
                message.extend(reason.as_bytes());
                message.truncate(MESSAGE_MAX);
            }
        }
        send(self.0.as_fd(), &message, &[])
    }

    /// Takes the next command with its descriptors, `None` when there is none now.
    ///
    /// # Errors
    /// `UnexpectedEof` when the master is gone, `InvalidData` for a message of unknown form.
    pub fn receive(&self) -> io::Result<Option<(Down, Vec<OwnedFd>)>> {
        let control = nix::cmsg_space!([RawFd; FDS_MAX]);
        let Some(Message { bytes, fds, .. }) = receive(self.0.as_fd(), control)? else {
            return Ok(None);
        };
        let number = |bytes: &[u8]| {
            let number = bytes.try_into().map(u64::from_le_bytes);
            let number = number.map_err(|_| unknown())?;
            usize::try_from(number).map_err(|_| unknown())
        };
        let command = match bytes.as_slice() {
            [b'D', stop, heirs] => Down::Drain {
                stop: *stop != 0,
                heirs: *heirs != 0,
            },
            [b'H', millis @ ..] => {
                let millis = u64::from_le_bytes(millis.try_into().map_err(|_| unknown())?);
                Down::Hurry(Duration::from_millis(millis))
            }
            b"T" => Down::Doomed,
            b"Q" => Down::Quit,
            [b'L', error, access] => Down::Logs {
                error: *error != 0,
                access: *access != 0,
            },
            [b'V', level] => {
                let level = LevelFilter::iter().nth(usize::from(*level));
                Down::Level(level.ok_or_else(unknown)?)
            }
            [b'E', seat @ ..] => Down::Door {
                seat: number(seat)?,
            },
            [b'O', on] => Down::Outage { on: *on != 0 },
            b"A" => Down::Ask,
            [b'K', places @ ..] => {
                let (slot, seat) = places.split_at_checked(8).ok_or_else(unknown)?;
                Down::Fork {
                    slot: number(slot)?,
                    seat: number(seat)?,
                }
            }
            _ => return Err(unknown()),
        };
        Ok(Some((command, fds)))
    }
}

/// An end that came with a message.
impl From<OwnedFd> for WorkerEnd {
    fn from(fd: OwnedFd) -> WorkerEnd {
        WorkerEnd(fd)
    }
}

/// The end that the master had before it executed its program anew.
impl From<OwnedFd> for MasterEnd {
    fn from(fd: OwnedFd) -> MasterEnd {
        MasterEnd(fd)
    }
}

impl AsFd for MasterEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for WorkerEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn left(numbers: &[u8]) -> Option<Up> {
    let number = |at: usize| {
        Some(u64::from_le_bytes(
            numbers.get(at..at + 8)?.try_into().ok()?,
        ))
    };
    (numbers.len() == 32).then_some(())?;
    Some(Up::Left {
        answered: number(0)?,
        handed_over: number(8)?,
        closed_idle: number(16)?,
        forced: number(24)?,
    })
}

fn unknown() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "unknown message on the life-line",
    )
}

fn send(fd: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &rights[..0]
    } else {
        &rights[..]
    };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        fd.as_raw_fd(),
        &[IoSlice::new(message)],
        control,
        flags,
        None,
    )?;
    Ok(())
}

struct Message {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// Who sent it, where the system was asked to say so and knows.
    sender: Option<i32>,
}

/// `control` is the room for what comes beside the bytes.
fn receive(fd: BorrowedFd<'_>, mut control: Vec<u8>) -> io::Result<Option<Message>> {
    let mut buffer = [0; MESSAGE_MAX];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = loop {
        match recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            // The other side ended with messages of ours unread. That is said once, before what it
            // sent last, and those words are why we listen.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
            Ok(received) => break received,
        }
    };
    let len = received.bytes;
    let (mut fds, mut sender) = (vec![], None);
    if received.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(unknown());
    }
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::ScmRights(raw) => {
                fds.extend(raw.into_iter().map(crate::sys::own));
            }
            // 0 stands for a process of another namespace.
            ControlMessageOwned::ScmCredentials(who) => {
                sender = Some(who.pid()).filter(|pid| *pid > 0);
            }
            _ => {}
        }
    }
    // SOCK_SEQPACKET: no sender sends an empty message, so zero bytes are the end of the file.
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Message {
        bytes: buffer[..len].to_vec(),
        fds,
        sender,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_report_and_command_arrives_as_it_was_sent() {
        let (master, worker) = pair().unwrap();
        let reports = [
            Up::Ready,
            Up::Retiring(Retirement::MaxRequests),
            Up::Retiring(Retirement::Panic),
            Up::Retiring(Retirement::Asked),
            Up::Retiring(Retirement::Commanded),
            Up::Retiring(Retirement::Lifetime),
            Up::Retiring(Retirement::Memory),
            Up::Failed {
                stage: Stage::Load,
                reason: "no database".into(),
            },
            Up::Failed {
                stage: Stage::Boot,
                reason: String::new(),
            },
            Up::ReopenLogs,
            Up::Here,
            Up::Left {
                answered: 1,
                handed_over: u64::MAX,
                closed_idle: 3,
                forced: 4,
            },
        ];
        for report in &reports {
            worker.send(report).unwrap();
        }
        for report in &reports {
            assert_eq!(master.receive().unwrap().as_ref(), Some(report));
        }
        assert_eq!(master.receive().unwrap(), None);

        let commands = [
            Down::Drain {
                stop: true,
                heirs: false,
            },
            Down::Drain {
                stop: false,
                heirs: true,
            },
            Down::Hurry(Duration::from_millis(9_500)),
            Down::Doomed,
            Down::Quit,
            Down::Logs {
                error: true,
                access: false,
            },
            Down::Door { seat: 511 },
            Down::Outage { on: true },
            Down::Outage { on: false },
            Down::Ask,
            Down::Fork { slot: 3, seat: 511 },
        ];
        for command in commands {
            let fd = std::fs::File::open("/dev/null").unwrap();
            master.send(command, &[fd.as_fd()]).unwrap();
            let (got, fds) = worker.receive().unwrap().unwrap();
            assert_eq!((got, fds.len()), (command, 1));
        }
    }

    #[test]
    fn who_is_born_is_what_the_system_says_and_nobody_else() {
        let (master, worker) = pair().unwrap();
        let born = Up::Born { pid: 1 };
        worker.send(&born).unwrap();
        let unasked = master.receive().unwrap_err();
        assert_eq!(unasked.kind(), io::ErrorKind::InvalidData);
        master.ask_who().unwrap();
        worker.send(&born).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(master.receive().unwrap(), Some(Up::Born { pid }));
        // Other reports stay what they are.
        worker.send(&Up::Ready).unwrap();
        assert_eq!(master.receive().unwrap(), Some(Up::Ready));
    }

    #[test]
    fn descriptors_of_a_worker_stay_with_it() {
        for asked in [false, true] {
            let (master, worker) = pair().unwrap();
            if asked {
                master.ask_who().unwrap();
            }
            for count in [1, 2, 4, 5, 253] {
                let (mut here, there) = UnixStream::pair().unwrap();
                send(worker.as_fd(), b"R", &vec![there.as_fd(); count]).unwrap();
                let error = master.receive().unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{count}");
                drop(there);
                here.set_nonblocking(true).unwrap();
                let read = here.read(&mut [0]);
                assert_eq!(read.unwrap(), 0, "{count} are kept, asked who: {asked}");
            }
            worker.send(&Up::Ready).unwrap();
            assert_eq!(master.receive().unwrap(), Some(Up::Ready));
        }
    }

    #[test]
    fn the_end_of_the_other_side_is_an_end_of_file() {
        let (master, worker) = pair().unwrap();
        drop(master);
        assert_eq!(
            worker.receive().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert!(worker.send(&Up::Ready).is_err());
    }

    #[test]
    fn last_words_arrive_although_the_other_side_left_ours_unread() {
        let (master, worker) = pair().unwrap();
        master.send(Down::Quit, &[]).unwrap();
        worker.send(&Up::Ready).unwrap();
        drop(worker);
        assert_eq!(master.receive().unwrap(), Some(Up::Ready));
        let end = master.receive().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_reason_longer_than_a_message_is_cut() {
        let (master, worker) = pair().unwrap();
        worker
            .send(&Up::Failed {
                stage: Stage::Boot,
                reason: "x".repeat(9999),
            })
            .unwrap();
        let Some(Up::Failed { reason, .. }) = master.receive().unwrap() else {
            panic!()
        };
        assert_eq!(reason.len(), MESSAGE_MAX - 2);
    }
}
