//! From the first start to the last process: serving, stopping, boot failures.

use nix::sys::signal::Signal;

use crate::support::load::Load;
use crate::support::{self, ferricorn, http, proc, testapp};

#[test]
fn the_first_start_serves_and_says_where() {
    let server = ferricorn().args("--workers 2").ready();
    let address = server.address();
    assert_ne!(address.port(), 0);
    assert!(
        server
            .wait("Ready: serving at")
            .contains(&format!("http://{address}"))
    );
    let answer = server.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("Ferricorn is running"));
    server.stop();
}

#[test]
fn as_many_workers_as_asked_for_serve() {
    let server = testapp().args("--workers 5").ready();
    let workers = server.wait_workers(5);
    assert!(workers.contains(&server.who().pid));
    assert_eq!(server.log.count(0, "is ready (pid"), 5);
    server.stop();
}
