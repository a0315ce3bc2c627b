//! The ways in which the test application dies or hangs, each as its verb in the path of a request says.

#![allow(unsafe_code, reason = "a worker is to die of it")]

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use ferricorn::{Body, Error, IntoResponse, Request, Response};

/// Dies, or answers where it is not to; `None`: the verb is none of a death.
pub fn answer(verb: &str, rest: &str, request: &mut Request) -> Option<Result<Response, Error>> {
    Some(match verb {
        "fault" | "trap" | "divide" => {
            match verb {
                "fault" => fault(),
                "trap" => raise(libc::SIGTRAP),
                _ => divide(rest.len() as i32),
            }
            "not reached".into_response()
        }
        "abort" => std::process::abort(),
        "overflow" => overflow(0).to_string().into_response(),
        "fork" => fork().into_response(),
        "end" => {
            // SAFETY: it does not return.
            unsafe { libc::_exit(9) }
        }
        // The same in a stream, before its head is sent, or after.
        "streamed" => {
            let verb = rest.to_owned();
            Body::stream(move |exchange| {
                if let Some(verb) = verb.strip_prefix("late-") {
                    std::io::Write::write_all(exchange, b"some")?;
                    std::io::Write::flush(exchange)?;
                    die(verb);
                }
                die(&verb);
                Ok(())
            })
            .into_response()
        }
        // Nobody sends anything.
        "wait-for" => wait_for(rest).into_response(),
        // With time for it.
        "patient" => {
            request.extend_timeout(Duration::from_secs(60));
            wait_for(rest).into_response()
        }
        "extend" => extend(rest, request).into_response(),
        "id" => request.id().to_owned().into_response(),
        "vfork" => vfork().into_response(),
        "memory-hog" => hog().to_string().into_response(),
        _ => return None,
    })
}

fn die(verb: &str) {
    match verb {
        "fault" => fault(),
        "overflow" => drop(overflow(0)),
        "wait" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        _ => std::process::abort(),
    }
}

#[inline(never)]
fn fault() {
    let nothing = std::hint::black_box(std::ptr::null_mut::<u8>());
    // SAFETY: there is none: the worker is to die of it.
    unsafe { nothing.write_volatile(1) };
}

/// How a process ended that was forked to crash.
fn fork() -> String {
    // SAFETY: the child does nothing but to die.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        fault();
    }
    let mut status = 0;
    // SAFETY: the status is writable for the call.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    format!("signal {}", libc::WTERMSIG(status))
}

/// Waits as in vfork(2), where nothing but SIGKILL is heard: for a child that has memory of its own.
fn vfork() -> &'static str {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child closes everything and sleeps until its parent is gone, on its own stack.
    if unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } == 0 {
        // SAFETY: integers; it does not return.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            libc::sleep(20);
            libc::_exit(0);
        }
    }
    "the child has ended"
}

fn raise(signal: i32) {
    // SAFETY: an integer.
    unsafe { libc::raise(signal) };
}

/// A division by zero as other languages make it: Rust's own panics.
fn divide(by: i32) {
    let by = std::hint::black_box(by);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: there is none: the worker is to die of it.
    unsafe {
        std::arch::asm!("cdq", "idiv {0:e}", in(reg) by, inout("eax") 1 => _, out("edx") _);
    }
    #[cfg(not(target_arch = "x86_64"))]
    raise(if by == 0 { libc::SIGFPE } else { 0 });
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow(depth: u64) -> u64 {
    let bytes = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + bytes[3]
}

fn wait_for(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the test listens");
    log::info!("in the handler of /wait-for");
    let mut nothing = [0; 1];
    format!("{:?}", stream.read(&mut nothing))
}

/// `STEPS-MS`: so many steps of so long, with more time asked for before each.
fn extend(rest: &str, request: &mut Request) -> Result<&'static str, Error> {
    let (steps, millis) = rest.split_once('-').unwrap_or(("1", rest));
    let step = Duration::from_millis(millis.parse()?);
    for _ in 0..steps.parse()? {
        request.extend_timeout(step + Duration::from_millis(500));
        std::thread::sleep(step);
    }
    Ok("done")
}

/// Takes memory until there is no more.
fn hog() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        if all.len() > 1 << 14 {
            return all.len();
        }
    }
}
