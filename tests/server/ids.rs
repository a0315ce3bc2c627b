//! What requests are called, which traces they belong to, and that slow ones are told of.

use crate::support::http::{Answer, Client};
use crate::support::{Server, testapp};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const FORMAT: &str = "%({REQUEST_ID}e)s %({TRACE_ID}e)s %({SPAN_ID}e)s %({PARENT_ID}e)s \
                      %({x-request-id}i)s %(U)s";

fn get(server: &Server, path: &str, fields: &str) -> Answer {
    let mut client = Client::connect(server.address()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    client.send(request).unwrap();
    client.answer().unwrap()
}

fn given(id: &str) -> String {
    format!("X-Request-Id: {id}\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n")
}

fn access(server: &Server, path: &str) -> Vec<String> {
    server.until(&format!("{path} in the access log"), || {
        let log = server.dir.read("access.log");
        let line = log.lines().find(|line| line.ends_with(path))?;
        Some(line.split(' ').map(str::to_owned).collect())
    })
}

#[test]
fn a_request_has_one_name_for_all_who_look() {
    let server = testapp()
        .args("--workers 1 --send-request-id --send-trace --access-logfile access.log --access-logformat")
        .arg(FORMAT)
        .ready();
    // What a trusted proxy says is taken over, the span is new.
    let answer = get(&server, "/trace/given", &given("abc-1"));
    assert_eq!(answer.field("x-request-id"), Some("abc-1"));
    let (id, trace) = answer.text().split_once(' ').unwrap();
    assert_eq!(answer.field("traceresponse"), Some(trace));
    let parts: Vec<&str> = trace.split('-').collect();
    assert_eq!(
        (id, parts[0], parts[1], parts[3]),
        ("abc-1", "00", TRACE, "01")
    );
    assert_ne!(parts[2], PARENT);
    let logged = access(&server, "/trace/given");
    assert_eq!(logged[..5], ["abc-1", TRACE, parts[2], PARENT, "abc-1"]);
    let line = server.wait("in the handler of /trace/given");
    assert!(line.ends_with(" (request abc-1)"), "{line}");

    // Else both are made.
    let answer = get(&server, "/trace/made", "");
    let (id, trace) = answer.text().split_once(' ').unwrap();
    let parts: Vec<&str> = trace.split('-').collect();
    assert_eq!((id.len(), parts[1].len(), parts[3]), (16, 32, "00"));
    assert_eq!(answer.field("x-request-id"), Some(id));
    let logged = access(&server, "/trace/made");
    assert_eq!(logged[..5], [id, parts[1], parts[2], "-", "-"]);
    let line = server.wait("in the handler of /trace/made");
    assert!(line.ends_with(&format!(" (request {id})")), "{line}");

    // An answer to which no handler has come has both as well.
    let answer = get(&server, "/error", "");
    let logged = access(&server, "/error");
    assert_eq!(Some(&*logged[0]), answer.field("x-request-id"));
    let trace = format!("00-{}-{}-00", logged[1], logged[2]);
    assert_eq!(answer.field("traceresponse"), Some(&*trace));
    let line = server.wait("the test wants an error");
    assert!(
        line.ends_with(&format!(" (request {})", logged[0])),
        "{line}"
    );
    server.stop();
}

#[test]
fn what_a_stranger_calls_its_request_is_only_shown_as_that() {
    let server = testapp()
        .args("--workers 1 --forwarded-allow-ips 192.0.2.1")
        .args("--access-logfile access.log --access-logformat")
        .arg(FORMAT)
        .ready();
    let answer = get(&server, "/trace/stranger", &given("forged"));
    assert_eq!(answer.field("x-request-id"), None, "not asked for");
    assert_eq!(answer.field("traceresponse"), None, "not asked for");
    // A trace that nobody looks at is none.
    get(&server, "/error", "");
    let logged = access(&server, "/error");
    assert_eq!(logged[1..5], ["-", "-", "-", "-"]);
    let (id, trace) = answer.text().split_once(' ').unwrap();
    assert_eq!(id.len(), 16);
    assert!(!trace.contains(TRACE), "{trace}");
    let logged = access(&server, "/trace/stranger");
    assert_eq!((&*logged[0], &*logged[3], &*logged[4]), (id, "-", "forged"));
    server.stop();
}

#[test]
fn a_slow_request_is_told_of_while_it_runs_and_when_it_ends() {
    let server = testapp().args("--workers 1 --slow-request 0.3").ready();
    let pid = server.pid_of(0);
    let answer = get(&server, "/hang/2500", &given("slow-1"));
    assert_eq!(answer.status, 200);
    let running = server.wait("slow request: worker 0");
    assert!(
        running.contains(&format!(
            "(pid {pid}) serves GET /hang/2500 from 127.0.0.1:"
        )) && running.contains("(id slow-1)"),
        "{running}"
    );
    let ended = server.wait("slow request: GET /hang/2500");
    assert!(ended.contains(" s, status 200 (request slow-1)"), "{ended}");
    let took = ended.split(" took ").nth(1).unwrap();
    let took: f64 = took.split(' ').next().unwrap().parse().unwrap();
    assert!(took >= 2.5, "{ended}");
    assert_eq!(get(&server, "/who", "").status, 200);
    server.signal(nix::sys::signal::Signal::SIGUSR1);
    server.wait("Logs opened anew");
    assert_eq!(server.log.count(0, "slow request: "), 2, "once each");
    server.stop();
}
