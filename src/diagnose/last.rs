//! A worker's last words, and its last requests, as lines for people. Pure; the worker may have
//! written anything.

use ferricorn_base::board::{LastWords, SeatView};

use super::{age, printable};
use crate::exit::signal_name;
use crate::state::Moment;

// What the kernel says a signal is about (sigaction(2)), where the libc crate has no name for it.
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const FPE_INTDIV: i32 = 1;
/// Bytes of the line of a request that was answered before.
const LINE: usize = 80;

/// Why a signal came, or who called exit: "nothing is mapped at 0x0". `own` is the pid of the worker.
pub fn cause(words: &LastWords, own: Option<i32>) -> Option<String> {
    let thread = printable(words.thread.as_bytes());
    // The first thread has the title of the process.
    let of = match thread.starts_with("ferricorn") || thread.is_empty() {
        true => String::new(),
        false => format!(" in thread {thread}"),
    };
    let Some(signal) = words.signal else {
        return Some(format!("its application called exit(3){of}"));
    };
    let address = words.address;
    let why = match (signal, words.code) {
        _ if words.overflow => "the stack has overflowed".to_owned(),
        (_, code) if code <= 0 => match i32::try_from(words.sender) {
            Ok(pid) if Some(pid) == own => "raised by the worker itself".to_owned(),
            Ok(pid) if pid > 0 => format!("sent by process {pid}"),
            _ => return Some(of.trim_start().to_owned()).filter(|of| !of.is_empty()),
        },
        (libc::SIGSEGV, SEGV_MAPERR) => format!("nothing is mapped at {address:#x}"),
        (libc::SIGSEGV, SEGV_ACCERR) => format!("{address:#x} may not be accessed so"),
        (libc::SIGSEGV, _) => "an address that there cannot be".to_owned(),
        (libc::SIGBUS, libc::BUS_ADRERR) => {
            format!("nothing is behind {address:#x}; perhaps a mapped file has become shorter")
        }
        (libc::SIGBUS, _) => format!("{address:#x} cannot be accessed"),
        (libc::SIGFPE, FPE_INTDIV) => format!("a division by zero at {address:#x}"),
        (libc::SIGFPE, _) => format!("arithmetic at {address:#x}"),
        (libc::SIGILL, _) => format!("no valid instruction at {address:#x}"),
        (libc::SIGTRAP, _) => "a breakpoint that nobody waits for".to_owned(),
        (libc::SIGSYS, _) => "a system call that is forbidden by seccomp".to_owned(),
        _ => return None,
    };
    Some(format!("{why}{of}"))
}

/// What a worker had answered before it died at `now`: "200 GET / of 127.0.0.1:4711 in 0.4 ms, 1.2 s
/// before (id 9f2a…)", the latest first; nothing when it had answered nothing.
pub fn answered(view: &SeatView, now: Moment) -> Option<String> {
    let words = view.recent.iter().map(|request| {
        let line = &request.line[..request.line.len().min(LINE)];
        let cut = if line.len() < request.line.len() {
            "..."
        } else {
            ""
        };
        let took = request.ended_us.saturating_sub(request.started_us) as f64 / 1000.0;
        format!(
            "{} {}{cut} from {} in {took:.1} ms, {:.1} s before (id {})",
            request.status,
            printable(line),
            request.peer,
            age(request.ended_us, now).as_secs_f64(),
            request.id,
        )
    });
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The name of the signal of which the worker says that it came, if it was another than the one
/// that has ended it.
pub fn other(words: &LastWords, ended_by: i32) -> Option<String> {
    let signal = words.signal.filter(|signal| *signal != ended_by)?;
    Some(signal_name(signal))
}
