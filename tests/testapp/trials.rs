//! What the tests of reloads ask for: requests that are counted where every generation sees it, answers
//! that take their time, a worker in so many that cannot boot, a program that its master is too new for.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ferricorn::{Body, Error, IntoResponse, Request, Response};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// How the server tells what a process is to be.
const HANDOVER: &str = "FERRICORN_HANDOVER";
/// Set where the hand-over is forged already.
const FORGED: &str = "TESTAPP_FORGED";

/// Adds the body as a line to `counted`, in one write for all generations.
pub fn count(request: &mut Request) -> Result<Response, Error> {
    let mut line = Vec::new();
    request.body_mut().read_to_end(&mut line)?;
    line.push(b'\n');
    add("counted", &line)?;
    line.into_response()
}

/// A piece every 100 ms, whether the worker retires or not.
pub fn ticks(number: usize) -> Body {
    Body::stream(move |exchange| {
        for tick in 0..number {
            writeln!(exchange, "tick {tick}")?;
            exchange.flush()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    })
}

/// Whether this boot is one of those that fail: every so many that `boot-odds` says.
pub fn is_unlucky(odds: &str) -> Result<bool, Error> {
    let boots = add("boots", b".")?;
    Ok(boots % odds.parse::<u64>()? == 0)
}

/// Appends to a file that all processes share; how long it is then.
fn add(name: &str, bytes: &[u8]) -> io::Result<u64> {
    let directory = env::var_os("TESTAPP_CONTROL").unwrap_or_default();
    let path = PathBuf::from(directory).join(name);
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(bytes)?;
    io::Seek::stream_position(&mut file)
}

/// Begins anew as a program on trial whose master is of the next version; returns only when it is none,
/// or is that already.
pub fn under_a_newer_master() -> io::Result<()> {
    let text = env::var(HANDOVER).unwrap_or_default();
    let ["trial", handover, answer] = text.split(':').collect::<Vec<_>>()[..] else {
        return Ok(());
    };
    if env::var_os(FORGED).is_some() {
        return Ok(());
    }
    let text = fs::read(format!("/proc/self/fd/{handover}"))?;
    let mut value: serde_json::Value = serde_json::from_slice(&text)?;
    value["version"] = (value["version"].as_u64().unwrap_or(0) + 1).into();
    let file = memfd_create(c"newer", MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = fs::File::from(file);
    file.write_all(&serde_json::to_vec(&value)?)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
    let role = format!("trial:{}:{answer}", file.as_raw_fd());
    let mut arguments = env::args_os();
    let mut again = Command::new("/proc/self/exe");
    again.arg0(arguments.next().unwrap_or_default());
    Err(again
        .args(arguments)
        .env(HANDOVER, role)
        .env(FORGED, "yes")
        .exec())
}
