//! What a program on trial answers, and the socket pair over which it does.
//!
//! One SOCK_SEQPACKET pair for each trial; a message is one datagram, and descriptors come along. The
//! master's end never waits, and believes only the form of what comes. Nothing is decided here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::watch::Plan;
use crate::{pidfile, sockets, sys};

/// Descriptors in one message; the system takes no more than 253 (SCM_MAX_FD, unix(7)).
pub(super) const TOGETHER: usize = 64;
/// The longest reason in bytes; a longer one is cut.
const REASON: usize = 16 << 10;

/// What a program on trial answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has read its configuration, and a worker boots within this time.
    Boots(Duration),
    /// Listeners that it has bound come along, in the order of [`Passed::listeners`].
    Listeners,
    /// It can serve. A sealed memfd with [`Passed`] comes along, the working directory of its workers,
    /// and a new pid file if there is one.
    Passed,
    /// It cannot, and why.
    Failed(String),
}

/// What is to be served, exactly.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Passed {
    /// The configuration's file and its text.
    pub file: Option<(OsString, String)>,
    /// Host names that it knows.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// What there is to know of the new listeners.
    pub listeners: Vec<sockets::Record>,
    /// What there is to know of a new pid file.
    pub pidfile: Option<pidfile::Record>,
    /// The files to be watched, as they were when they were read.
    pub watch: Option<Plan>,
}

/// The master's end of a trial. It never waits.
#[derive(Debug)]
pub struct MasterEnd(OwnedFd);

/// The end of the program on trial.
#[derive(Debug)]
pub struct TrialEnd(OwnedFd);

/// Makes the two ends, before the fork.
///
/// # Errors
/// What socketpair(2) answers.
pub fn pair() -> io::Result<(MasterEnd, TrialEnd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (master, trial) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((MasterEnd(master), TrialEnd(trial)))
}

impl TrialEnd {
    /// Answers.
    ///
    /// # Errors
    /// `BrokenPipe` when the master is gone.
    pub fn send(&self, answer: &Answer, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = match answer {
            Answer::Boots(time) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                [b"B", &millis.to_le_bytes()[..]].concat()
            }
            Answer::Listeners => b"L".to_vec(),
            Answer::Passed => b"P".to_vec(),
            Answer::Failed(reason) => {
                let reason = reason.as_bytes();
                [b"F", &reason[..reason.len().min(REASON)]].concat()
            }
        };
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &rights[..0]
        } else {
            &rights
        };
        let parts = [IoSlice::new(&message)];
        sendmsg::<()>(
            self.0.as_raw_fd(),
            &parts,
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        Ok(())
    }
}

impl MasterEnd {
    /// Takes the next answer with its descriptors, `None` when there is none now.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side is gone, `InvalidData` for a message of unknown form.
    pub fn receive(&self) -> io::Result<Option<(Answer, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; REASON + 1];
        let mut control = nix::cmsg_space!([RawFd; TOGETHER]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
                Ok(received) => break received,
            }
        };
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                for fd in raw {
                    fds.push(sys::take_over(fd)?);
                }
            }
        }
        let len = received.bytes;
        let answer = match &buffer[..len] {
            // SOCK_SEQPACKET: no message is empty.
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            [b'B', millis @ ..] => {
                let millis = millis.try_into().map_err(|_| unknown())?;
                Answer::Boots(Duration::from_millis(u64::from_le_bytes(millis)))
            }
            b"L" => Answer::Listeners,
            b"P" => Answer::Passed,
            [b'F', reason @ ..] => Answer::Failed(String::from_utf8_lossy(reason).into_owned()),
            _ => return Err(unknown()),
        };
        Ok(Some((answer, fds)))
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of unknown form")
}

impl AsFd for MasterEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for TrialEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for TrialEnd {
    fn from(fd: OwnedFd) -> TrialEnd {
        TrialEnd(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_arrives_as_it_was_given() {
        let (master, trial) = pair().unwrap();
        let answers = [
            Answer::Boots(Duration::from_millis(1500)),
            Answer::Listeners,
            Answer::Passed,
            Answer::Failed("no database".to_owned()),
            Answer::Failed(String::new()),
        ];
        let null = std::fs::File::open("/dev/null").unwrap();
        for answer in &answers {
            trial.send(answer, &[null.as_fd(); TOGETHER]).unwrap();
            let (got, fds) = master.receive().unwrap().unwrap();
            assert_eq!((&got, fds.len()), (answer, TOGETHER));
        }
        assert!(master.receive().unwrap().is_none());
        drop(trial);
        let end = master.receive().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_reason_longer_than_a_message_is_cut() {
        let (master, trial) = pair().unwrap();
        let long = Answer::Failed("x".repeat(99_999));
        trial.send(&long, &[]).unwrap();
        let got = master.receive().unwrap();
        assert!(matches!(got, Some((Answer::Failed(reason), _)) if reason.len() == REASON));
    }
}
