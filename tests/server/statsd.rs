//! What a StatsD server is told: all requests, under Gunicorn's names.

use std::collections::BTreeMap;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Dir, PATIENCE, Server, testapp};

/// What a server adds up that knows of sample rates.
#[derive(Debug, Default)]
struct Sums {
    counts: BTreeMap<String, f64>,
    gauges: BTreeMap<String, f64>,
    tags: Vec<String>,
}

impl Sums {
    fn add(&mut self, datagram: &[u8]) {
        assert!(datagram.len() <= 1432, "{}", datagram.len());
        let text = std::str::from_utf8(datagram).unwrap();
        for line in text.split('\n') {
            let (name, rest) = line.split_once(':').expect(line);
            let mut parts = rest.split('|');
            let value: f64 = parts
                .next()
                .and_then(|value| value.parse().ok())
                .expect(line);
            let kind = parts.next().expect(line);
            let mut rate = 1.0;
            for part in parts {
                match part.split_at(1) {
                    ("@", text) => rate = text.parse().expect(line),
                    ("#", tags) => self.tags.push(tags.to_owned()),
                    _ => panic!("{line}"),
                }
            }
            match kind {
                "c" => *self.counts.entry(name.to_owned()).or_default() += value / rate,
                "ms" => *self.counts.entry(name.to_owned()).or_default() += 1.0 / rate,
                "g" | "h" => drop(self.gauges.insert(name.to_owned(), value)),
                kind => panic!("{kind}"),
            }
        }
    }

    fn count(&self, name: &str) -> f64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Adds up what comes until `name` has this value.
    fn until(&mut self, name: &str, value: f64, receive: impl Fn(&mut [u8]) -> usize) {
        let give_up = Instant::now() + PATIENCE;
        let mut room = [0; 65_536];
        while self.count(name) < value {
            assert!(Instant::now() < give_up, "no {name}: {self:?}");
            let len = receive(&mut room);
            self.add(&room[..len]);
        }
        assert_eq!(self.count(name), value, "{self:?}");
    }

    /// Takes what comes until `name` stands at this value.
    fn until_it_is(&mut self, name: &str, value: f64, receive: impl Fn(&mut [u8]) -> usize) {
        let give_up = Instant::now() + PATIENCE;
        let mut room = [0; 65_536];
        while self.gauges.get(name) != Some(&value) {
            assert!(
                Instant::now() < give_up,
                "{name} is never {value}: {self:?}"
            );
            let len = receive(&mut room);
            self.add(&room[..len]);
        }
    }
}

fn get(server: &Server, path: &str, number: usize) {
    for _ in 0..number {
        server.get(path);
    }
}

#[test]
fn requests_are_added_up_by_udp_also_when_the_aide_has_died() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = |room: &mut [u8]| receiver.recv(room).unwrap();
    let host = receiver.local_addr().unwrap();
    let server = testapp()
        .args(&format!(
            "--workers 2 --statsd-host {host} --statsd-prefix shop --dogstatsd-tags env:test,a"
        ))
        .ready();
    let line = server.wait("The aide is ready (pid ");
    get(&server, "/who", 20);
    get(&server, "/error", 3);
    let mut sums = Sums::default();
    sums.until("shop.gunicorn.requests", 23.0, receive);
    sums.until("shop.gunicorn.request.status.200", 20.0, receive);
    sums.until("shop.gunicorn.request.status.500", 3.0, receive);
    sums.until("shop.gunicorn.log.exception", 3.0, receive);
    // Each has a line at that level, and nothing else went wrong.
    sums.until("shop.gunicorn.log.error", 3.0, receive);
    sums.until("shop.gunicorn.request.duration", 23.0, receive);
    sums.until_it_is("shop.gunicorn.workers", 2.0, receive);
    assert!(!sums.tags.is_empty() && sums.tags.iter().all(|tags| tags == "env:test,a"));

    let pid = line.split("(pid ").nth(1).unwrap().trim_end_matches(')');
    let mark = server.mark();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    server.wait_after(mark, "The aide is ready");
    assert!(!sums.gauges.contains_key("shop.gunicorn.backlog"));
    get(&server, "/who", 7);
    sums.until("shop.gunicorn.requests", 30.0, receive);
    // The last moments of a server are told, too.
    get(&server, "/who", 5);
    server.stop();
    sums.until("shop.gunicorn.requests", 35.0, receive);
}

#[test]
fn a_unix_socket_that_is_not_there_yet_loses_nothing() {
    let dir = Dir::new();
    let path = dir.path("statsd");
    let server = testapp()
        .args(&format!(
            "--workers 1 --statsd-host unix://{}",
            path.display()
        ))
        .ready();
    server.wait("The aide is ready");
    get(&server, "/who", 10);
    server.wait("cannot send to statsd-host");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let receive = |room: &mut [u8]| receiver.recv(room).unwrap();
    Sums::default().until("gunicorn.requests", 10.0, receive);
    // One that was started again is found again.
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let (mut sums, mut room) = (Sums::default(), [0; 65_536]);
    server.until("requests at the new receiver", || {
        server.get("/who");
        while let Ok(len) = receiver.recv(&mut room) {
            sums.add(&room[..len]);
        }
        (sums.count("gunicorn.requests") > 0.0).then_some(())
    });
    assert_eq!(
        server.log.count(0, "cannot send to statsd-host"),
        1,
        "once a minute"
    );
    server.stop();
}

#[test]
fn who_waits_is_told_where_that_is_wanted_and_what_the_master_warns_of() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = |room: &mut [u8]| receiver.recv(room).unwrap();
    let host = receiver.local_addr().unwrap();
    let server = testapp()
        .args(&format!(
            "--workers 1 --statsd-host {host} --enable-backlog-metric"
        ))
        .ready();
    server.wait("The aide is ready");
    let worker = server.pid_of(0);
    server.kill_worker(worker, Signal::SIGSTOP);
    let clients: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    let mut sums = Sums::default();
    sums.until_it_is("gunicorn.backlog", 3.0, receive);
    drop(clients);
    // What the master says of the death of a worker is counted, too.
    let mark = server.mark();
    server.kill_worker(worker, Signal::SIGKILL);
    server.wait_after(mark, "Worker 0 is ready");
    let errors = server.log.count(0, "[ERROR]") as f64;
    assert!(errors >= 1.0);
    sums.until("gunicorn.log.error", errors, receive);
    server.stop();
}
