//! `shed-target`: more comes than can be served, and who is served has not waited for long.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send};

use crate::support::http::{Answer, Client, get};
use crate::support::{Server, testapp};

/// Clients that ask again and again, each on a connection of its own or on one for all.
struct Crowd {
    goes_on: Arc<AtomicBool>,
    /// How many answers there were, and how many of them were refusals.
    answers: Arc<[AtomicUsize; 2]>,
    clients: Vec<JoinHandle<Vec<(u16, Duration)>>>,
}

impl Crowd {
    fn start(server: &Server, clients: usize, path: &'static str, kept: bool) -> Crowd {
        let goes_on = Arc::new(AtomicBool::new(true));
        let answers = Arc::<[AtomicUsize; 2]>::default();
        let one = |_| {
            let (goes_on, address) = (Arc::clone(&goes_on), server.address());
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut client = kept.then(|| Client::connect(address).unwrap());
                while goes_on.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = match &mut client {
                        Some(client) => client.get(path).unwrap(),
                        None => get(address, path).unwrap(),
                    };
                    seen.push((answer.status, began.elapsed()));
                    answers[0].fetch_add(1, Ordering::Relaxed);
                    answers[1].fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                    if answer.status == 503 {
                        assert_eq!(answer.field("retry-after"), Some("1"));
                        // Less than it is asked to, so that it stays too much.
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
                seen
            })
        };
        Crowd {
            clients: (0..clients).map(one).collect(),
            goes_on,
            answers,
        }
    }

    /// Every answer and how long it took.
    fn stop(self) -> Vec<(u16, Duration)> {
        self.goes_on.store(false, Ordering::Relaxed);
        let seen = self
            .clients
            .into_iter()
            .map(|client| client.join().unwrap());
        seen.flatten().collect()
    }
}

fn ready(address: SocketAddr) -> Answer {
    get(address, "/ready").unwrap()
}

const CLIENTS: usize = 200;

/// Without it each of these would wait for two seconds: 200 clients at 10 ms.
#[test]
fn who_is_served_has_not_waited_for_long() {
    for kept in [false, true] {
        let server = testapp()
            .args("--workers 1 --shed-target 30ms --readiness-path /ready")
            .ready();
        assert_eq!(server.get("/sleep/1").status, 200);
        let mut events = server.control_client();
        events.say("{\"command\":\"events\"}\n");
        let begun = Instant::now();
        let crowd = Crowd::start(&server, CLIENTS, "/sleep/10", kept);
        server.wait("overloaded: requests wait ");
        for _ in 0..10 {
            // Whoever is refused, this is not, and it needs no handler.
            assert_eq!(ready(server.address()).status, 200);
        }
        server.until("enough to be served and refused", || {
            let [all, shed] = [0, 1].map(|n| crowd.answers[n].load(Ordering::Relaxed));
            (shed >= 200 && all - shed.min(all) >= 60).then_some(())
        });
        let (seen, took) = (crowd.stop(), begun.elapsed());
        let of = |status| seen.iter().filter(move |(one, _)| *one == status);
        let mut served: Vec<Duration> = of(200).map(|(_, took)| *took).collect();
        served.sort_unstable();
        let most = served[served.len() * 9 / 10];
        let (served, shed) = (served.len(), of(503).count());
        assert_eq!(served + shed, seen.len());
        assert!(served >= 20 && shed >= 20, "{served} served, {shed} shed");
        // Without it everybody waits until all the others were served.
        let all = took.mul_f64(CLIENTS as f64 / served as f64);
        assert!(most < all / 2, "{most:?} of {all:?}");
        let status = server.status();
        assert_eq!(status["totals"]["shed"], shed, "{status}");
        // It is over.
        assert_eq!(server.get("/sleep/1").status, 200);
        events.event("overloaded");
        if kept {
            assert_eq!(events.event("relieved")["requests"], shed);
            server.wait(&format!("the overload is over: {shed} requests refused in"));
        }
        server.stop();
    }
}

/// It is off by default: everybody waits, and is served.
#[test]
fn nobody_is_refused_where_nobody_asked_for_it() {
    let server = testapp().args("--workers 1").ready();
    let crowd = Crowd::start(&server, 50, "/sleep/5", false);
    server.until("requests to be served", || {
        (server.status()["totals"]["requests"].as_u64()? >= 200).then_some(())
    });
    let seen = crowd.stop();
    assert!(seen.iter().all(|(status, _)| *status == 200));
    // One connection of sixteen is asked how long it waited, with a clock of 4 ms or so.
    let times = server.status()["queue_times"].as_array().unwrap().clone();
    let late: u64 = times.iter().skip(15).filter_map(|n| n.as_u64()).sum();
    assert!(late >= 5, "{times:?}");
    server.stop();
}

/// While requests are refused, none is run for who has gone: that is what most who close have done.
#[test]
fn who_has_gone_is_not_worked_for() {
    const GONE: usize = 40;
    let start = testapp();
    let access = start.dir().path("access");
    let server = start
        .args("--workers 1 --shed-target 20ms --shed-interval 1 --access-logfile")
        .arg(&access)
        .ready();
    let kept = (0..GONE / 2).map(|_| {
        let mut client = Client::connect(server.address()).unwrap();
        assert_eq!(client.get("/who").unwrap().status, 200);
        client
    });
    let mut clients: Vec<_> = kept.collect();
    let crowd = Crowd::start(&server, 20, "/sleep/10", true);
    server.wait("overloaded: requests wait ");
    let fresh = (0..GONE / 2).map(|_| Client::connect(server.address()).unwrap());
    clients.extend(fresh);
    for client in &clients {
        let stream = client.stream();
        let request = b"GET /who?gone HTTP/1.1\r\nHost: localhost\r\n\r\n";
        // The end goes in the same packet, so that nobody sees one without the other.
        let more = MsgFlags::from_bits_retain(libc::MSG_MORE);
        let sent = send(stream.as_raw_fd(), request, more);
        assert_eq!(sent, Ok(request.len()));
        stream.shutdown(Shutdown::Write).unwrap();
    }
    // Who has closed its half only is told.
    let told = clients
        .iter_mut()
        .map(|client| client.answer().unwrap().status);
    let told: Vec<u16> = told.collect();
    crowd.stop();
    assert_eq!(told, [503; GONE]);
    server.until("all in the access log", || {
        let text = std::fs::read_to_string(&access).unwrap();
        let lines = text.lines().filter(|line| line.contains("/who?gone"));
        (lines.count() == GONE).then_some(())
    });
    server.stop();
}
