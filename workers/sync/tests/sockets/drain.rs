//! How a worker ends: asked, told, or orphaned; nobody who was promised an answer goes without.

use std::io::Write;
use std::time::{Duration, Instant};

use ferricorn_base::lifeline::{Down, Retirement, Up};
use ferricorn_base::{Body, Error, Exit, Request};

use crate::server::{Gate, LIMIT, Server, Setup, eventually, logged};

/// `/slow` waits for the gate, `/stream` too, on its thread; others answer at once.
fn gated(gate: &Gate) -> impl Fn(&mut Request) -> Result<Body, Error> + Clone + use<> {
    let gate = gate.clone();
    move |request: &mut Request| {
        let gate = gate.clone();
        let path = request.path().to_owned();
        Ok(match path.as_str() {
            "/slow" => {
                gate.pass();
                Body::from("slow")
            }
            "/stream" => Body::stream(move |exchange| {
                exchange.write_all(b"begun ")?;
                exchange.flush()?;
                gate.pass();
                exchange.write_all(b"ended")?;
                Ok(())
            }),
            "/large" => Body::from(vec![b'x'; 8 << 20]),
            _ => Body::from(path),
        })
    }
}

fn serve(change: impl FnOnce(&mut ferricorn_base::Conf)) -> (Server, Gate) {
    let gate = Gate::new();
    (Setup::new().conf(change).serve(gated(&gate)), gate)
}

fn ended(server: &mut Server) -> Duration {
    let start = Instant::now();
    assert!(matches!(server.exit(0), Exit::Done));
    start.elapsed()
}

#[test]
fn without_connections_a_drain_is_over_at_once() {
    for stop in [true, false] {
        let (mut server, _gate) = serve(|_| {});
        server.drain(stop);
        ended(&mut server);
    }
    let (mut server, _gate) = serve(|_| {});
    let _idle = server.get("/").reply();
    server.command(0, Down::Quit);
    ended(&mut server);
}

#[test]
fn a_drained_worker_accepts_no_more() {
    let (mut server, gate) = serve(|conf| conf.deadlines.keep_alive = Duration::from_secs(1));
    let mut stream = server.get("/stream");
    gate.reached(1);
    server.drain(false);
    eventually("it drains", || {
        server.view(0).state == ferricorn_base::board::State::Draining
    });
    // The test holds the listener, so the client gets through to the backlog, and waits there.
    let mut late = server.get("/late");
    late.assert_quiet(Duration::from_millis(100));
    gate.open();
    assert_eq!(stream.reply().text(), "begun ended");
    stream.assert_closed();
    ended(&mut server);
}

#[test]
fn an_idle_connection_is_served_once_more_and_told() {
    for stop in [true, false] {
        let (mut server, gate) = serve(|_| {});
        let mut idle = server.get("/1");
        assert!(!idle.reply().says_close());
        // Holds the worker so that it surely sees the request after the command.
        let mut slow = server.get("/slow");
        gate.reached(1);
        server.drain(stop);
        gate.open();
        slow.reply();
        eventually("it drains", || {
            server.view(0).state == ferricorn_base::board::State::Draining
        });
        idle.get("/2");
        let reply = idle.reply();
        assert_eq!(reply.text(), "/2");
        assert!(reply.says_close());
        idle.assert_closed();
        drop((idle, slow));
        ended(&mut server);
    }
}

#[test]
fn idle_connections_do_not_hold_up_a_stop() {
    let (mut server, _gate) = serve(|_| {});
    let mut idle = server.get("/");
    idle.reply();
    let mut silent = server.connect();
    eventually("both are held", || server.connections(0) == 2);
    server.drain(true);
    idle.assert_closed();
    silent.assert_closed();
    assert!(ended(&mut server) < LIMIT / 3);
}

#[test]
fn idle_connections_may_stay_their_time_while_successors_serve() {
    let (mut server, _gate) = serve(|conf| conf.deadlines.keep_alive = Duration::from_secs(2));
    let mut idle = server.get("/");
    idle.reply();
    server.drain(false);
    idle.assert_quiet(Duration::from_millis(500));
    idle.assert_closed();
    ended(&mut server);
}

#[test]
fn what_is_under_way_is_finished() {
    let (mut server, gate) = serve(|_| {});
    let mut stream = server.get("/stream");
    let mut large = server.connect_narrow();
    large.get("/large");
    let mut upload = server.connect();
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    let mut head = server.connect();
    head.send("GET /head HTTP/1.1\r\n");
    gate.reached(1);
    let large_head = large.head();
    eventually("all are held", || server.connections(0) == 4);
    // Also what the clients have just sent.
    let mut slow = server.get("/slow");
    gate.reached(2);
    server.drain(true);
    gate.open();
    assert_eq!(slow.reply().text(), "slow");
    eventually("it drains", || {
        server.view(0).state == ferricorn_base::board::State::Draining
    });
    upload.send("other");
    assert_eq!(upload.reply().text(), "/upload");
    head.send("Host: a\r\n\r\n");
    assert_eq!(head.reply().text(), "/head");
    assert_eq!(stream.reply().text(), "begun ended");
    let mut reply = large_head;
    assert_eq!(large.body(&mut reply), None);
    assert_eq!(reply.body.len(), 8 << 20);
    for client in [&mut slow, &mut upload, &mut head, &mut stream, &mut large] {
        client.assert_closed();
    }
    drop((slow, upload, head, stream, large));
    ended(&mut server);
}

/// What does not fit at once is taken when places are free again.
#[test]
fn at_a_stop_a_backlog_beyond_the_bound_is_answered_too() {
    let gate = Gate::new();
    let mut server = Setup::new()
        .conf(|conf| conf.worker_connections = 5)
        .serve(gated(&gate));
    let mut busy = server.get("/slow");
    gate.reached(1);
    let mut crowd: Vec<_> = (0..60).map(|n| server.get(&format!("/{n}"))).collect();
    server.drain(true);
    gate.open();
    assert_eq!(busy.reply().text(), "slow");
    for (n, client) in crowd.iter_mut().enumerate() {
        assert_eq!(client.reply().text(), format!("/{n}"));
    }
    drop((busy, crowd));
    assert!(matches!(server.exit(0), Exit::Done));
}

#[test]
fn at_a_stop_the_backlog_is_answered() {
    for workers in [1, 3] {
        let gate = Gate::new();
        let mut server = Setup::new().workers(workers).serve(gated(&gate));
        // All workers are busy, so that the crowd waits.
        let mut busy = vec![];
        for n in 0..workers {
            busy.push(server.get("/slow"));
            gate.reached(n + 1);
        }
        let mut crowd: Vec<_> = (0..500).map(|n| server.get(&format!("/{n}"))).collect();
        // Some have not even sent their request.
        let mut silent: Vec<_> = (0..5).map(|_| server.connect()).collect();
        server.drain(true);
        gate.open();
        for client in &mut busy {
            assert_eq!(client.reply().text(), "slow");
        }
        for (n, client) in crowd.iter_mut().enumerate() {
            let reply = client.reply();
            assert_eq!(reply.text(), format!("/{n}"));
            client.assert_closed();
        }
        for client in &mut silent {
            client.assert_closed();
        }
        drop((busy, crowd, silent));
        for seat in 0..workers {
            assert!(matches!(server.exit(seat), Exit::Done));
        }
    }
}

#[test]
fn the_deadline_cuts_and_says_whom() {
    let (mut server, gate) = serve(|conf| {
        conf.deadlines.graceful = Duration::from_millis(500);
    });
    let mut stream = server.get("/stream");
    gate.reached(1);
    let mut upload = server.connect();
    upload.send("POST /cut-upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    eventually("both are held", || server.connections(0) == 2);
    server.drain(false);
    assert!(ended(&mut server) < LIMIT / 3);
    let limit = "after graceful-timeout (0.5 s), under way for ";
    logged(&["WARN cut GET /stream of 127.0.0.1:", limit, " s (id "]);
    logged(&["WARN cut POST /cut-upload of 127.0.0.1:", limit, " s (id "]);
    // Who has no head yet is told that this was no answer of the application.
    let reply = upload.reply();
    assert_eq!((reply.status, reply.says_close()), (503, true));
    upload.assert_closed();
    // Here the thread lives on with the test; in a process it would end with it.
    assert_eq!(stream.head().status, 200);
    gate.open();
}

/// There is no time to finish anything, but to say what is not.
#[test]
fn an_end_at_once_says_whom_it_cuts() {
    let (mut server, gate) = serve(|_| {});
    let mut stream = server.get("/stream?quit");
    gate.reached(1);
    let mut upload = server.connect();
    upload.send("POST /quit-upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf!");
    let mut idle = server.get("/");
    idle.reply();
    eventually("all are held", || server.connections(0) == 3);
    server.command(0, Down::Quit);
    assert!(ended(&mut server) < LIMIT / 3);
    let limit = "after the order to end at once, under way for ";
    logged(&["WARN cut GET /stream?quit of 127.0.0.1:", limit]);
    logged(&["WARN cut POST /quit-upload of 127.0.0.1:", limit]);
    assert_eq!(upload.reply().status, 503);
    assert_eq!(stream.head().status, 200);
    idle.assert_closed();
    gate.open();
}

/// Their clients would all come back at the same moment.
#[test]
fn at_a_stop_idle_connections_are_not_all_closed_at_once() {
    let (mut server, _gate) = serve(|_| {});
    let mut idle: Vec<_> = (0..30).map(|_| server.get("/")).collect();
    for client in &mut idle {
        client.reply();
    }
    server.drain(true);
    let begun = Instant::now();
    let ends = std::thread::scope(|scope| {
        let ends = idle.iter_mut().map(|client| {
            scope.spawn(move || {
                client.assert_closed();
                begun.elapsed()
            })
        });
        let ends: Vec<_> = ends.collect();
        let ends = ends.into_iter().map(|end| end.join().unwrap());
        ends.collect::<Vec<Duration>>()
    });
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(*last - *first > Duration::from_millis(50), "{ends:?}");
    // Each had its time for another request.
    assert!(*first > Duration::from_millis(900), "{ends:?}");
    ended(&mut server);
}

/// A second command shortens the first.
#[test]
fn a_stop_hurries_a_drain() {
    let (mut server, _gate) = serve(|_| {});
    let mut idle = server.get("/");
    idle.reply();
    server.drain(false);
    idle.assert_quiet(Duration::from_millis(100));
    server.drain(true);
    idle.assert_closed();
    assert!(ended(&mut server) < LIMIT / 3);
}

#[test]
fn an_orphan_finishes_what_it_can_and_ends() {
    let (mut server, gate) = serve(|_| {});
    let mut idle = server.get("/");
    idle.reply();
    let mut stream = server.get("/stream");
    gate.reached(1);
    let mut slow = server.get("/slow");
    gate.reached(2);
    server.orphan(0);
    gate.open();
    assert_eq!(slow.reply().text(), "slow");
    assert_eq!(stream.reply().text(), "begun ended");
    idle.assert_closed();
    assert!(ended(&mut server) < LIMIT / 3);
    logged(&["WARN the master is gone"]);
}

#[test]
fn an_orphan_waits_for_nobody_long() {
    let (mut server, gate) = serve(|_| {});
    let mut stream = server.get("/stream");
    gate.reached(1);
    server.orphan(0);
    assert!(ended(&mut server) < LIMIT / 3);
    gate.open();
    stream.head();
}

#[test]
fn streams_are_told_of_the_end() {
    let mut server = Setup::new().serve(|_: &mut Request| {
        Body::stream(|exchange| {
            while !exchange.is_closing() {
                exchange.write_all(b".")?;
                exchange.flush()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    });
    let mut stream = server.get("/");
    let mut head = stream.head();
    server.drain(false);
    assert_eq!(stream.body(&mut head), None);
    assert!(head.whole);
    drop(stream);
    ended(&mut server);
}

#[test]
fn after_its_requests_a_worker_asks_for_a_successor_once() {
    let (mut server, _gate) = serve(|conf| {
        conf.max_requests = 3;
        conf.max_requests_jitter = 0;
    });
    let mut client = server.connect();
    for n in 0..10 {
        client.get("/");
        client.reply();
        if n == 1 {
            assert_eq!(server.report_now(0), None);
        }
    }
    assert_eq!(server.report(0), Up::Retiring(Retirement::MaxRequests));
    assert_eq!(server.report_now(0), None);
    // It serves until it is told to drain.
    assert_eq!(server.get("/more").reply().text(), "/more");
    client.finish();
    server.drain(false);
    ended(&mut server);
}

#[test]
fn what_cannot_load_or_boot_says_why() {
    #[derive(Clone)]
    struct Bad(&'static str);
    impl ferricorn_base::App for Bad {
        type Handler = Box<dyn ferricorn_base::Handler>;
        fn load(&mut self) -> Result<(), Error> {
            match self.0 {
                "load" => Err(Error::msg("no such module")),
                "load-panic" => panic!("no such file"),
                _ => Ok(()),
            }
        }
        fn boot(&self, _: &ferricorn_base::Seat) -> Result<Self::Handler, Error> {
            match self.0 {
                "boot" => Err(Error::msg("no database")),
                _ => panic!("no socket"),
            }
        }
    }
    use ferricorn_base::lifeline::Stage::{Boot, Load};
    for (bad, stage, why, code) in [
        ("load", Load, "no such module", 4),
        ("load-panic", Load, "panic: no such file at ", 4),
        ("boot", Boot, "no database", 3),
        ("boot-panic", Boot, "panic: no socket at ", 3),
    ] {
        let mut server = Setup::new().start(Bad(bad));
        match server.report(0) {
            Up::Failed { stage: at, reason } => {
                assert_eq!(at, stage);
                assert!(reason.starts_with(why), "{reason}");
            }
            report => panic!("{report:?}"),
        }
        assert_eq!(server.exit(0).code(), code);
    }
}
