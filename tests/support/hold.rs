//! Handlers of the test application that last as long as a test wants, and not for a time: on a busy machine a
//! time is over before what was to happen within it.

use std::net::TcpListener;

/// What handlers wait for.
pub struct Hold(TcpListener);

impl Hold {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Hold {
        Hold(TcpListener::bind("127.0.0.1:0").expect("there is a free port"))
    }

    /// The path of a request whose handler waits; it is answered `Ok(0)`.
    pub fn path(&self) -> String {
        let address = self.0.local_addr().expect("it is bound");
        format!("/wait-for/{address}")
    }

    /// Lets the next of them go on.
    pub fn let_go(&self) {
        drop(self.0.accept().expect("a handler has connected"));
    }
}
