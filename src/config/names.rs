//! Host names of `bind`, each looked up once and never again.
//!
//! A resolver can take its time, and the master must not wait once workers serve: names that a reload
//! brings are looked up by the program on trial, and the master uses what that found.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;

/// What the names that were looked up stand for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Names {
    found: Rc<RefCell<BTreeMap<String, Vec<IpAddr>>>>,
    sealed: Rc<Cell<bool>>,
}

impl Names {
    /// What is known already.
    pub fn known(found: BTreeMap<String, Vec<IpAddr>>) -> Names {
        Names {
            found: Rc::new(RefCell::new(found)),
            sealed: Rc::default(),
        }
    }

    /// What was looked up.
    pub fn found(&self) -> BTreeMap<String, Vec<IpAddr>> {
        self.found.borrow().clone()
    }

    /// From now on nothing is looked up any more.
    pub fn seal(&self) {
        self.sealed.set(true);
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// What the resolver answers; after [`Names::seal`], a name that was not looked up before.
    pub fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let known = self.found.borrow().get(host).cloned();
        let addresses = match known {
            Some(addresses) => addresses,
            None if self.sealed.get() => {
                return Err(io::Error::other(
                    "the program on trial did not look this name up, and the master cannot wait",
                ));
            }
            None => {
                let found: Vec<IpAddr> = (host, port)
                    .to_socket_addrs()?
                    .map(|found| found.ip())
                    .collect();
                self.found
                    .borrow_mut()
                    .insert(host.to_owned(), found.clone());
                found
            }
        };
        Ok(addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_book_of_names_knows_what_it_knew() {
        let names = Names::default();
        let shared = names.clone();
        assert_eq!(names.look_up("localhost", 80).unwrap()[0].port(), 80);
        names.seal();
        assert_eq!(shared.look_up("localhost", 81).unwrap()[0].port(), 81);
        let error = shared.look_up("elsewhere.invalid", 80).unwrap_err();
        assert!(error.to_string().contains("cannot wait"), "{error}");
    }
}
