//! How programs end: our exit codes, and what the end of a child is called.
//!
//! Pure. The codes are Gunicorn's (see `docs/ARCHITECTURE.md`); a supervisor may rely on them.

/// Stopped as asked.
pub const OK: u8 = 0;
/// The configuration, a socket, the pid file or an account is not usable.
pub const ERROR: u8 = 1;
/// A worker could not boot at the first start.
pub const WORKER_BOOT: u8 = 3;
/// The application could not be loaded at the first start.
pub const APP_LOAD: u8 = 4;

/// The name of a signal as kill(1) knows it, real-time signals included.
pub fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSTKFLT => "SIGSTKFLT",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGCONT => "SIGCONT",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGURG => "SIGURG",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGIO => "SIGIO",
        libc::SIGPWR => "SIGPWR",
        libc::SIGSYS => "SIGSYS",
        _ => "",
    };
    // The C library keeps a few real-time signals to itself, so its lowest differs from 32.
    let lowest = libc::SIGRTMIN();
    match name {
        "" if number == lowest => "SIGRTMIN".to_owned(),
        "" if number > lowest => format!("SIGRTMIN+{}", number - lowest),
        "" => format!("signal {number}"),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name() {
        assert_eq!(signal_name(libc::SIGSEGV), "SIGSEGV");
        assert_eq!(signal_name(libc::SIGRTMIN()), "SIGRTMIN");
        assert_eq!(signal_name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
        assert_eq!(
            signal_name(99999),
            format!("SIGRTMIN+{}", 99999 - libc::SIGRTMIN())
        );
        assert_eq!(signal_name(0), "signal 0");
    }
}
