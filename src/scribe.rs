//! Names for the addresses that a worker has left: in a process of its own, because to read the
//! symbols of a large program takes its time, and the master has none.
//!
//! It is forked from the image that has made the worker, directly or by a mold, so that everything
//! lies where it lay in the worker. It drops privileges as a worker does, writes one line, and ends by itself,
//! or by a limit; what it has not written then the master writes without names. Addresses are looked up,
//! never followed.

use std::io;
use std::os::fd::AsFd;

use ferricorn_base::{Exit, logs};
use nix::sys::resource::{Resource, setrlimit};

use crate::generation::Generation;
use crate::{spawn, sys, title};

/// How long it may take, in s: on the processor, which others may need more, and at all.
const WORK: u64 = 10;
const TIME: u32 = 30;
/// Calls that are shown.
const SHOWN: usize = 32;

/// Forks one that logs `line` with the names behind it; returns its pid. In the master.
///
/// # Errors
/// What fork(2) answers, and why descriptors cannot be shared.
pub fn spawn(generation: &Generation, line: &str, frames: &[u64]) -> io::Result<i32> {
    let error = generation.logs.error().try_clone_to_owned()?;
    spawn::fork(|mask| {
        spawn::live(|| {
            sys::reset_signals();
            nix::unistd::alarm::set(TIME);
            // The alarm is there as well.
            let _ = setrlimit(Resource::RLIMIT_CPU, WORK, WORK);
            if let Err(errno) = mask.thread_set_mask() {
                return Exit::Broken(format!("cannot unblock signals: {errno}"));
            }
            title::set("ferricorn: scribe");
            let keep = [sys::number(error.as_fd())];
            logs::set_error(error);
            let account = generation.recipe.as_ref().map(|recipe| &recipe.account);
            let alone = sys::close_all_but(&keep)
                .and_then(|()| account.map_or(Ok(()), |account| account.assume()));
            if let Err(error) = alone {
                return Exit::Broken(format!("cannot become a scribe: {error}"));
            }
            log::error!("{line}{}", names(frames));
            Exit::Done
        })
    })
}

/// The addresses as they are, or where they lie in the program, if it is known where that is.
pub fn numbers(frames: &[u64], base: u64) -> String {
    let number = |frame: &u64| match frame.checked_sub(base) {
        Some(offset) if base > 0 => format!("+{offset:#x}"),
        _ => format!("{frame:#x}"),
    };
    join(frames.iter().map(number))
}

/// The functions and lines at addresses of this very program, those in between left out that only
/// lead from one to the next.
#[cfg(feature = "symbols")]
fn names(frames: &[u64]) -> String {
    let plumbing = |name: &String| PLUMBING.iter().any(|part| name.contains(part));
    let all = frames.iter().flat_map(|frame| at(*frame));
    let own = all.take_while(|name| !name.starts_with(BEGINNING));
    join(own.filter(|name| !plumbing(name)))
}

/// What the standard library puts between two functions, and the signal handler's own end.
#[cfg(feature = "symbols")]
const PLUMBING: [&str; 4] = [
    "core::ops::function",
    "std::panic",
    "__rust_try",
    "::breath::",
];
/// Where every worker begins.
#[cfg(feature = "symbols")]
const BEGINNING: &str = "ferricorn::spawn::";

/// What is at an address: functions that the compiler has put into others come first.
#[cfg(feature = "symbols")]
fn at(frame: u64) -> Vec<String> {
    let mut names = Vec::new();
    // It takes an address to which a call returns, and looks at the byte before.
    let address = usize::try_from(frame.saturating_add(1)).unwrap_or_default();
    backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
        let name = symbol.name().map(|name| format!("{name:#}"));
        let mut text = name.unwrap_or_else(|| format!("{frame:#x}"));
        let file = symbol.filename().and_then(|path| path.file_name());
        if let (Some(file), Some(line)) = (file, symbol.lineno()) {
            text.push_str(&format!(" ({}:{line})", file.to_string_lossy()));
        }
        names.push(text);
    });
    if names.is_empty() {
        names.push(format!("{frame:#x}"));
    }
    names
}

#[cfg(not(feature = "symbols"))]
fn names(frames: &[u64]) -> String {
    numbers(frames, 0)
}

fn join(calls: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = calls.take(SHOWN + 1).collect();
    if let Some(last) = shown.get_mut(SHOWN) {
        *last = "...".to_owned();
    }
    shown.join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_relative_to_the_program() {
        assert_eq!(numbers(&[0x5000, 0x6010], 0x5000), "+0x0 < +0x1010");
        assert_eq!(numbers(&[0x5000], 0), "0x5000");
        assert_eq!(numbers(&[0x10], 0x5000), "0x10");
        let many = numbers(&[1; 100], 0);
        assert!(many.ends_with(" < ...") && many.matches("0x1").count() == SHOWN);
    }

    #[test]
    #[cfg(feature = "symbols")]
    fn a_function_of_this_program_is_found_by_its_address() {
        let function = numbers as fn(&[u64], u64) -> String;
        let text = names(&[function as usize as u64, 0]);
        assert!(text.contains("scribe::numbers"), "{text}");
        assert!(text.ends_with(" < 0x0"), "{text}");
    }
}
