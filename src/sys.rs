//! The seam to the system for the master: the only `unsafe` here.
//!
//! It may call libc; nothing above it may, but for constants. Each function wraps one system call
//! or one idiom that neither std nor nix offers, returns `io::Result`, and keeps what is unsafe
//! inside. What nix has safely is used where it is needed, not wrapped again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::state::Ending;

/// The result of [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// This is the new process.
    Child,
    /// This is the old one; the new one has this pid.
    Parent(i32),
}

/// Makes a copy of this process (fork(2)). The caller has seen to it that there is one thread, so
/// that the child may do anything.
///
/// # Errors
/// What fork(2) answers.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread (`spawn::only_thread` is asked before), so that no lock
    // is held by a thread that the child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process without running what its parent had registered for its end (_exit(2)).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Reaps a child if it has ended (waitpid(2), WNOHANG).
///
/// nix's waitpid would lose a child that a real-time signal killed.
///
/// # Errors
/// `ECHILD` for a pid that is no child.
pub fn reap(pid: i32) -> io::Result<Option<Ending>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable for the call.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if reaped == 0 {
            return Ok(None);
        }
        if reaped > 0 {
            return Ok(Some(ending(status)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A child that has ended, which stays as it is (waitid(2), WNOWAIT): for a process that inherits
/// orphans, and has to know whose it is before it reaps it.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn ended() -> io::Result<Option<i32>> {
    let ended = news_of_children(libc::WEXITED | libc::WNOWAIT)?;
    Ok(ended.map(|(pid, _)| pid))
}

/// A child that was stopped or goes on, each told of once (waitid(2)): its pid, and the signal that
/// did it.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn halted() -> io::Result<Option<(i32, i32)>> {
    news_of_children(libc::WSTOPPED | libc::WCONTINUED)
}

/// The pid and the status of a child that has such news, if there is one.
fn news_of_children(which: i32) -> io::Result<Option<(i32, i32)>> {
    loop {
        // SAFETY: all-zero is a valid siginfo_t, which is writable for the call; waitid fills in pid
        // and status, or leaves the pid zero when there is no such child.
        let (result, pid, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(libc::P_ALL, 0, &raw mut info, which | libc::WNOHANG);
            (result, info.si_pid(), info.si_status())
        };
        if result == 0 {
            return Ok(Some((pid, status)).filter(|_| pid > 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn ending(status: i32) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    let status = std::process::ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, signal) => Ending::Signal(signal.unwrap_or_default()),
    }
}

/// Sends a signal to a process that is known to be an unreaped child (kill(2)).
///
/// # Errors
/// What kill(2) answers.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal as another question than [`kill`] sends: the receiver sees which of the two it was
/// (sigqueue(3)).
///
/// # Errors
/// What sigqueue(3) answers.
pub fn queue_signal(pid: i32, signal: i32) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: plain integers, and a value that nobody follows.
    match unsafe { libc::sigqueue(pid, signal, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default meaning (sigaction(2)): what the master installed must not run
/// in a worker, and what it ignored must not stay ignored in what a worker executes.
pub fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; what the system refuses (SIGKILL, SIGSTOP, the two
        // that the C library keeps) stays as it is.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Counts `signal` in `count` from now on and writes a byte to `wake`, which must stay open.
///
/// # Errors
/// What sigaction(2) answers.
pub fn count_signal(signal: i32, count: Arc<AtomicU32>, wake: RawFd) -> io::Result<()> {
    let action = move || {
        count.fetch_add(1, Ordering::Release);
        // A full pipe wakes as well, and errno is signal-hook's to keep.
        // SAFETY: write(2) is async-signal-safe and reads one byte of a static.
        unsafe { libc::write(wake, b"!".as_ptr().cast(), 1) };
    };
    // SAFETY: the action only adds to an atomic and calls write(2): no lock, no allocation.
    unsafe { signal_hook::low_level::register(signal, action) }.map(drop)
}

/// Owns a descriptor that this process inherited, after a look whether it is open.
///
/// # Errors
/// `EBADF` when it is not.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: an integer; the result is a fresh descriptor or an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Marks an inherited descriptor close-on-exec (fcntl(2)).
///
/// # Errors
/// `EBADF` when it is not open.
pub fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: integers only.
    match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets an open descriptor through the next execve(2), under its number (fcntl(2)).
///
/// # Errors
/// `EBADF` when it is not open.
pub fn keep_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: integers only.
    match unsafe { libc::fcntl(number, libc::F_SETFD, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Owns a descriptor that came to this process under this number, through execve(2) or with a
/// message, and marks it close-on-exec. To be called once for each that was listed so, before it
/// could be anything else.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    close_on_exec(number)?;
    // SAFETY: it is open, as fcntl(2) said, and it was handed to this process, which owns it once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from 3 up that is not in `keep` (close_range(2)). Only in a child that
/// is about to forget everything else it inherited: whatever owned a closed descriptor must never
/// be used or dropped again.
///
/// # Errors
/// What close_range(2) answers.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            // SAFETY: integers only; the caller answers for the descriptors.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
            if closed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        from = from.max(fd.saturating_add(1));
    }
    Ok(())
}

/// Adds a variable to the environment, or takes it out. In a process with one thread.
pub fn set_variable(name: &OsStr, value: Option<&OsString>) {
    // SAFETY: the process has one thread, so that nobody reads the environment meanwhile.
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

/// The system's most terse description of where it sees our memory, for [`set_command_line`]:
/// `struct prctl_mm_map` of linux/prctl.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryMap {
    /// Start of the program text.
    pub start_code: u64,
    /// Its end.
    pub end_code: u64,
    /// Start of the data.
    pub start_data: u64,
    /// Its end.
    pub end_data: u64,
    /// Start of the heap.
    pub start_brk: u64,
    /// Its end; filled in by [`set_command_line`].
    pub brk: u64,
    /// Start of the stack.
    pub start_stack: u64,
    /// The arguments; filled in by [`set_command_line`].
    pub arg_start: u64,
    /// Their end.
    pub arg_end: u64,
    /// The environment.
    pub env_start: u64,
    /// Its end.
    pub env_end: u64,
    /// Unused: no new auxiliary vector.
    pub auxv: u64,
    /// Unused.
    pub auxv_size: u32,
    /// Unused; filled in by [`set_command_line`].
    pub exe_fd: u32,
}

/// Shows `title` as this process's command line (prctl(2), PR_SET_MM_MAP), which needs no
/// privilege and leaves the real arguments where `std::env::args` finds them.
///
/// # Errors
/// `EINVAL` from a kernel without CONFIG_CHECKPOINT_RESTORE.
pub fn set_command_line(title: &'static [u8], mut map: MemoryMap) -> io::Result<()> {
    map.arg_start = title.as_ptr() as u64;
    map.arg_end = map.arg_start + title.len() as u64;
    map.exe_fd = u32::MAX;
    // SAFETY: sbrk(0) moves nothing; the kernel checks every address of the map and only stores
    // them; `title` lives for ever.
    let result = unsafe {
        map.brk = libc::sbrk(0) as u64;
        let arguments = (
            libc::PR_SET_MM_MAP,
            &raw const map,
            size_of::<MemoryMap>(),
            0,
        );
        libc::prctl(
            libc::PR_SET_MM,
            arguments.0,
            arguments.1,
            arguments.2,
            arguments.3,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes the supplementary groups of an account and `gid` (initgroups(3)).
///
/// # Errors
/// What initgroups(3) answers.
pub fn init_groups(name: &std::ffi::CStr, gid: u32) -> io::Result<()> {
    nix::unistd::initgroups(name, nix::unistd::Gid::from_raw(gid)).map_err(Into::into)
}

/// Connections in the accept queue of a TCP listener, and how many there may be (TCP_INFO, tcp(7),
/// whose fields of a listener are named for other things).
///
/// # Errors
/// What getsockopt(2) answers.
pub fn tcp_accept_queue(listener: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `len` bytes; all-zero bytes are a tcp_info, should fewer be written.
    let info = unsafe {
        let result = libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        );
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        info.assume_init()
    };
    Ok((info.tcpi_unacked, info.tcpi_sacked))
}

/// The number behind a borrowed descriptor.
pub fn number(fd: BorrowedFd<'_>) -> RawFd {
    fd.as_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, i32) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (child, pid)
    }

    fn wait_for(pid: i32) -> Ending {
        loop {
            if let Some(ending) = reap(pid).unwrap() {
                return ending;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_that_a_real_time_signal_killed_is_not_lost() {
        let (_child, pid) = sleeper();
        assert_eq!(reap(pid).unwrap(), None);
        let signal = libc::SIGRTMIN() + 3;
        kill(pid, signal).unwrap();
        assert_eq!(wait_for(pid), Ending::Signal(signal));
        assert!(reap(pid).is_err(), "it is reaped once");
    }

    #[test]
    #[allow(clippy::zombie_processes, reason = "reaping it is what is tested")]
    fn an_exit_code_comes_as_it_was() {
        let child = Command::new("sh").args(["-c", "exit 4"]).spawn().unwrap();
        assert_eq!(
            wait_for(i32::try_from(child.id()).unwrap()),
            Ending::Code(4)
        );
    }

    #[test]
    fn a_descriptor_that_is_not_open_cannot_be_taken() {
        assert!(duplicate(987_654).is_err());
        assert!(close_on_exec(987_654).is_err());
    }
}
