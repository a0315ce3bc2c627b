//! The seam to the system for everything under `workers/`: the only `unsafe` here.
//!
//! It may call libc; nothing above it may. Each function wraps one system call or one idiom that
//! neither std nor nix offers, returns `io::Result`, and keeps what is unsafe inside.

pub mod breath;
mod desk;
pub mod spawn;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A shared mapping of part of a descriptor, seen as 64-bit atomics. Unmapped on drop.
#[derive(Debug)]
pub struct Map {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is shared and only reached through atomics, so threads may hold and use it.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes of `fd` from `offset` (both multiples of the page size) as MAP_SHARED.
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn new(fd: BorrowedFd<'_>, offset: usize, len: usize, writable: bool) -> io::Result<Map> {
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a fresh mapping chosen by the kernel; no existing memory is touched.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast::<AtomicU64>())
            .ok_or_else(|| io::Error::other("mmap returned a null address"))?;
        Ok(Map {
            start,
            words: len / size_of::<AtomicU64>(),
        })
    }

    /// The mapped memory. A read-only mapping faults on a store, so its owner hands out loads only.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is page-aligned and valid for `words` atomics as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped, and nothing borrows it any more.
        unsafe {
            libc::munmap(
                self.start.as_ptr().cast(),
                self.words * size_of::<AtomicU64>(),
            )
        };
    }
}

/// Adds a listener to an epoll descriptor with `EPOLLIN | EPOLLEXCLUSIVE`, level-triggered, so that
/// one connection wakes one sleeping worker (epoll_ctl(2)). mio cannot ask for that.
///
/// # Errors
/// What epoll_ctl(2) answers; `AlreadyExists` when it is in the set.
pub fn epoll_add_exclusive(
    epoll: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    token: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32,
        u64: token,
    };
    // SAFETY: both descriptors are open for the duration of the borrow; the event outlives the call.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &raw mut event,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes a descriptor out of an epoll set.
///
/// # Errors
/// What epoll_ctl(2) answers; `NotFound` when it is not in the set.
pub fn epoll_remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open for the duration of the borrow; DEL ignores the event.
    let result = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_DEL,
            fd.as_raw_fd(),
            std::ptr::null_mut(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Bytes in a socket's send queue: on TCP what the other side has not acknowledged, on a unix
/// socket what it has not read (SIOCOUTQ, tcp(7), unix(7)).
///
/// # Errors
/// What ioctl(2) answers.
pub fn unsent(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which TIOCOUTQ is on sockets, writes one int; the descriptor is borrowed.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(bytes).map_err(io::Error::other)
}

/// What TCP_INFO (tcp(7)) says of a connection: its state, and for how many ms nothing has come from
/// its peer; where nothing has come at all, since when it is established. As exact as the kernel's
/// tick.
///
/// # Errors
/// What getsockopt(2) answers, as on a socket that is not TCP.
pub fn tcp_silence(fd: BorrowedFd<'_>) -> io::Result<(u8, u32)> {
    // SAFETY: all-zero is a valid `tcp_info`, which is made of integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `info`, which has as many; older kernels
    // write fewer, but more than what is read here.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.tcpi_state, info.tcpi_last_data_recv))
}

/// CLOCK_MONOTONIC since boot, not counting the time the machine slept (clock_gettime(2)).
#[inline]
#[must_use]
pub fn monotonic() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists on every Linux and `time` is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// [`monotonic`] in µs.
#[inline]
#[must_use]
pub fn monotonic_us() -> u64 {
    micros(libc::CLOCK_MONOTONIC)
}

/// What [`monotonic`] said at the last tick of the kernel's own clock, 1 to 10 ms ago, in µs: for a
/// sixth of its price (CLOCK_MONOTONIC_COARSE, clock_gettime(2)).
#[inline]
#[must_use]
pub fn coarse_us() -> u64 {
    micros(libc::CLOCK_MONOTONIC_COARSE)
}

#[inline(always)]
fn micros(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both clocks exist on every Linux and `time` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Broken-down local time and its offset from UTC in seconds (localtime_r(3)).
#[must_use]
pub fn local_time(unix_seconds: i64) -> (libc::tm, i64) {
    // SAFETY: all-zero is a valid `tm`.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let seconds: libc::time_t = unix_seconds;
    // SAFETY: both pointers are valid for the call; localtime_r keeps no reference.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    let offset = tm.tm_gmtoff;
    (tm, offset)
}

/// Writes to a descriptor that may block as if it did not: `WouldBlock` instead of waiting
/// (RWF_NOWAIT, pwritev2(2)), at the current position.
///
/// # Errors
/// What pwritev2(2) answers; `Unsupported` where the kernel cannot do that for this kind of file.
pub fn write_nowait(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: one iovec over bytes that are borrowed for the call; the kernel only reads them.
    let result =
        unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const piece, 1, -1, libc::RWF_NOWAIT) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

static MASTER: AtomicI32 = AtomicI32::new(0);
static PENDING: AtomicU32 = AtomicU32::new(0);
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Installs `action` for `signal`, restarting system calls where the kernel can (sigaction(2)).
///
/// signal-hook is not used in workers: its registry is inherited from the master by fork, believes
/// that the handlers are still installed, and so would not install them again.
fn install(signal: i32, action: extern "C" fn(i32)) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction; the handlers given only use async-signal-safe calls.
    let result = unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action as *const () as libc::sighandler_t;
        new.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut new.sa_mask);
        libc::sigaction(signal, &raw const new, std::ptr::null_mut())
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

extern "C" fn note_signal(signal: i32) {
    PENDING.fetch_or(1 << signal, Ordering::Release);
    let fd = WAKE.load(Ordering::Relaxed);
    let one = 1u64;
    // SAFETY: write(2) is async-signal-safe, `one` is eight readable bytes, and errno is put back
    // for the code that was interrupted. A full or closed descriptor only means no wake-up.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, (&raw const one).cast(), size_of::<u64>());
        *libc::__errno_location() = errno;
    }
}

extern "C" fn parent_died(_: i32) {
    // SAFETY: getppid and alarm are async-signal-safe.
    unsafe {
        if libc::getppid() != MASTER.load(Ordering::Relaxed) {
            libc::alarm(ORPHAN_SECONDS);
        }
    }
}

/// Collects `signals` of this process (numbers below 32): each sets its bit for
/// [`take_signals`] and adds one to the eventfd `wake`, which must stay open. What was collected
/// before is forgotten: in a worker that a mold has forked it was the mold's.
///
/// # Errors
/// What sigaction(2) answers.
pub fn collect_signals(signals: &[i32], wake: BorrowedFd<'_>) -> io::Result<()> {
    PENDING.store(0, Ordering::Release);
    WAKE.store(wake.as_raw_fd(), Ordering::Relaxed);
    signals
        .iter()
        .try_for_each(|&signal| install(signal, note_signal))
}

/// The signals that came since the last call, as bits (`1 << SIGTERM`).
#[must_use]
pub fn take_signals() -> u32 {
    PENDING.swap(0, Ordering::Acquire)
}

/// Ignores `signals` in this process (sigaction(2)).
///
/// # Errors
/// What sigaction(2) answers.
pub fn ignore_signals(signals: &[i32]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: SIG_IGN is a valid disposition and runs no code of ours.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes this worker die within about a second of its parent's death even inside a handler: the
/// kernel sends SIGUSR2 then (PR_SET_PDEATHSIG, prctl(2)), and its handler arms alarm(2), whose
/// signal ends the process. SIGUSR2 from anybody else does nothing.
///
/// To be called after privileges were dropped, because changing ids clears the setting.
///
/// # Errors
/// What prctl(2) or sigaction(2) answer; `NotFound` when the parent is gone already.
pub fn watch_parent(master: i32) -> io::Result<()> {
    MASTER.store(master, Ordering::Relaxed);
    install(libc::SIGUSR2, parent_died)?;
    // SAFETY: plain integers.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR2) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died between fork and prctl.
    // SAFETY: getppid cannot fail.
    if unsafe { libc::getppid() } != master {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the master is gone",
        ));
    }
    Ok(())
}

/// Waits until the parent `between` has ended, so that this process has the parent that it is to have.
/// To be called with all signals blocked; the system sends one when the parent is another
/// (PR_SET_PDEATHSIG, prctl(2)).
///
/// # Errors
/// What prctl(2) or sigwait(3) answer.
pub fn outlive(between: i32) -> io::Result<()> {
    // SAFETY: the set is written before it is read; the others are plain integers.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR2) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut died: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut died);
        libc::sigaddset(&raw mut died, libc::SIGUSR2);
        while libc::getppid() == between {
            let mut which = 0;
            match libc::sigwait(&raw const died, &raw mut which) {
                0 => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
    Ok(())
}

/// Seconds that an orphaned worker has left to end by itself.
pub const ORPHAN_SECONDS: u32 = 1;

/// Owns a descriptor that the kernel just handed to this process (SCM_RIGHTS, recvmsg(2)).
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per descriptor that recvmsg installed for us; nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// 128 bits from the kernel's generator, never kept: a fork has no copy of them (getrandom(2)).
#[must_use]
pub fn random() -> [u8; 16] {
    let mut bytes = [0u8; 16];
    // SAFETY: `bytes` is writable for its length; up to 256 bytes are never cut short.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes
}
