//! Becoming the workers' account, for good.
//!
//! In the worker, before any code of the application: supplementary groups, then the group, then
//! the user, because each step needs the privilege that the next one gives up. Then it is tried
//! whether there is a way back. The master itself never changes its ids.

use std::ffi::CString;
use std::io;

use nix::unistd::{
    Gid, Uid, getegid, geteuid, getresgid, getresuid, setgroups, setresgid, setresuid,
};

use crate::config::Config;
use crate::sys;

/// Whom a worker is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    uid: Option<u32>,
    gid: Option<u32>,
    login: Option<CString>,
    initgroups: bool,
}

impl Account {
    /// What the configuration asks for.
    pub fn of(config: &Config) -> Account {
        let user = config.user.as_ref();
        let name = user.and_then(|user| user.name.clone());
        Account {
            uid: user.map(|user| user.uid),
            gid: config.gid(),
            login: name.and_then(|name| CString::new(name).ok()),
            initgroups: config.initgroups,
        }
    }

    /// Whether it can be done by this process; asked in the master, before it forks.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> io::Result<()> {
        if geteuid().is_root() || self.is_current() {
            return Ok(());
        }
        let text = "cannot change user or group: only root may";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Becomes it.
    ///
    /// # Errors
    /// The call that failed, in words. The caller must not go on then.
    pub fn assume(&self) -> io::Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let gid = self.gid.map_or_else(getegid, Gid::from_raw);
        match (&self.login, self.initgroups) {
            (Some(login), true) => {
                sys::init_groups(login, gid.as_raw()).map_err(in_words("initgroups"))?
            }
            // Not those of root, which the worker would have inherited.
            _ => setgroups(&[gid]).map_err(in_words("setgroups"))?,
        }
        setresgid(gid, gid, gid).map_err(in_words("setresgid"))?;
        if let Some(uid) = self.uid.map(Uid::from_raw) {
            setresuid(uid, uid, uid).map_err(in_words("setresuid"))?;
            self.verify(uid, gid)?;
        }
        Ok(())
    }

    fn verify(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        let (users, groups) = (getresuid()?, getresgid()?);
        let became = [users.real, users.effective, users.saved] == [uid; 3]
            && [groups.real, groups.effective, groups.saved] == [gid; 3];
        let root = Uid::from_raw(0);
        let way_back = !uid.is_root() && setresuid(root, root, root).is_ok();
        if became && !way_back {
            return Ok(());
        }
        Err(io::Error::other("privileges were not dropped for good"))
    }

    fn is_current(&self) -> bool {
        self.uid.is_none_or(|uid| geteuid().as_raw() == uid)
            && self.gid.is_none_or(|gid| getegid().as_raw() == gid)
    }
}

fn in_words<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(
            error.kind(),
            format!("cannot change user or group: {call}: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_is_nothing_done() {
        let account = Account::of(&Config::default());
        assert!(account.check().is_ok() && account.assume().is_ok());
    }

    #[test]
    fn oneself_may_always_be_asked_for() {
        let account = Account {
            uid: Some(geteuid().as_raw()),
            gid: Some(getegid().as_raw()),
            ..Account::default()
        };
        assert!(account.check().is_ok());
    }
}
