//! A value in a memfd that nobody can change any more: JSON, sealed.
//!
//! Whoever reads one looks at the seals first. It knows nothing of what is in it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What is in one is never longer; a board full of workers takes less than 1 MiB.
const LONGEST: u64 = 64 << 20;

/// Puts a value into a memfd that nobody can change any more.
///
/// # Errors
/// What memfd_create(2), write(2) or fcntl(2) answer.
pub fn seal(value: &impl Serialize) -> io::Result<OwnedFd> {
    let text = serde_json::to_vec(value)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"ferricorn-handover", flags)?);
    file.write_all(&text)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file.into())
}

/// Takes a value out of a sealed memfd.
///
/// # Errors
/// It is none, or holds something else.
pub fn unseal<T: DeserializeOwned>(fd: OwnedFd) -> io::Result<T> {
    parse(&open(fd)?)
}

/// Takes a value of this version out of a sealed memfd. Nothing but the version is read of any other.
///
/// # Errors
/// It is no sealed memfd of ours, or of another version.
pub fn unseal_version<T: DeserializeOwned>(fd: OwnedFd, known: u32) -> io::Result<T> {
    let text = open(fd)?;
    let Version { version } = parse(&text)?;
    if version != known {
        return Err(io::Error::other(format!(
            "the hand-over has version {version} and this program knows version {known}; \
             restart the server"
        )));
    }
    parse(&text)
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL
}

/// The bytes in a sealed memfd.
fn open(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let found = fcntl(&fd, FcntlArg::F_GET_SEALS)?;
    let file = File::from(fd);
    let len = file.metadata()?.len();
    // The system may have added seals of its own.
    let sealed = SealFlag::from_bits_truncate(found).contains(seals());
    if !sealed || len > LONGEST {
        return Err(io::Error::other("it is no hand-over"));
    }
    let mut text = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    // Its offset is shared with whoever has it open, too.
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

/// A value out of them.
fn parse<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| io::Error::other(format!("the hand-over cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_read_again_and_not_be_changed() {
        let fd = seal(&vec![1, 2, 3]).unwrap();
        assert!(nix::unistd::write(&fd, b"x").is_err());
        assert!(nix::unistd::ftruncate(&fd, 0).is_err());
        let copy = fd.try_clone().unwrap();
        assert_eq!(unseal::<Vec<u8>>(fd).unwrap(), [1, 2, 3]);
        assert_eq!(unseal::<Vec<u8>>(copy).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_is_not_sealed_is_not_read() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"test", flags).unwrap());
        file.write_all(b"[]").unwrap();
        assert!(unseal::<Vec<u8>>(file.into()).is_err());
        let file = tempfile::tempfile().unwrap();
        assert!(unseal::<Vec<u8>>(file.into()).is_err());
    }
}
