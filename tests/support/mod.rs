//! Driving the real binary from outside: processes, log lines, raw HTTP, `/proc`.
//!
//! Every wait here is for a message (a log line, an end of file, an exit) and has a generous
//! deadline that fails the test with what the server had logged by then. Only processes that a test
//! started are ever signalled, by their pid. Nothing forks here but `std::process::Command`.
#![allow(dead_code, reason = "each test program uses its own part of it")]

mod build;
pub mod ctl;
pub mod exposition;
pub mod hold;
pub mod http;
pub mod load;
pub mod proc;
pub mod proxy;
pub mod syslog;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long anything may take before a test gives up. Far beyond what it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The stock binary.
pub fn ferricorn() -> Start {
    Start::program(env!("CARGO_BIN_EXE_ferricorn"))
}

/// The test application, `tests/testapp`, which cargo builds as an example.
pub fn testapp() -> Start {
    Start::program(testapp_path())
}

pub fn testapp_path() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build::example("testapp"))
}

/// A copy of the test application, or whatever else lies there.
pub fn program(path: impl Into<PathBuf>) -> Start {
    Start::program(path)
}

/// Writes a file that is to be executed, with this mode. Another process does so: what this one has open for writing,
/// a child that another thread makes just then has open too, and until that has executed something else nobody can execute
/// the file (execve(2), ETXTBSY).
#[track_caller]
pub fn install(path: &Path, bytes: &[u8], mode: u32) {
    let mut shell = Command::new("sh")
        .args(["-c", ": >\"$0\" && chmod \"$1\" \"$0\" && cat >\"$0\""])
        .args([path.as_os_str(), format!("{mode:o}").as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut pipe = shell.stdin.take().expect("it was asked for");
    pipe.write_all(bytes).expect("the shell reads");
    drop(pipe);
    assert!(shell.wait().expect("it is our child").success());
}

/// One of the programs in `examples`.
pub fn example(name: &str) -> Start {
    Start::program(build::example(name))
}

/// Whether the test runs as root; says that it is skipped when not.
pub fn is_root(needs: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {needs} needs root");
    }
    root
}

/// Whether namespaces can be made (unshare(1) with these options); says that it is skipped when not,
/// as in a container without the capability.
pub fn can_unshare(options: &[&str]) -> bool {
    let mut command = Command::new("unshare");
    command.args(options).arg("true").stderr(Stdio::null());
    let can = command.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: unshare {} is not permitted", options.join(" "));
    }
    can
}

/// A server that is about to be started.
pub struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
    stdin: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    bind: bool,
    dir: Dir,
}

impl Start {
    fn program(path: impl Into<PathBuf>) -> Start {
        let dir = Dir::new();
        let control = dir.path("control");
        fs::create_dir(&control).expect("a fresh directory");
        Start {
            program: path.into(),
            arguments: Vec::new(),
            environment: vec![("TESTAPP_CONTROL".into(), control.into())],
            wrapper: Vec::new(),
            stdin: None,
            stderr: None,
            bind: true,
            dir,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Start {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments that a blank separates.
    pub fn args(mut self, arguments: &str) -> Start {
        self.arguments
            .extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Start {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Writes `ferricorn.toml` into the server's directory, where it is found by itself.
    pub fn file(self, text: &str) -> Start {
        self.dir.write("ferricorn.toml", text);
        self
    }

    /// Lets the server choose its own address; else it gets `--bind 127.0.0.1:0`.
    pub fn no_bind(mut self) -> Start {
        self.bind = false;
        self
    }

    /// Binds elsewhere.
    pub fn bind(self, address: impl AsRef<str>) -> Start {
        self.no_bind().arg("--bind").arg(address.as_ref())
    }

    /// The directory in which the server will run.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Makes the test application misbehave from the start, as [`Server::control`].
    pub fn control(self, name: &str, text: &str) -> Start {
        self.dir.write(&format!("control/{name}"), text);
        self
    }

    /// Calls the program through another one.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Start {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// Hands a listening socket over as descriptor `number`, after shell code that may set
    /// variables for the program.
    pub fn inherit(mut self, listener: impl Into<OwnedFd>, number: u32, shell: &str) -> Start {
        let script = format!("exec {number}<&0 </dev/null; {shell}; exec \"$@\"");
        self.stdin = Some(listener.into());
        self.wrapper = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
        self
    }

    /// Sends standard error elsewhere; then no line of the log can be waited for.
    pub fn stderr(mut self, fd: OwnedFd) -> Start {
        self.stderr = Some(fd);
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn ready(self) -> Server {
        let mut server = self.spawn();
        server.wait("Ready: serving at");
        server.learn_address();
        server
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(self) -> Server {
        let mut words: Vec<OsString> = self.wrapper.clone();
        words.push(self.program.clone().into());
        if self.bind {
            words.extend(["--bind".into(), "127.0.0.1:0".into()]);
        }
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(self.dir.root())
            .process_group(0)
            .stdout(Stdio::piped());
        for name in [
            "PORT",
            "WEB_CONCURRENCY",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "FDSTORE",
            "RUNTIME_DIRECTORY",
            "MAINPID",
            "JOURNAL_STREAM",
        ] {
            command.env_remove(name);
        }
        // Where the control socket is put.
        command.env("XDG_RUNTIME_DIR", self.dir.root());
        command.envs(self.environment);
        match self.stdin {
            Some(fd) => command.stdin(fd),
            None => command.stdin(Stdio::null()),
        };
        match self.stderr {
            Some(fd) => command.stderr(fd),
            None => command.stderr(Stdio::piped()),
        };
        let mut child = command.spawn().expect("the program can be started");
        let log = Log::default();
        if let Some(stderr) = child.stderr.take() {
            log.collect(stderr);
        }
        let output = Log::default();
        if let Some(stdout) = child.stdout.take() {
            output.collect(stdout);
        }
        Server {
            pid: child.id() as i32,
            child,
            log,
            output,
            address: None,
            ended: None,
            dir: self.dir,
        }
    }

    /// Starts it and waits until it ends by itself.
    #[track_caller]
    pub fn run(self) -> Ended {
        let mut server = self.spawn();
        let status = server.wait_exit();
        Ended {
            code: status.code(),
            log: server.log.text(),
            output: server.output.text(),
        }
    }
}

/// How a program ended that was waited for.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// What it wrote to standard error.
    pub log: String,
    /// What it wrote to standard output.
    pub output: String,
}

/// A running server. Its processes are ended with it.
pub struct Server {
    pub pid: i32,
    child: Child,
    pub log: Log,
    pub output: Log,
    address: Option<SocketAddr>,
    ended: Option<ExitStatus>,
    pub dir: Dir,
}

impl Server {
    /// The address of the first TCP listener.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it was started with `ready`")
    }

    /// Finds the first TCP address in the log.
    pub fn learn_address(&mut self) {
        let line = self.wait("Listening at:");
        self.learn_address_from(&line);
    }

    /// Finds the first TCP address in a line of the log.
    pub fn learn_address_from(&mut self, line: &str) {
        self.address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split([',', ' ', ')']).next())
            .and_then(|text| text.parse().ok());
    }

    /// Sends the master a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "the server has ended already");
        kill(Pid::from_raw(self.pid), signal).expect("the master is our child");
    }

    /// The worker that was last started in a slot.
    #[track_caller]
    pub fn pid_of(&self, slot: usize) -> i32 {
        let lines = self
            .log
            .matching(0, &format!("(worker {slot}, generation "));
        let pid = lines.last().and_then(|line| {
            let rest = line.split("Booting worker with pid: ").nth(1)?;
            rest.split(' ').next()?.parse().ok()
        });
        pid.unwrap_or_else(|| panic!("no worker {slot} was started\n{}", self.log.text()))
    }

    /// Sends a signal to one of the workers.
    #[track_caller]
    pub fn kill_worker(&self, pid: i32, signal: Signal) {
        let parent = proc::stat(pid).map(|stat| stat.parent);
        assert_eq!(parent, Some(self.pid), "pid {pid} is no worker of ours");
        kill(Pid::from_raw(pid), signal).expect("it is not reaped before the master says so");
    }

    /// Waits until so many requests for `/hang` or `/spin` have reached their handlers.
    #[track_caller]
    pub fn until_in_handler(&self, number: usize) {
        self.log.wait_count(0, "in the handler of", number);
    }

    /// The next line of the log with this text in it, from the start of the log.
    #[track_caller]
    pub fn wait(&self, text: &str) -> String {
        self.log.wait(0, text)
    }

    /// The place in the log from which [`Server::wait_after`] looks.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    #[track_caller]
    pub fn wait_after(&self, mark: usize, text: &str) -> String {
        self.log.wait(mark, text)
    }

    /// Makes the test application misbehave from now on: see `tests/testapp`.
    pub fn control(&self, name: &str, text: &str) {
        // In one step, so that nobody reads half of it.
        let new = self.dir.path(&format!("control.{name}"));
        fs::write(&new, text).expect("the directory is ours");
        fs::rename(&new, self.dir.path(&format!("control/{name}"))).expect("as above");
    }

    pub fn uncontrol(&self, name: &str) {
        fs::remove_file(self.dir.path(&format!("control/{name}"))).expect("it was there");
    }

    /// The pids of the workers that live, by `/proc`.
    pub fn workers(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = proc::children(self.pid)
            .into_iter()
            .filter(|pid| proc::is_alive(*pid))
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Waits until `/proc` shows exactly so many workers and nothing else below the master.
    #[track_caller]
    pub fn wait_workers(&self, number: usize) -> Vec<i32> {
        self.until(&format!("{number} workers"), || {
            let all = proc::children(self.pid);
            Some(self.workers()).filter(|live| live.len() == number && all.len() == number)
        })
    }

    /// Waits until the master has descriptors of these kinds and no others. It logs what it does when that is done, and may
    /// close what it needed for it a moment later.
    #[track_caller]
    pub fn wait_kinds(&self, expected: &[String]) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let kinds = proc::kinds(self.pid);
            if kinds == expected {
                return;
            }
            let log = self.log.text();
            assert!(Instant::now() < give_up, "{kinds:?}\n{expected:?}\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for what no message tells; with the log when it does not come.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe() {
                return found;
            }
            if Instant::now() > give_up {
                panic!("not within {PATIENCE:?}: {what}\n{}", self.log.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A reload, from the signal to the line that says that it is complete.
    #[track_caller]
    pub fn reload(&self) {
        let mark = self.mark();
        self.signal(Signal::SIGHUP);
        self.wait_after(mark, "Reload complete");
    }

    /// A reload after which only the new generation answers: the old workers, which were told to
    /// drain, have done so.
    #[track_caller]
    pub fn take_over(&self) {
        let old = self.workers();
        self.reload();
        self.until("the old workers to leave", || {
            let now = self.workers();
            (!now.iter().any(|pid| old.contains(pid))).then_some(())
        });
    }

    /// A reload that must fail; returns the line that says why.
    #[track_caller]
    pub fn reload_fails(&self) -> String {
        let mark = self.mark();
        self.signal(Signal::SIGHUP);
        self.wait_after(mark, "reload failed")
    }

    /// Waits for the end of the master.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.ended = Some(status);
                // What it wrote last.
                self.log.wait_closed_or(Duration::from_secs(5));
                self.output.wait_closed_or(Duration::from_secs(5));
                return status;
            }
            if Instant::now() > give_up {
                panic!("the master did not end\n{}", self.log.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the master still runs.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("it is our child");
        }
        self.ended.is_none()
    }

    /// Stops it gracefully, and sees that all is well at the end.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{}",
            self.log.text()
        );
        assert!(proc::group(self.pid).is_empty(), "processes are left");
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> http::Answer {
        match http::get(self.address(), path) {
            Ok(answer) => answer,
            Err(error) => panic!("GET {path}: {error}\n{}", self.log.text()),
        }
    }

    /// Who answers.
    #[track_caller]
    pub fn who(&self) -> http::Who {
        self.get("/who").who()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}---", self.log.text());
        }
        if self.ended.is_none() && self.child.try_wait().ok().flatten().is_none() {
            // Not reaped, so the number of the group is still its own.
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
            let _ = self.child.wait();
        }
        for pid in proc::group(self.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Lines that another process writes, as they come.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    closed: bool,
    collected: bool,
}

impl Log {
    fn collect(&self, from: impl Read + Send + 'static) {
        self.0.0.lock().expect("nobody panics with it").collected = true;
        let log = self.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = from.read_until(b'\n', &mut line).unwrap_or(0);
                let (lines, changed) = &*log.0;
                let mut lines = lines.lock().expect("nobody panics with it");
                if read == 0 {
                    lines.closed = true;
                } else {
                    let text = String::from_utf8_lossy(&line);
                    lines.lines.push(text.trim_end_matches('\n').to_owned());
                }
                changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
    }

    pub fn len(&self) -> usize {
        self.0.0.lock().expect("nobody panics with it").lines.len()
    }

    pub fn text(&self) -> String {
        let lines = self.0.0.lock().expect("nobody panics with it");
        lines.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// The lines since `mark` with this text in them.
    pub fn matching(&self, mark: usize, text: &str) -> Vec<String> {
        let lines = self.0.0.lock().expect("nobody panics with it");
        let found = lines.lines.iter().skip(mark);
        found.filter(|line| line.contains(text)).cloned().collect()
    }

    pub fn count(&self, mark: usize, text: &str) -> usize {
        self.matching(mark, text).len()
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub fn wait(&self, mark: usize, text: &str) -> String {
        self.wait_count(mark, text, 1).remove(0)
    }

    /// Waits for so many lines with this text.
    #[track_caller]
    pub fn wait_count(&self, mark: usize, text: &str, number: usize) -> Vec<String> {
        let give_up = Instant::now() + PATIENCE;
        let (lock, changed) = &*self.0;
        let mut lines = lock.lock().expect("nobody panics with it");
        loop {
            let found: Vec<String> = lines
                .lines
                .iter()
                .skip(mark)
                .filter(|line| line.contains(text))
                .cloned()
                .collect();
            if found.len() >= number {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.closed {
                let (have, all) = (found.len(), lines.lines.join("\n"));
                drop(lines);
                panic!("{have} of {number} lines with {text:?} came; the log:\n{all}");
            }
            (lines, _) = changed
                .wait_timeout(lines, left)
                .expect("nobody panics with it");
        }
    }

    fn wait_closed_or(&self, time: Duration) {
        let give_up = Instant::now() + time;
        let (lock, changed) = &*self.0;
        let mut lines = lock.lock().expect("nobody panics with it");
        while lines.collected && !lines.closed {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (lines, _) = changed
                .wait_timeout(lines, left)
                .expect("nobody panics with it");
        }
    }
}

/// A directory that goes with its owner.
pub struct Dir(PathBuf);

impl Dir {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Dir {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ferricorn-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Dir(path)
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let mut file = fs::File::create(self.path(name)).expect("the directory is ours");
        file.write_all(text.as_bytes())
            .expect("the directory is ours");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
