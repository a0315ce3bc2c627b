//! Workers as threads of the test process, and the master's side of them.
//!
//! Workers of one server share a listener, a scoreboard and the doors, each with descriptors of its
//! own, as after a fork. Whatever is waited for has a deadline.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ferricorn_base::board::{Board, Counter, SeatView};
use ferricorn_base::conf::{ListenerConf, LocalAddr, ProxyListener};
use ferricorn_base::lifeline::{Down, MasterEnd, Stage, Up};
use ferricorn_base::logs::Outlet;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::transport::{Ready, wait};
use ferricorn_base::{App, Conf, Context, Exit, Hooked, Networks, Parts, ProxyVersions};
use nix::sys::epoll::Epoll;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;

use crate::client::{Client, Stream};

/// Longer than anything here takes: beyond it a test fails instead of hanging.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How to start a server.
pub struct Setup {
    conf: Conf,
    workers: usize,
    unix: bool,
    access: bool,
    proxy: Option<ProxyListener>,
    /// Who is woken before any worker and does not accept.
    first: Option<Epoll>,
}

/// A server without a master: the test plays that.
pub struct Server {
    local: LocalAddr,
    pub board: Board,
    /// Where connections are handed over.
    pub rendezvous: Rendezvous,
    workers: Vec<Running>,
    access: Option<File>,
    /// The master keeps it open, too.
    _listener: OwnedFd,
    _directory: tempfile::TempDir,
}

struct Running {
    master: Option<MasterEnd>,
    exit: Receiver<Exit>,
    ended: bool,
}

impl Setup {
    /// One worker on an ephemeral port.
    pub fn new() -> Setup {
        logs();
        Setup {
            conf: Conf {
                threads: crate::class::THREADS,
                ..Conf::default()
            },
            workers: 1,
            unix: false,
            access: false,
            proxy: None,
            first: None,
        }
    }

    /// Lets somebody be woken for an arrival before the workers, and do nothing about it.
    pub fn first(mut self, epoll: Epoll) -> Setup {
        self.first = Some(epoll);
        self
    }

    pub fn conf(mut self, change: impl FnOnce(&mut Conf)) -> Setup {
        change(&mut self.conf);
        self
    }

    pub fn workers(mut self, workers: usize) -> Setup {
        self.workers = workers;
        self
    }

    pub fn unix(mut self) -> Setup {
        self.unix = true;
        self
    }

    /// Connections begin with a PROXY header where they come from there.
    pub fn proxy(mut self, versions: ProxyVersions, from: &str) -> Setup {
        let from = Networks::parse(from.split_whitespace()).unwrap();
        self.proxy = Some(ProxyListener { versions, from });
        self
    }

    /// With an access log of this format.
    pub fn access(mut self, format: &str) -> Setup {
        self.conf.access_format = Some(format.to_owned());
        self.access = true;
        self
    }

    /// Serves `app`; every worker is ready when this returns.
    pub fn serve(self, app: impl App + Clone) -> Server {
        let server = self.start(app);
        for seat in 0..server.workers.len() {
            assert_eq!(server.report(seat), Up::Ready);
        }
        server
    }

    /// Starts workers, which may fail.
    pub fn start(self, app: impl App + Clone) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let (fd, local, bind) = if self.unix {
            let path = directory.path().join("socket");
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            let bind = format!("unix:{}", path.display());
            (OwnedFd::from(listener), LocalAddr::Unix(path), bind)
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            // As the master does; accepted sockets inherit it.
            let socket = socket2::SockRef::from(&listener);
            socket.set_tcp_nodelay(true).unwrap();
            socket.set_tcp_notsent_lowat(128 * 1024).unwrap();
            socket.listen(1024).unwrap();
            let address = listener.local_addr().unwrap();
            let fd = OwnedFd::from(listener);
            (fd, LocalAddr::Tcp(address), address.to_string())
        };
        if let Some(Epoll(epoll)) = self.first {
            ferricorn_base::sys::epoll_add_exclusive(epoll.as_fd(), fd.as_fd(), 0).unwrap();
        }
        let mut conf = self.conf;
        conf.workers = self.workers;
        conf.listeners = vec![ListenerConf {
            bind,
            local: local.clone(),
            proxy: self.proxy,
        }];
        let conf = Arc::new(conf);
        let board = Board::create().unwrap();
        let log = directory.path().join("access.log");
        let mut server = Server {
            local,
            board,
            rendezvous: Rendezvous::new().unwrap(),
            workers: vec![],
            access: None,
            _listener: fd.try_clone().unwrap(),
            _directory: directory,
        };
        let door = || {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            OwnedFd::from(EventFd::from_flags(flags).unwrap())
        };
        let doors: Vec<_> = (0..self.workers).map(|_| door()).collect();
        let append = || {
            let mut options = File::options();
            let options = options.create(true).append(true).read(true);
            options.open(&log).unwrap()
        };
        for seat in 0..self.workers {
            let (master, lifeline) = ferricorn_base::lifeline::pair().unwrap();
            server.board.set_alive(seat, true);
            let parts = Parts {
                conf: Arc::clone(&conf),
                slot: seat,
                generation: 1,
                seat,
                board: Board::attach(server.board.fd().try_clone_to_owned().unwrap()).unwrap(),
                lifeline,
                listeners: vec![fd.try_clone().unwrap()],
                rendezvous: server.rendezvous.try_clone().unwrap(),
                doors: doors.iter().map(|fd| fd.try_clone().ok()).collect(),
                access_log: match self.access {
                    true => vec![Outlet::lines(append().into())],
                    false => Vec::new(),
                },
                hooks: Hooked::default(),
            };
            let (sender, exit) = channel();
            let app = app.clone();
            std::thread::spawn(move || {
                let context = Context::new(parts).unwrap();
                let mut class = crate::class::of(app);
                let exit = match class.load() {
                    Ok(()) => class.run(context),
                    Err(error) => context.fail(Stage::Load, &error),
                };
                let _ = sender.send(exit);
            });
            server.workers.push(Running {
                master: Some(master),
                exit,
                ended: false,
            });
        }
        server.access = self.access.then(append);
        server
    }
}

impl Server {
    pub fn connect(&self) -> Client {
        Client::new(match &self.local {
            LocalAddr::Tcp(address) => {
                let stream = std::net::TcpStream::connect_timeout(address, LIMIT).unwrap();
                stream.set_nodelay(true).unwrap();
                Stream::Tcp(stream)
            }
            LocalAddr::Unix(path) => {
                Stream::Unix(std::os::unix::net::UnixStream::connect(path).unwrap())
            }
        })
    }

    /// A client with small kernel buffers: what it does not read fills them soon.
    pub fn connect_narrow(&self) -> Client {
        let LocalAddr::Tcp(address) = &self.local else {
            panic!("over TCP only")
        };
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&(*address).into()).unwrap();
        Client::new(Stream::Tcp(socket.into()))
    }

    /// A client of another address of this machine.
    pub fn connect_from(&self, address: std::net::Ipv4Addr) -> Client {
        let LocalAddr::Tcp(server) = &self.local else {
            panic!("over TCP only")
        };
        let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, None).unwrap();
        let own = std::net::SocketAddr::from((address, 0));
        socket.bind(&own.into()).unwrap();
        socket.connect(&(*server).into()).unwrap();
        Client::new(Stream::Tcp(socket.into()))
    }

    /// Connects and sends one request without a body.
    pub fn get(&self, path: &str) -> Client {
        let mut client = self.connect();
        client.get(path);
        client
    }

    /// The next report of a worker.
    pub fn report(&self, seat: usize) -> Up {
        let master = self.workers[seat].master.as_ref().unwrap();
        loop {
            if let Some(report) = master.receive().unwrap() {
                return report;
            }
            wait(master.as_fd(), Ready::Readable, Some(LIMIT)).unwrap();
        }
    }

    /// A report that is here already.
    pub fn report_now(&self, seat: usize) -> Option<Up> {
        self.workers[seat]
            .master
            .as_ref()
            .unwrap()
            .receive()
            .unwrap()
    }

    pub fn command(&self, seat: usize, command: Down) {
        let master = self.workers[seat].master.as_ref().unwrap();
        master.send(command, &[]).unwrap();
    }

    /// Tells all workers to drain.
    pub fn drain(&self, stop: bool) {
        for seat in 0..self.workers.len() {
            self.command(seat, Down::Drain { stop, heirs: false });
        }
    }

    /// The master dies.
    pub fn orphan(&mut self, seat: usize) {
        self.workers[seat].master = None;
    }

    /// Waits for a worker's end.
    pub fn exit(&mut self, seat: usize) -> Exit {
        let exit = self.workers[seat].exit.recv_timeout(LIMIT).unwrap();
        self.workers[seat].ended = true;
        exit
    }

    pub fn view(&self, seat: usize) -> SeatView {
        self.board.view(seat)
    }

    pub fn counter(&self, seat: usize, counter: Counter) -> u64 {
        self.view(seat).counters[counter as usize]
    }

    pub fn connections(&self, seat: usize) -> u64 {
        self.board.connections(seat)
    }

    /// The lines of the access log, when there are as many.
    pub fn access_lines(&mut self, lines: usize) -> Vec<String> {
        let mut text = String::new();
        let file = self.access.as_mut().unwrap();
        eventually("the access log has its lines", || {
            file.read_to_string(&mut text).unwrap();
            text.lines().count() >= lines
        });
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if let (false, Some(master)) = (worker.ended, &worker.master) {
                // One that ended by itself has no life-line any more.
                let _ = master.send(Down::Quit, &[]);
                let ended = worker.exit.recv_timeout(LIMIT);
                assert!(
                    ended.is_ok() || std::thread::panicking(),
                    "a worker panicked, or did not end"
                );
            }
        }
    }
}

/// Waits until something is true that no message tells of.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < end, "{what}: not after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where a handler waits for the test, and the test sees how many came.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    /// In the handler: says that it came, and waits.
    pub fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 += 1;
        changed.notify_all();
        // Longer than a client waits, so that a test does not get through by waiting.
        let _ = changed.wait_timeout_while(state, 2 * LIMIT, |state| !state.1);
    }

    /// Waits until `count` handlers came.
    pub fn reached(&self, count: usize) {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap();
        let (state, _) = changed
            .wait_timeout_while(state, LIMIT, |state| state.0 < count)
            .unwrap();
        assert!(state.0 >= count, "{} of {count} came", state.0);
    }

    pub fn close(&self) {
        self.0.0.lock().unwrap().1 = false;
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
}

/// Lines of the error log.
struct Logger(Mutex<Vec<String>>);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        if line.contains("panicked") {
            // A test's own panic too: the workers' hook has replaced the usual one.
            eprintln!("{line}");
        }
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

fn logs() -> &'static Logger {
    static LOGGER: OnceLock<&'static Logger> = OnceLock::new();
    LOGGER.get_or_init(|| {
        let logger: &'static Logger = Box::leak(Box::new(Logger(Mutex::default())));
        log::set_logger(logger).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        logger
    })
}

/// The line of the error log that has all of these words, when it is there.
pub fn logged(words: &[&str]) -> String {
    let mut found = None;
    eventually(&format!("the log has {words:?}"), || {
        found = find(words);
        found.is_some()
    });
    found.unwrap()
}

/// Whether the error log has a line with all of these words now.
pub fn is_logged(words: &[&str]) -> bool {
    find(words).is_some()
}

/// How many lines of the error log have all of these words now.
pub fn count_logged(words: &[&str]) -> usize {
    let lines = logs().0.lock().unwrap();
    let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
    lines.iter().filter(has_all).count()
}

fn find(words: &[&str]) -> Option<String> {
    let lines = logs().0.lock().unwrap();
    let mut lines = lines.iter();
    lines
        .find(|line| words.iter().all(|word| line.contains(word)))
        .cloned()
}
