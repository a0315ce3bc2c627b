//! Every example is run as a program, and does what its first lines promise.
//!
//! Each server gets a directory of its own to run in and a port that the system chooses; that it is
//! ready is read from its log. At the end it is asked to stop and must exit with 0.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// So that the tests inside of it run: those of a program's example do not by themselves.
#[allow(dead_code)]
#[path = "../examples/router.rs"]
mod router_example;

/// How long anything here may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn hello() {
    let server = Server::start("hello", &["--workers", "2"]);
    let answer = server.get("/any/where");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHello, World!"), "{answer}");
    server.stop();
}

#[test]
fn router() {
    let server = Server::start("router", &[]);
    let answer = server.get("/displaynews/sports");
    assert!(answer.ends_with("\r\n\r\nNews about sports\n"), "{answer}");
    let answer = server.get("/nothing");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = server.ask("DELETE", "/displaynews/sports", "", b"");
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(has_field(&answer, "allow: GET, POST"), "{answer}");
    server.stop();
}

#[test]
fn json_api() {
    let server = Server::start("json_api", &[]);
    let json = "Content-Type: application/json\r\n";
    let answer = server.ask("POST", "/convert", json, br#"{"celsius": 100}"#);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(r#""fahrenheit":212.0"#), "{answer}");
    let answer = server.ask("POST", "/convert", json, br#"{"celsius": "#);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains(r#"{"error":"#), "{answer}");
    let answer = server.ask("POST", "/convert", "", b"celsius=100");
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    server.stop();
}

#[test]
fn upload() {
    let server = Server::start("upload", &[]);
    let photo: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let answer = server.ask("PUT", "/photo.jpg", "", &photo);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.ends_with("photo.jpg: 300000 bytes\n"), "{answer}");
    for name in ["/.hidden", "/a/b", "/%2e%2e", "/"] {
        let answer = server.ask("PUT", name, "", b"x");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
    }
    // A client that goes away in the middle leaves nothing behind.
    let mut client = server.connect();
    let head = "PUT /cut.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nabc";
    client.write_all(head.as_bytes()).unwrap();
    drop(client);

    let uploads = server.directory.path().join("uploads");
    assert_eq!(fs::read(uploads.join("photo.jpg")).unwrap(), photo);
    let directory = server.stop();
    let files = fs::read_dir(directory.path().join("uploads")).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["photo.jpg"]);
}

#[test]
fn sse() {
    let server = Server::start("sse", &[]);
    let mut client = BufReader::new(server.connect());
    let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.get_mut().write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    while !answer.contains("data: event 2\n") {
        assert_ne!(client.read_line(&mut answer).unwrap(), 0, "{answer}");
    }
    assert!(has_field(&answer, "content-type: text/event-stream"));
    // A stop ends the stream in order: the last chunk comes.
    server.stop();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn sqlite() {
    let server = Server::start("sqlite", &["--workers", "2"]);
    for name in ["Ada", "Grace"] {
        let answer = server.ask("POST", "/", "", name.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
    let directory = server.stop();
    // What was written is there for the next server.
    let server = Server::start_in(directory, "sqlite", &[]);
    let answer = server.get("/");
    assert!(answer.contains("\r\n\r\n2. Grace (worker "), "{answer}");
    assert!(answer.contains("\n1. Ada (worker "), "{answer}");
    server.stop();
}

#[test]
fn middleware() {
    let server = Server::start("middleware", &[]);
    let answer = server.get("/");
    assert!(has_field(&answer, "server-timing: app;dur="), "{answer}");
    assert!(answer.ends_with("\r\n\r\nHello, World!"), "{answer}");
    server.stop();
}

#[test]
fn worker_class() {
    let server = Server::start("worker_class", &["--workers", "2"]);
    let mut client = server.connect();
    client.write_all(b"hello\nworld\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "olleh\ndlrow\n");
    server.stop();
}

#[test]
fn hooks() {
    let mut server = Server::start("hooks", &["--workers", "1", "--timeout", "1"]);
    let master = i32::try_from(server.child.id()).unwrap();
    let tell = |pid: i32, signal| kill(Pid::from_raw(pid), signal).unwrap();
    // The line of a hook, and the process that wrote it.
    let says = |server: &mut Server, hook: &str| {
        let line = server.wait_for(&format!(" {hook}: "));
        let pid = line.split(['[', ']']).nth(3).unwrap();
        let words = line.split(&format!("{hook}: ")).nth(1).unwrap().to_owned();
        (pid.parse::<i32>().unwrap(), words)
    };
    let seen = server.before_ready.clone();
    let before: Vec<&str> = seen
        .iter()
        .filter_map(|line| line.split("] ").nth(3)?.split_once(": "))
        .map(|(hook, _)| hook)
        .filter(|hook| hook.contains('_') || *hook == "when_ready")
        .collect();
    let expected = [
        "on_starting",
        "when_ready",
        "nworkers_changed",
        "pre_fork",
        "post_fork",
        "post_worker_init",
    ];
    assert_eq!(before, expected, "{seen:#?}");

    assert!(server.get("/").ends_with("\r\n\r\nHello, World!"));
    let (worker, words) = says(&mut server, "post_request");
    assert!(words.starts_with("/ 200 in "), "{words}");
    assert_ne!(worker, master);

    tell(master, Signal::SIGTTIN);
    let changed = (master, "2 instead of 1".to_owned());
    assert_eq!(says(&mut server, "nworkers_changed"), changed);
    assert_eq!(says(&mut server, "post_worker_init").1, "worker 1 serves");
    tell(worker, Signal::SIGINT);
    let at_once = (worker, "worker 0 ends at once".to_owned());
    assert_eq!(says(&mut server, "worker_int"), at_once);
    let done = (worker, "worker 0 after 1 requests: Done".to_owned());
    assert_eq!(says(&mut server, "worker_exit"), done);
    let (pid, words) = says(&mut server, "child_exit");
    let reason = format!("pid {worker} exited with code 0 without being told to; 1 lost so far");
    assert_eq!((pid, words), (master, reason));
    says(&mut server, "post_worker_init");

    // It may or may not be answered, but by nobody who hangs.
    let mut client = server.connect();
    let request = b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).unwrap();
    let (pid, words) = says(&mut server, "worker_abort");
    assert_eq!(pid, master);
    assert!(words.ends_with("has a request past timeout"), "{words}");
    let (_, words) = says(&mut server, "child_exit");
    assert!(words.ends_with("2 lost so far"), "{words}");
    assert!(server.get("/").ends_with("\r\n\r\nHello, World!"));

    tell(master, Signal::SIGHUP);
    for hook in ["pre_exec", "on_reload", "pre_fork"] {
        assert_eq!(says(&mut server, hook).0, master);
    }
    server.wait_for("the old workers have gone");
    tell(master, Signal::SIGTERM);
    assert_ne!(says(&mut server, "worker_exit").0, master);
    let (_, words) = says(&mut server, "child_exit");
    assert!(
        words.ends_with("exited (the server stops); 0 lost so far"),
        "{words}"
    );
    assert_eq!(says(&mut server, "on_exit").0, master);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn unix_socket() {
    let server = Server::start_with("unix_socket", &[], None);
    let path = server.directory.path().join("app.sock");
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /door HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("Hello, unix of /door\n"), "{answer}");
    let _directory = server.stop();
    assert!(!path.exists(), "the socket outlived its server");
}

/// A running example; killed when a test ends early.
struct Server {
    child: Child,
    address: Option<SocketAddr>,
    log: Receiver<String>,
    /// What the log had before it was ready.
    before_ready: Vec<String>,
    directory: TempDir,
}

impl Server {
    fn start(example: &str, arguments: &[&str]) -> Server {
        Server::start_in(TempDir::new().unwrap(), example, arguments)
    }

    fn start_in(directory: TempDir, example: &str, arguments: &[&str]) -> Server {
        let arguments = [&["--bind", "127.0.0.1:0"], arguments].concat();
        Server::start_with(example, &arguments, Some(directory))
    }

    fn start_with(example: &str, arguments: &[&str], directory: Option<TempDir>) -> Server {
        let directory = directory.unwrap_or_else(|| TempDir::new().unwrap());
        let mut child = Command::new(program(example))
            .args(arguments)
            .current_dir(directory.path())
            // Where the control socket is put.
            .env("XDG_RUNTIME_DIR", directory.path())
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        // Reads to the end, so that the server never meets a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut server = Server {
            child,
            address: None,
            log,
            before_ready: Vec::new(),
            directory,
        };
        let mut seen = Vec::new();
        let ready = server.wait_through("Ready: serving at", &mut seen);
        server.before_ready = seen;
        server.address = ready
            .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
            .find_map(|word| word.trim_matches(':').parse().ok());
        server
    }

    /// The next line of the log that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        self.wait_through(text, &mut Vec::new())
    }

    /// The same, and what is before it.
    fn wait_through(&mut self, text: &str, seen: &mut Vec<String>) -> String {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no {text:?} in the log:\n{}", seen.join("\n")),
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address.unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn get(&self, path: &str) -> String {
        self.ask("GET", path, "", b"")
    }

    /// The whole answer, head and content.
    fn ask(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> String {
        let mut client = self.connect();
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {len}\r\n{fields}\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(body).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks the server to stop, waits until it is gone, and gives its directory back.
    fn stop(mut self) -> TempDir {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        // The log ends when the last process that writes to it does.
        let mut log = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            log.push(line);
        }
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}:\n{}", log.join("\n"));
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already after `stop`; then both say so, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the head of `answer` has a field that begins like this, whatever the case of its name.
fn has_field(answer: &str, field: &str) -> bool {
    let (name, value) = field.split_once(": ").unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap_or("");
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.any(|(n, v)| n.eq_ignore_ascii_case(name) && v.starts_with(value))
}

/// The example's program, beside this test's own. `cargo test` builds both; `cargo test --test
/// examples` builds only this one.
fn program(example: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let this = std::env::current_exe().unwrap();
    let profile = this.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(example);
    let _alone = BUILDING.lock().unwrap();
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--examples", "--locked", "--quiet"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.unwrap().success(), "cannot build the examples");
    }
    program
}
