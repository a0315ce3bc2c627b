//! `worker-connections` is a hard bound, whatever clients do: counted from outside, by the sockets in
//! `/proc/PID/fd`.

use std::net::{SocketAddr, TcpStream};
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

fn ask(address: SocketAddr, request: &str) -> Client<TcpStream> {
    let mut client = Client::connect(address).unwrap();
    client.send(request).unwrap();
    client
}

/// The clients of a flood: each kind of wait that a connection can be in, and silent ones.
fn flood(server: &Server) -> Vec<Client<TcpStream>> {
    let address = server.address();
    let mut clients = Vec::new();
    for n in 0..4 * BOUND {
        // Streams last as long as the server: few enough to leave room.
        clients.push(match n % 32 {
            0 | 8 | 16 => ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 | 9 | 17 => ask(address, "GET / HTTP/1.1\r\nHo"),
            2 | 10 | 18 => ask(
                address,
                "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
            ),
            3 => ask(address, "GET /stream-slowly HTTP/1.1\r\nHost: a\r\n\r\n"),
            4 | 12 | 20 => ask(address, "nonsense\r\n\r\n"),
            _ => Client::connect(address).unwrap(),
        });
    }
    clients
}

#[test]
fn no_flood_and_no_drain_takes_a_worker_beyond_its_bound() {
    let server = testapp()
        .args("--workers 1 --backlog 1024 --graceful-timeout 3 --head-timeout 2 --body-timeout 2")
        .arg("--worker-connections")
        .arg(BOUND.to_string())
        .ready();
    let pid = server.pid_of(0);
    let own = sockets(pid);
    let watch = Watch::start(pid);
    let clients = flood(&server);
    // Those that are nowhere near a request make room for one that is.
    assert_eq!(server.get("/").status, 200);
    // More than it holds come, and wait: the drain takes those, too.
    let more = flood(&server);
    server.signal(Signal::SIGTERM);
    server.wait("stopping: workers finish what they have");
    server.until("the worker leaves", || (!proc::is_alive(pid)).then_some(()));
    let most = watch.most();
    assert_eq!(most, own + BOUND, "{own} are its own");
    drop((clients, more));
}
