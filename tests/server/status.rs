//! How the server stands, as it tells over the control socket: numbers, requests under way, ends.

use nix::sys::signal::Signal;

use crate::support::http::{Client, get};
use crate::support::testapp;

#[test]
fn a_request_under_way_is_shown_without_its_query() {
    let server = testapp().args("--workers 1").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?token=secret HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    let status = server.status();
    let worker = &status["workers"][0];
    assert_eq!(worker["in_flight"], 1, "{status}");
    let current = &worker["current"][0];
    assert_eq!(current["method"], "GET");
    assert_eq!(current["target"], "/hang");
    let peer = client.stream().local_addr().unwrap();
    assert_eq!(current["peer"], peer.to_string());
    assert!(current["age"].as_f64() > Some(0.0), "{status}");
    assert!(!status.to_string().contains("secret"), "{status}");
    let text = server.ctl_done("status");
    assert!(
        text.contains(&format!(
            "under way:\n  worker 0: GET /hang from {peer} for "
        )),
        "{text}"
    );

    let server = testapp().args("--workers 1 --show-queries").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?token=secret HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    let status = server.status();
    let current = &status["workers"][0]["current"][0];
    assert_eq!(current["target"], "/hang?token=secret");
}

#[test]
fn a_place_tells_how_its_workers_have_ended_also_after_a_reload() {
    let server = testapp().args("--workers 2").ready();
    let first = server.pid_of(1);
    server.kill_worker(first, Signal::SIGSEGV);
    server.wait(&format!("(pid {first}) was killed by SIGSEGV"));
    let end = |server: &crate::support::Server| {
        let status = server.status();
        let worker = &status["workers"][1];
        (worker["restarts"].as_u64(), worker["last_end"].clone())
    };
    server.until("its successor", || {
        (end(&server).0 == Some(1)).then_some(())
    });
    let (_, last) = end(&server);
    // And by whom.
    let how = last["how"].as_str().unwrap();
    assert!(
        how.starts_with("was killed by SIGSEGV: sent by process "),
        "{how}"
    );
    assert_eq!(last["well"], false);
    let text = server.ctl_done("status");
    assert!(text.contains("last ends:\n  worker 1, "), "{text}");
    server.reload();
    server.until("the old ones to go", || {
        (end(&server).0 == Some(2)).then_some(())
    });
    let (_, last) = end(&server);
    assert_eq!(last["how"], "exited (replaced by a reload)");
    assert_eq!(last["well"], true);
    server.stop();
}

#[test]
fn the_page_for_people_shows_what_strangers_wrote_as_text() {
    let server = testapp()
        .args("--workers 1 --show-queries --metrics-bind 127.0.0.1:0")
        .ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /hang?'&x HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    server.until_in_handler(1);
    let line = server.wait("Metrics, status and health at: ");
    let (_, address) = line.split_once("http://").unwrap();
    let desk = address.trim().parse().unwrap();
    let mut browser = Client::connect(desk).unwrap();
    browser
        .send("GET /status HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n")
        .unwrap();
    let page = browser.answer().unwrap();
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(
        page.text().contains("<code>GET /hang?&#39;&amp;x</code>"),
        "{}",
        page.text()
    );
    let json = get(desk, "/status").unwrap();
    assert_eq!(json.field("content-type"), Some("application/json"));
}
