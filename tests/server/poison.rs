//! `poison-deaths`: what workers die of is refused, and nothing else.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::support::http::{Answer, Client};
use crate::support::{Server, testapp};

/// Has a worker die of a request, and waits for the next one.
#[track_caller]
fn die(server: &Server, path: &str) {
    let mark = server.mark();
    let mut client = Client::connect(server.address()).unwrap();
    let asked = client.get(path);
    // It may be told of the death, but not that nobody will try.
    assert!(asked.is_err() || asked.unwrap().status != 503, "{path}");
    server.wait_after(mark, " is ready (pid");
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after"), Some("60"));
}

#[track_caller]
fn fingerprint(server: &Server) -> String {
    let status = server.status();
    let held = status["quarantine"].as_array().unwrap();
    assert_eq!(held.len(), 1, "{held:?}");
    held[0]["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn what_workers_die_of_is_refused_until_it_is_cleared() {
    let start = testapp();
    let access = start.dir().path("access");
    let server = start
        .args("--workers 2 --poison-deaths 3 --poison-hold 0 --access-logfile")
        .arg(&access)
        .ready();
    let mut events = server.control_client();
    events.say("{\"command\":\"events\"}\n");
    // Whatever the query says.
    for n in 0..3 {
        assert_eq!(server.ctl_done("quarantine"), "nothing is in quarantine\n");
        die(&server, &format!("/segv/now?n={n}"));
    }
    let line = server.wait("GET /segv/now is in quarantine");
    assert!(line.contains("3 workers died of it within 60 s"), "{line}");
    let event = events.event("quarantined");
    assert_eq!(event["request"], "GET /segv/now");
    let one = fingerprint(&server);
    assert_eq!(event["fingerprint"], *one);

    // By every worker, on a connection that goes on, and all else is served.
    server.wait_workers(2);
    let pids = server.workers();
    let (mut clients, mut seen) = (Vec::new(), BTreeSet::new());
    server.until("answers of both", || {
        let mut client = Client::connect(server.address()).unwrap();
        assert_refused(&client.get("/segv/now").unwrap());
        assert_refused(&client.get("/segv/now?x").unwrap());
        assert_refused(&client.get("http://localhost/segv/now").unwrap());
        assert_eq!(client.get("/segvx").unwrap().status, 404);
        seen.insert(client.get("/who").unwrap().who().pid);
        clients.push(client);
        (seen.iter().eq(&pids)).then_some(())
    });
    // Lines are written before a worker waits, which is after its answers.
    server.until("all in the access log", || {
        let text = std::fs::read_to_string(&access).unwrap();
        let refused = text.lines().filter(|line| line.contains("\" 503 "));
        (refused.count() == 3 * clients.len()).then_some(())
    });

    // What differs in the method is another request.
    let mark = server.mark();
    let mut other = Client::connect(server.address()).unwrap();
    other
        .send("POST /segv/now HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(other.answer().unwrap().status, 502);
    server.wait_after(mark, " is ready (pid");

    // Over a reload, too.
    server.take_over();
    assert_refused(&server.get("/segv/now"));
    assert_eq!(fingerprint(&server), one);
    let table = server.ctl_done("quarantine list");
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1]), (&*one, "3"), "{table}");
    assert!(table.contains("until cleared"), "{table}");
    assert!(table.ends_with("GET /segv/now\n"), "{table}");

    let error = server.ctl_fails("quarantine clear 0123456789abcdef");
    assert!(
        error.contains("0123456789abcdef is not in quarantine"),
        "{error}"
    );
    let done = server.ctl_done(&format!("quarantine clear {one}"));
    assert_eq!(done, "GET /segv/now is served again\n");
    die(&server, "/segv/now");
    die(&server, "/segv/now");
    die(&server, "/segv/now");
    let done = server.ctl_done("quarantine clear all");
    assert_eq!(done, "GET /segv/now is served again\n");
    server.stop();
}

/// A quarantine ends by itself, and by a configuration that wants none.
#[test]
fn a_quarantine_ends() {
    let server = testapp()
        .file("poison-deaths = 1\npoison-hold = 1\n")
        .args("--workers 1")
        .ready();
    die(&server, "/exit/9");
    server.wait("GET /exit/9 is in quarantine");
    server.wait("GET /exit/9 is in quarantine no more: poison-hold is over");
    let mark = server.mark();
    server
        .dir
        .write("ferricorn.toml", "poison-deaths = 1\npoison-hold = 600\n");
    // One of before would not be replaced.
    server.take_over();
    die(&server, "/exit/9");
    server.wait_after(mark, "GET /exit/9 is in quarantine");
    assert_refused(&server.get("/exit/9"));
    server.dir.write("ferricorn.toml", "");
    let mark = server.mark();
    server.take_over();
    server.wait_after(mark, "no more: poison-deaths is 0");
    die(&server, "/exit/9");
    server.stop();
}

/// A deadline that was passed says something of the request; who kills a worker does not.
#[test]
fn only_deaths_that_speak_count() {
    let server = testapp()
        .args("--workers 1 --poison-deaths 1 --timeout 2")
        .ready();
    let hang = || {
        let mark = server.mark();
        let mut client = Client::connect(server.address()).unwrap();
        client
            .send("GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        server.wait_after(mark, "in the handler of /hang");
        (mark, client)
    };
    let pid = server.who().pid;
    let (mark, _client) = hang();
    server.kill_worker(pid, Signal::SIGKILL);
    server.wait_after(mark, " is ready (pid");
    let pid = server.who().pid;
    let (mark, _client) = hang();
    server.ctl_done(&format!("kill {pid}"));
    server.wait_after(mark, " is ready (pid");
    assert_eq!(server.ctl_done("quarantine"), "nothing is in quarantine\n");
    let (mark, _client) = hang();
    server.wait_after(mark, "GET /hang is in quarantine");
    server.wait_after(mark, " is ready (pid");
    assert_refused(&server.get("/hang"));
    server.stop();
}
