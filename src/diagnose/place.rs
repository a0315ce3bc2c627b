//! Where a process hangs, as /proc shows it: blocked on what, or busy. It reads and never decides;
//! what may not be read is left out.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::printable;
use crate::state::Moment;

/// What proc_pid_syscall(5) says of who waits for nothing.
const RUNNING: &str = "running";
/// Bytes of a list of sockets that are looked through: a hundred thousand sockets.
const SOCKETS: u64 = 16 << 20;

/// What was seen of a thread of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    at: Moment,
    /// Time on the processor, in the program and in the kernel.
    user: Duration,
    kernel: Duration,
    /// Time for which it was able to run, on the processor or waiting for one.
    ready: Duration,
    /// "blocked in read of fd 7 (TCP to 10.0.0.5:5432)".
    doing: Option<String>,
}

impl Look {
    /// Looks now.
    pub fn at(thread: Thread, now: Moment) -> Look {
        let pid = thread.pid;
        let (user, kernel) = times(&thread.read("stat").unwrap_or_default()).unwrap_or_default();
        let ready = thread.read("schedstat").and_then(|text| ready(&text));
        let doing = thread
            .read("syscall")
            .and_then(|text| call(&text, |fd| descriptor(pid, fd)));
        Look {
            at: now,
            user,
            kernel,
            ready: ready.unwrap_or(user + kernel),
            doing,
        }
    }
}

/// A thread of a process. What is looked at is among the threads of this process, or not there.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pid: i32,
    tid: u32,
}

impl Thread {
    /// The first one, which runs the loop where there is no other.
    pub fn first(pid: i32) -> Thread {
        Thread::with(pid, 0)
    }

    /// The one that a worker says has a request; 0: the first.
    pub fn with(pid: i32, tid: u32) -> Thread {
        let tid = match tid {
            0 => pid.unsigned_abs(),
            tid => tid,
        };
        Thread { pid, tid }
    }

    fn is_first(self) -> bool {
        self.tid == self.pid.unsigned_abs()
    }

    fn read(self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/task/{}/{file}", self.pid, self.tid)).ok()
    }
}

/// The state of a thread, what it was doing when it was seen before, and whether it has been busy
/// since.
pub fn whereabouts(thread: Thread, before: Option<&Look>, now: Moment) -> String {
    let status = thread.read("status").unwrap_or_default();
    let state = status
        .lines()
        .find_map(|line| line.strip_prefix("State:"))
        .map_or("unknown", str::trim);
    let mut words = vec![format!("state {state}")];
    if let (false, Some(name)) = (thread.is_first(), thread.read("comm")) {
        words.insert(0, format!("thread {}", printable(name.trim().as_bytes())));
    }
    if state.starts_with('D') {
        words.push("which no signal ends before what it waits for has come".to_owned());
    }
    let look = Look::at(thread, now);
    let busy = before.and_then(|before| busy(before, &look));
    match (&busy, before.and_then(|before| before.doing.clone())) {
        (Some(busy), _) => words.push(busy.clone()),
        (None, doing) => {
            // It may have been about to wait when it was seen first.
            let doing = doing.filter(|doing| doing != RUNNING);
            words.extend(doing.or(look.doing));
            let wchan = thread
                .read("wchan")
                .filter(|wchan| !wchan.is_empty() && wchan != "0");
            words.extend(wchan.map(|wchan| format!("waiting in {wchan}")));
        }
    }
    words.join(", ")
}

/// Whether a core is being written of a process (`CoreDumping` in proc_pid_status(5)).
pub fn dumps_core(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let dumping = status
        .lines()
        .find_map(|line| line.strip_prefix("CoreDumping:"));
    dumping.is_some_and(|value| value.trim() == "1")
}

/// What a process did for most of the time between two looks, if that was to compute.
fn busy(before: &Look, after: &Look) -> Option<String> {
    let time = after.at.saturating_sub(before.at);
    let user = after.user.saturating_sub(before.user);
    let kernel = after.kernel.saturating_sub(before.kernel);
    let ready = after.ready.saturating_sub(before.ready);
    if ready.is_zero() || ready * 2 < time {
        return None;
    }
    let what = match user >= kernel {
        true => "spinning",
        false => "busy in the kernel",
    };
    let [used, time] = [user + kernel, time].map(|time| time.as_secs_f64());
    Some(format!(
        "{what}: on the processor for {used:.2} s of {time:.2} s"
    ))
}

/// The time for which a thread was able to run: the first two numbers of schedstat, in ns (the
/// kernel's Documentation/scheduler/sched-stats.rst).
fn ready(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    let (ran, waited): (u64, u64) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

/// The times of a thread in user and kernel mode (proc_pid_stat(5), fields 14 and 15).
fn times(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let mut time = || {
        let ticks: u32 = fields.next()?.parse().ok()?;
        Some(Duration::from_secs(ticks.into()) / u32::try_from(per_second).ok()?)
    };
    Some((time()?, time()?))
}

/// The system call of a process in words (proc_pid_syscall(5)), with what its descriptor is.
fn call(text: &str, descriptor: impl Fn(u64) -> Option<String>) -> Option<String> {
    let mut words = text.split_whitespace();
    let number: i64 = match words.next()? {
        RUNNING => return Some(RUNNING.to_owned()),
        number => number.parse().ok()?,
    };
    if number < 0 {
        return Some("blocked, but in no system call".to_owned());
    }
    let first = words.next().and_then(|word| {
        let digits = word.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    });
    let Some((name, takes)) = name(number) else {
        return Some(format!("blocked in system call {number}"));
    };
    let of = match (takes, first) {
        (Takes::Descriptor, Some(fd)) => match descriptor(fd) {
            Some(what) => format!(" of fd {fd} ({what})"),
            None => format!(" of fd {fd}"),
        },
        (Takes::Process, Some(pid)) if pid as i32 > 0 => format!(" for process {pid}"),
        _ => String::new(),
    };
    Some(format!("blocked in {name}{of}"))
}

/// What the first argument of a system call is.
#[derive(Clone, Copy)]
enum Takes {
    Descriptor,
    Process,
    Other,
}

/// The calls in which processes use to hang, with what their first argument is.
fn name(number: i64) -> Option<(&'static str, Takes)> {
    use Takes::{Descriptor, Other, Process};
    #[cfg(target_arch = "x86_64")]
    let old = match number {
        libc::SYS_poll => Some(("poll", Other)),
        libc::SYS_select => Some(("select", Other)),
        libc::SYS_pause => Some(("pause", Other)),
        libc::SYS_open => Some(("open", Other)),
        libc::SYS_epoll_wait => Some(("epoll_wait", Descriptor)),
        _ => None,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let old = None;
    old.or(Some(match number {
        libc::SYS_read => ("read", Descriptor),
        libc::SYS_write => ("write", Descriptor),
        libc::SYS_readv => ("readv", Descriptor),
        libc::SYS_writev => ("writev", Descriptor),
        libc::SYS_pread64 => ("pread", Descriptor),
        libc::SYS_pwrite64 => ("pwrite", Descriptor),
        libc::SYS_recvfrom => ("recv", Descriptor),
        libc::SYS_recvmsg => ("recvmsg", Descriptor),
        libc::SYS_sendto => ("send", Descriptor),
        libc::SYS_sendmsg => ("sendmsg", Descriptor),
        libc::SYS_sendfile => ("sendfile", Descriptor),
        libc::SYS_accept => ("accept", Descriptor),
        libc::SYS_accept4 => ("accept4", Descriptor),
        libc::SYS_connect => ("connect", Descriptor),
        libc::SYS_fsync => ("fsync", Descriptor),
        libc::SYS_fdatasync => ("fdatasync", Descriptor),
        libc::SYS_flock => ("flock", Descriptor),
        libc::SYS_fcntl => ("fcntl", Descriptor),
        libc::SYS_ioctl => ("ioctl", Descriptor),
        libc::SYS_epoll_pwait => ("epoll_pwait", Descriptor),
        libc::SYS_wait4 => ("wait4", Process),
        libc::SYS_waitid => ("waitid", Other),
        libc::SYS_futex => ("futex (a lock, or another thread)", Other),
        libc::SYS_nanosleep => ("nanosleep", Other),
        libc::SYS_clock_nanosleep => ("clock_nanosleep", Other),
        libc::SYS_ppoll => ("ppoll", Other),
        libc::SYS_pselect6 => ("pselect", Other),
        libc::SYS_openat => ("openat", Other),
        libc::SYS_rt_sigsuspend => ("sigsuspend", Other),
        libc::SYS_rt_sigtimedwait => ("sigtimedwait", Other),
        libc::SYS_semop => ("semop", Other),
        libc::SYS_msgrcv => ("msgrcv", Other),
        libc::SYS_restart_syscall => ("a system call that was interrupted", Other),
        _ => return None,
    }))
}

/// What a descriptor of a process is: a path, a pipe, a socket and who is at its other end.
fn descriptor(pid: i32, fd: u64) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let link = link.to_string_lossy().into_owned();
    let inode = link
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'));
    let Some(inode) = inode else {
        return Some(printable(link.as_bytes()));
    };
    let found = ["tcp", "tcp6", "udp", "udp6"].into_iter().find_map(|kind| {
        let text = list(pid, kind)?;
        let far = text.lines().find_map(|line| far_end(line, inode))?;
        let kind = kind.trim_end_matches('6').to_uppercase();
        Some(format!("{kind} to {far}"))
    });
    found.or_else(|| {
        let text = list(pid, "unix")?;
        let line = text
            .lines()
            .find(|line| line.split_whitespace().nth(6) == Some(inode))?;
        Some(match line.split_whitespace().nth(7) {
            Some(path) => format!("unix socket {}", printable(path.as_bytes())),
            None => "unix socket".to_owned(),
        })
    })
}

fn list(pid: i32, kind: &str) -> Option<String> {
    use std::io::Read;
    let file = fs::File::open(format!("/proc/{pid}/net/{kind}")).ok()?;
    let mut text = String::new();
    file.take(SOCKETS).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The other end of the socket with this inode, if the line is about it (proc_pid_net(5)).
fn far_end(line: &str, inode: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.get(9) != Some(&inode) {
        return None;
    }
    let (ip, port) = fields.get(2)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Each word of 32 bits is as it lies in memory.
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok();
    if ip.len() == 8 {
        let ip = Ipv4Addr::from(word(0)?.to_ne_bytes());
        return Some(SocketAddr::new(ip.into(), port));
    }
    let mut bytes = [0; 16];
    for (n, four) in bytes.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&word(n * 8)?.to_ne_bytes());
    }
    Some(SocketAddr::new(Ipv6Addr::from(bytes).into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_is_named_with_what_it_waits_for() {
        let what = |fd: u64| (fd == 7).then(|| "TCP to 10.0.0.5:5432".to_owned());
        let say = |number: i64, first: &str| call(&format!("{number} {first} 0x7f 0x1"), what);
        for (number, first, words) in [
            (
                libc::SYS_read,
                "0x7",
                "blocked in read of fd 7 (TCP to 10.0.0.5:5432)",
            ),
            (libc::SYS_flock, "0x8", "blocked in flock of fd 8"),
            (libc::SYS_wait4, "0x10", "blocked in wait4 for process 16"),
            (libc::SYS_wait4, "0xffffffffffffffff", "blocked in wait4"),
            (9999, "0x0", "blocked in system call 9999"),
            (-1, "0x0", "blocked, but in no system call"),
        ] {
            assert_eq!(say(number, first).as_deref(), Some(words));
        }
        assert_eq!(call("running\n", what).as_deref(), Some("running"));
        assert_eq!(call("", what), None);
    }

    #[test]
    fn who_computes_for_most_of_the_time_spins() {
        let ms = Duration::from_millis;
        let look = |at, user, kernel, ready| Look {
            at: ms(at),
            user: ms(user),
            kernel: ms(kernel),
            ready: ms(ready),
            doing: None,
        };
        let before = look(1000, 500, 500, 1000);
        let words = busy(&before, &look(1300, 790, 500, 1290)).unwrap();
        assert_eq!(words, "spinning: on the processor for 0.29 s of 0.30 s");
        let words = busy(&before, &look(1300, 510, 790, 1300)).unwrap();
        assert!(words.starts_with("busy in the kernel"), "{words}");
        // It would have been, had it been let.
        let words = busy(&before, &look(1300, 530, 510, 1290)).unwrap();
        assert_eq!(words, "spinning: on the processor for 0.04 s of 0.30 s");
        assert_eq!(busy(&before, &look(1300, 520, 520, 1040)), None);
        assert_eq!(busy(&before, &look(1000, 500, 500, 1000)), None);
        assert_eq!(ready("250000000 50000000 7"), Some(ms(300)));
        assert_eq!(ready(""), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 25 50 0 0 20 0 1 0 9";
        assert_eq!(times(stat), Some((ms(250), ms(500))));
    }

    #[test]
    fn the_other_end_of_a_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&near);
        let own = i32::try_from(std::process::id()).unwrap();
        let expected = format!("TCP to {}", listener.local_addr().unwrap());
        assert_eq!(descriptor(own, fd as u64), Some(expected));
        assert_eq!(descriptor(own, 987_654), None);
        // 2001:db8::1 as a machine of this byte order shows it.
        let words = [0x2001_0db8_u32, 0, 0, 1].map(|word| format!("{:08X}", word.swap_bytes()));
        let line = format!("1: 0:0 {}:1F90 01 0:0 0:0 0 0 0 4711 1", words.concat());
        if cfg!(target_endian = "little") {
            let far = far_end(&line, "4711").unwrap();
            assert_eq!(far, "[2001:db8::1]:8080".parse().unwrap());
        }
        assert_eq!(far_end(&line, "4712"), None);
    }
}
