//! Connections go from workers that leave to those that stay: no client is told to close, none is cut.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::http::{Answer, Client};
use crate::support::load::Load;
use crate::support::{Server, proc, testapp};

const WHO: &str = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The answer of a worker of this generation, which keeps the connection.
#[track_caller]
fn assert_kept(answer: &Answer, generation: u64) {
    assert_eq!(answer.who().generation, generation);
    assert!(!answer.closes(), "{answer:?}");
}

fn connect(server: &Server) -> Client<std::net::TcpStream> {
    Client::connect(server.address()).unwrap()
}

#[test]
fn three_thousand_idle_connections_go_on_with_the_new_generation() {
    let server = testapp()
        .args("--workers 2 --worker-connections 4000 --head-timeout 600 --keep-alive 600")
        .ready();
    let mut clients: Vec<_> = (0..3000).map(|_| connect(&server)).collect();
    let half = |n: usize| n % 3 == 0;
    for (n, client) in clients.iter_mut().enumerate() {
        if half(n) {
            client.send(&WHO[..n % WHO.len()]).unwrap();
        } else {
            assert_kept(&client.get("/who").unwrap(), 1);
        }
    }
    server.take_over();
    for (n, client) in clients.iter_mut().enumerate() {
        let sent = if half(n) { n % WHO.len() } else { 0 };
        client.send(&WHO[sent..]).unwrap();
        assert_kept(&client.answer().unwrap(), 2);
    }
    drop(clients);
    server.stop();
}

/// The request under way is answered where it is; what came behind it goes with the connection.
#[test]
fn pipelined_requests_are_answered_in_order_across_a_reload() {
    let server = testapp().args("--workers 1").ready();
    let mut client = connect(&server);
    let slow = "GET /hang/700 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let print = "GET /print/first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (whole, half) = (format!("{slow}{WHO}{print}{WHO}"), &WHO[..20]);
    client.send(format!("{whole}{half}")).unwrap();
    server.until_in_handler(1);
    server.take_over();
    for _ in 0..4 {
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.closes()), (200, false));
    }
    client.send(&WHO[20..]).unwrap();
    assert_kept(&client.answer().unwrap(), 2);
    server.stop();
}

#[test]
fn after_a_stream_the_connection_goes_on_with_the_new_generation() {
    let server = testapp().args("--workers 1").ready();
    let mut client = connect(&server);
    client
        .send("GET /stream-slowly HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!((head.status, head.closes()), (200, false));
    server.take_over();
    while client.chunk().unwrap().is_some() {}
    // A request that was there when the stream ended is answered where it came.
    server.until("the new generation", || {
        let answer = client.get("/who").unwrap();
        assert!(!answer.closes());
        (answer.who().generation == 2).then_some(())
    });
    server.stop();
}

#[test]
fn clients_of_a_unix_socket_go_on_too() {
    let server = testapp()
        .no_bind()
        .file("bind = [\"127.0.0.1:0\", \"unix:sock\"]\nworkers = 1\n")
        .ready();
    let path = server.dir.path("sock");
    let mut idle = Client::connect_unix(&path).unwrap();
    assert_kept(&idle.get("/who").unwrap(), 1);
    let mut half = Client::connect_unix(&path).unwrap();
    half.send(&WHO[..9]).unwrap();
    server.take_over();
    half.send(&WHO[9..]).unwrap();
    assert_kept(&half.answer().unwrap(), 2);
    assert_kept(&idle.get("/who").unwrap(), 2);
    server.stop();
}

/// What a PROXY header said is part of the connection, also where only half of it has come.
#[test]
fn the_client_that_a_proxy_named_stays_the_client() {
    let server = testapp().args("--workers 1 --proxy-protocol v1").ready();
    let line = "PROXY TCP4 192.0.2.1 198.51.100.1 51000 8443\r\n";
    let ask = "GET /__env HTTP/1.1\r\nHost: h\r\n\r\n";
    let said = |answer: Answer| {
        let text = answer.text().to_owned();
        assert!(text.contains("REMOTE_ADDR=\"192.0.2.1\""), "{text}");
        assert!(text.contains("SERVER_PORT=\"8443\""), "{text}");
    };
    let (mut idle, mut half, mut silent) = (connect(&server), connect(&server), connect(&server));
    idle.send(format!("{line}{ask}")).unwrap();
    said(idle.answer().unwrap());
    half.send(&line[..20]).unwrap();
    server.take_over();
    idle.send(ask).unwrap();
    half.send(format!("{}{ask}", &line[20..])).unwrap();
    silent.send(format!("{line}{ask}")).unwrap();
    for client in [&mut idle, &mut half, &mut silent] {
        said(client.answer().unwrap());
    }
    server.stop();
}

#[test]
fn workers_that_retire_after_their_requests_close_no_connection() {
    let server = testapp()
        .args("--workers 2 --max-requests 200 --max-requests-jitter 50")
        .ready();
    let load = Load::keep_alive(server.address(), 6, "/who");
    server
        .log
        .wait_count(0, "exited (replaced after max-requests", 4);
    load.wait_good(50);
    load.stop().assert_nobody_noticed();
    server.stop();
}

#[test]
fn fewer_workers_close_no_connection() {
    let server = testapp().args("--workers 4").ready();
    let load = Load::keep_alive(server.address(), 8, "/who");
    for workers in [3, 2, 1] {
        load.wait_good(50);
        server.signal(Signal::SIGTTOU);
        server.wait_workers(workers);
    }
    load.wait_good(50);
    load.stop().assert_nobody_noticed();
    server.stop();
}

/// What lies at the rendezvous belongs to nobody who could take it along into death.
#[test]
fn the_death_of_one_that_takes_over_loses_nothing_that_it_has_not_taken() {
    let server = testapp().args("--workers 3").ready();
    // Slot 2 is the one to go; the other two are stopped, so that what it gives lies there.
    let leaver = server.pid_of(2);
    let stopped: Vec<i32> = server
        .wait_workers(3)
        .into_iter()
        .filter(|pid| *pid != leaver)
        .collect();
    for pid in &stopped {
        server.kill_worker(*pid, Signal::SIGSTOP);
        server.until("it to stand still", || {
            proc::stat(*pid).filter(|stat| stat.state == 'T')
        });
    }
    let mut clients: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/who").unwrap().who().pid, leaver);
    }
    server.signal(Signal::SIGTTOU);
    server.wait(&format!("(pid {leaver}) exited"));
    server.kill_worker(stopped[0], Signal::SIGKILL);
    server.kill_worker(stopped[1], Signal::SIGCONT);
    for client in &mut clients {
        let answer = client.get("/who").unwrap();
        assert!(!answer.closes() && answer.who().pid != leaver);
    }
    server.stop();
}

/// Nobody takes over when all go: the connections are served once more by those who have them.
#[test]
fn retired_workers_without_heirs_serve_what_they_have() {
    let server = testapp().args("--workers 2").ready();
    let mut clients: Vec<_> = (0..10).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.get("/who").unwrap();
    }
    let load = Load::keep_alive(server.address(), 2, "/who");
    load.wait_good(20);
    load.may_end();
    server.signal(Signal::SIGWINCH);
    server.wait("the workers retire");
    for client in &mut clients {
        assert_eq!(client.get("/who").unwrap().status, 200);
    }
    server.signal(Signal::SIGTTIN);
    load.wait_good(20);
    let report = load.stop();
    assert!(report.bad.is_empty(), "{report:?}");
    server.stop();
}

/// Who comes while the server stops is not let in only to be reset: the system drops the question, and
/// the client asks again. A listener that others may have too goes on.
#[test]
fn during_a_stop_nobody_is_let_in_where_the_listener_is_ours_alone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = testapp()
        .no_bind()
        .args("--workers 1 --bind fd://3")
        .inherit(listener.try_clone().unwrap(), 3, ":")
        .ready();
    for (mut server, let_in) in [
        (testapp().args("--workers 1").ready(), false),
        (inherited, true),
    ] {
        let mut busy = connect(&server);
        busy.send("GET /hang/1500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        server.until_in_handler(1);
        server.signal(Signal::SIGTERM);
        server.wait("stopping: workers finish");
        let address = server.address();
        let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert_eq!(late.is_ok(), let_in, "{late:?}");
        assert_eq!(busy.answer().unwrap().status, 200);
        drop((busy, late));
        assert_eq!(server.wait_exit().code(), Some(0));
    }
}
