//! Clients at awkward moments: before they have spoken, in the middle of a head, with several requests at
//! once, with their end behind them; and all of these when the server stops.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, testapp};
use crate::{meanwhile, turn};

const WHO: &str = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Requests that are sent at once.
const BATCH: usize = 12;

fn connect(server: &Server) -> Client<TcpStream> {
    Client::connect(server.address()).unwrap()
}

/// The client connects, the server reloads, and only then the client speaks (uvicorn #2757).
#[test]
fn who_has_said_nothing_yet_is_answered_by_the_new_generation() {
    let _turn = turn();
    let server = testapp().args("--workers 1").ready();
    for round in 1..=10 {
        let mut clients: Vec<_> = (0..10).map(|_| connect(&server)).collect();
        let mark = server.mark();
        server.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(200));
        for client in &mut clients {
            assert_eq!(client.get("/who").unwrap().status, 200);
        }
        server.wait_after(mark, "Reload complete");
        // The old worker answers what it finds until it has given them away.
        for client in &mut clients {
            server.until("the new generation", || {
                let answer = client.get("/who").unwrap();
                assert!(!answer.closes());
                (answer.who().generation == round + 1).then_some(())
            });
        }
    }
    server.stop();
}

/// The same when the server stops: who has got through is owed an answer, and has a second to ask.
#[test]
fn who_has_said_nothing_yet_is_answered_by_a_server_that_stops() {
    let _turn = turn();
    let mut in_time = 0;
    for _ in 0..5 {
        let mut server = testapp().args("--workers 1").ready();
        let mut clients: Vec<_> = (0..10).map(|_| connect(&server)).collect();
        let told = Instant::now();
        server.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(200));
        for client in &mut clients {
            let sent = client.send(WHO);
            // The machine may have been too busy for this client to be in time.
            if told.elapsed() < Duration::from_millis(900) {
                sent.unwrap();
                let answer = client.answer().unwrap();
                assert!(answer.status == 200 && answer.closes(), "{answer:?}");
                assert_eq!(client.rest().unwrap(), b"");
                in_time += 1;
            }
        }
        drop(clients);
        assert_eq!(server.wait_exit().code(), Some(0));
    }
    println!("{in_time} of 50 spoke in time");
    assert!(in_time > 0);
}

#[test]
fn a_request_that_trickles_in_goes_through_reloads() {
    let server = testapp().args("--workers 2").ready();
    let mut client = connect(&server);
    for (n, byte) in WHO.bytes().enumerate() {
        client.send([byte]).unwrap();
        if n % 12 == 6 {
            server.signal(Signal::SIGHUP);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let answer = client.answer().unwrap();
    assert!(
        answer.who().generation >= 3 && !answer.closes(),
        "{answer:?}"
    );
    server.stop();
}

/// Several requests in one segment, cut anywhere, and every third client ends its own side behind them.
#[test]
fn requests_sent_at_once_are_all_answered_in_order_over_reloads() {
    let _turn = turn();
    let server = testapp().args("--workers 2").ready();
    let answers = AtomicUsize::new(0);
    let client = |number: usize, over: &AtomicBool| {
        let ends = number % 3 == 0;
        let mut client = connect(&server);
        for turn in 0.. {
            let batch = batch(number, turn);
            let (first, second) = batch.split_at(turn * 7 % batch.len());
            client.send(first).unwrap();
            if turn % 2 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            client.send(second).unwrap();
            if ends {
                client.stream().shutdown(Shutdown::Write).unwrap();
            }
            for n in 0..BATCH {
                let answer = client.answer().unwrap();
                assert_eq!((answer.status, answer.closes()), (200, false));
                assert!(answer.text().starts_with(&line(number, turn, n)));
            }
            answers.fetch_add(BATCH, Ordering::Relaxed);
            if ends {
                assert_eq!(client.rest().unwrap(), b"");
                client = connect(&server);
            }
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    meanwhile(6, client, || {
        for _ in 0..50 {
            let goal = answers.load(Ordering::Relaxed) + 20 * BATCH;
            server.until("some answers", || {
                (answers.load(Ordering::Relaxed) >= goal).then_some(())
            });
            server.reload();
        }
    });
    println!("{} requests", answers.load(Ordering::Relaxed));
    server.stop();
}

/// At a stop the connection ends behind one of them, which says so, and without a reset: whoever sent the
/// others knows that they were not carried out.
#[test]
fn requests_sent_at_once_meet_a_clean_end_at_a_stop() {
    let _turn = turn();
    for round in 0..10 {
        let mut server = testapp().args("--workers 2").ready();
        let mut clients: Vec<_> = (0..20).map(|_| connect(&server)).collect();
        for client in &mut clients {
            assert_eq!(client.get("/who").unwrap().status, 200);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            if number == 2 * round {
                server.signal(Signal::SIGTERM);
            }
            client.send(batch(number, round)).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_clean_end(client, number, round).unwrap_or_else(|error| {
                panic!(
                    "round {round} client {number}: {error}\n{}",
                    server.log.text()
                )
            });
        }
        drop(clients);
        assert_eq!(server.wait_exit().code(), Some(0));
    }
}

/// Who waits in the backlog of a server that stops has not been answered yet, whatever was sent.
#[test]
fn at_a_stop_everybody_who_got_through_is_answered() {
    let _turn = turn();
    for round in 0..5 {
        let mut server = testapp().args("--workers 2").ready();
        let load = Load::start(server.address(), 4, "/who");
        load.wait_good(20);
        // All workers are busy, so that the crowd waits.
        let mut busy: Vec<_> = (0..2)
            .map(|n| {
                let mut client = connect(&server);
                client
                    .send("GET /hang/500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .unwrap();
                server.until_in_handler(n + 1);
                client
            })
            .collect();
        let mut queued: Vec<_> = (0..50)
            .map(|_| {
                let mut client = connect(&server);
                client.send(WHO).unwrap();
                client
            })
            .collect();
        let mut unread: Vec<_> = (0..50)
            .map(|n| {
                let mut client = connect(&server);
                client.send(&WHO[..n % WHO.len()]).unwrap();
                client
            })
            .collect();
        load.may_end();
        server.signal(Signal::SIGTERM);
        for (n, client) in unread.iter_mut().enumerate() {
            client.send(&WHO[n % WHO.len()..]).unwrap();
        }
        for client in busy.iter_mut().chain(&mut queued).chain(&mut unread) {
            let answer = client.answer();
            let status = answer.as_ref().map(|answer| answer.status).ok();
            assert_eq!(
                status,
                Some(200),
                "round {round}: {answer:?}\n{}",
                server.log.text()
            );
        }
        drop((busy, queued, unread));
        assert_eq!(server.wait_exit().code(), Some(0));
        let report = load.stop();
        assert!(report.bad.is_empty(), "round {round}: {report:?}");
    }
}

/// Answers in order, up to one that says that it is the last; then the end of the connection.
fn assert_clean_end(client: &mut Client<TcpStream>, number: usize, turn: usize) -> io::Result<()> {
    for n in 0..BATCH {
        let answer = client.answer()?;
        assert_eq!(answer.status, 200);
        assert!(answer.text().starts_with(&line(number, turn, n)));
        if answer.closes() {
            break;
        }
    }
    assert_eq!(client.rest()?, b"");
    Ok(())
}

fn line(number: usize, turn: usize, n: usize) -> String {
    format!("GET /reflect?{number}.{turn}.{n}\n")
}

fn batch(number: usize, turn: usize) -> Vec<u8> {
    let one = |n: usize| {
        let line = line(number, turn, n);
        format!("{} HTTP/1.1\r\nHost: localhost\r\n\r\n", line.trim_end())
    };
    (0..BATCH).map(one).collect::<String>().into_bytes()
}
