//! The log level while the server runs: `ctl log-level`.

use crate::support::http::Client;
use crate::support::{Server, testapp};

/// Whether a worker logs at debug: it says then whom it has refused.
#[track_caller]
fn says_debug(server: &Server) {
    let mark = server.mark();
    let mut client = Client::connect(server.address()).unwrap();
    client.send("GET / HTTP/9\r\n\r\n").unwrap();
    client.answer().unwrap();
    server.wait_after(mark, "refused a request");
}

#[test]
fn the_level_holds_over_a_reload_and_until_the_setting_is_another() {
    for more in ["", "preload = true\n"] {
        let server = testapp()
            .args("--workers 1")
            .file(&format!("log-level = \"warning\"\n{more}"))
            .args("--log-level info")
            .ready();
        assert_eq!(server.ctl_done("log-level"), "info\n");
        assert_eq!(server.ctl_done("log-level debug"), "debug\n");
        says_debug(&server);
        server.take_over();
        assert_eq!(server.ctl_done("log-level"), "debug\n");
        says_debug(&server);
        assert_eq!(server.ctl_done("log-level default"), "info\n");
        assert_eq!(server.ctl("log-level loud").code, Some(2));
        server.stop();
    }
}

#[test]
fn a_setting_that_was_changed_is_the_last_word() {
    let server = testapp()
        .args("--workers 1")
        .file("log-level = \"info\"\n")
        .ready();
    assert_eq!(server.ctl_done("log-level trace"), "trace\n");
    server
        .dir
        .write("ferricorn.toml", "log-level = \"debug\"\n");
    server.take_over();
    assert_eq!(server.ctl_done("log-level"), "debug\n");
    server.stop();
}
