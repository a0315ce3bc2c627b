//! `worker-connections` is a hard bound, whatever clients do: counted from outside, by the sockets in
//! `/proc/PID/fd`.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::http::Client;
use crate::support::{Server, proc, testapp};

const BOUND: usize = 40;

/// Looks at how many sockets a process has, all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

fn sockets(pid: i32) -> usize {
    let kinds = proc::kinds(pid);
    kinds.iter().filter(|kind| *kind == "socket").count()
}

impl Watch {
    fn start(pid: i32) -> Watch {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (told, seen) = (Arc::clone(&stop), Arc::<AtomicUsize>::clone(&most));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                seen.fetch_max(sockets(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Watch {
            stop,
            most,
            thread: Some(thread),
        }
    }

    fn most(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map(JoinHandle::join).transpose().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}

/// With which bytes a connection begins before it speaks HTTP.
type Preface = &'static str;

fn ask(server: &Server, preface: Preface, request: &str) -> Client<TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(format!("{preface}{request}")).unwrap();
    client
}

/// The clients of a flood: each kind of wait that a connection can be in, and silent ones.
fn flood(server: &Server, preface: Preface) -> Vec<Client<TcpStream>> {
    let requests = (0..4 * BOUND).map(|n| match n % 32 {
        0 | 8 | 16 => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        1 | 9 | 17 => "GET / HTTP/1.1\r\nHo",
        2 | 10 | 18 => "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        // Streams last as long as the server: few enough to leave room.
        3 => "GET /stream-slowly HTTP/1.1\r\nHost: a\r\n\r\n",
        4 | 12 | 20 => "nonsense\r\n\r\n",
        _ => "",
    });
    let mut clients: Vec<_> = requests
        .map(|request| match request {
            "" => Client::connect(server.address()).unwrap(),
            request => ask(server, preface, request),
        })
        .collect();
    // Some come not even to the end of that.
    clients.extend((0..BOUND / 4).map(|n| ask(server, &preface[..preface.len().min(n)], "")));
    clients
}

fn no_flood_and_no_drain_takes_a_worker_beyond_its_bound(arguments: &str, preface: Preface) {
    let server = testapp()
        .args("--workers 1 --backlog 1024 --graceful-timeout 3 --head-timeout 2 --body-timeout 2")
        .arg("--worker-connections")
        .arg(BOUND.to_string())
        .args(arguments)
        .ready();
    let pid = server.pid_of(0);
    let own = sockets(pid);
    let watch = Watch::start(pid);
    let clients = flood(&server, preface);
    // Those that are nowhere near a request make room for one that is.
    let mut polite = ask(&server, preface, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(polite.answer().unwrap().status, 200);
    // More than it holds come, and wait: the drain takes those, too.
    let more = flood(&server, preface);
    server.signal(Signal::SIGTERM);
    server.wait("stopping: workers finish what they have");
    server.until("the worker leaves", || (!proc::is_alive(pid)).then_some(()));
    let most = watch.most();
    assert_eq!(most, own + BOUND, "{own} are its own");
    drop((clients, more));
}

#[test]
fn a_flood_of_all_kinds_of_connections_keeps_within_worker_connections() {
    no_flood_and_no_drain_takes_a_worker_beyond_its_bound("", "");
}

#[test]
fn a_flood_behind_a_proxy_keeps_within_worker_connections() {
    let preface = "PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n";
    no_flood_and_no_drain_takes_a_worker_beyond_its_bound("--proxy-protocol v1", preface);
}
