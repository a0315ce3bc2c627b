//! A real systemd in namespaces of its own, with the units of `examples/systemd` and drop-ins for what
//! cannot be as it is there: paths, ports, and what a unit has by default dependencies.
//!
//! It is driven by systemctl(1) inside, and shares nothing with the machine but the network.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::http::Client;
use crate::support::{Dir, PATIENCE, can_unshare, http, is_root, proc, testapp_path};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// What every drop-in of the service begins with.
const SERVICE: &str = "\
[Unit]
DefaultDependencies=no
[Service]
WorkingDirectory=/run/test
StandardError=append:/run/test/log
Environment=TESTAPP_CONTROL=/run/test/control
";
/// Where the units have the program, and where it is here.
const PROGRAM: [&str; 2] = ["/usr/local/bin/ferricorn", "/run/program"];

/// A systemd that knows `ferricorn.service` and `ferricorn.socket`.
pub struct Manager {
    unshare: Child,
    /// Process 1 as it is called outside.
    init: i32,
    cgroup: PathBuf,
    pub dir: Dir,
}

impl Manager {
    /// Boots one where the service has this configuration and these further lines of its drop-in.
    /// `None`, with a message, where that is not possible.
    pub fn boot(configuration: &str, lines: &str) -> Option<Manager> {
        let cgroup = root()?.join(own_name());
        let dir = Dir::new();
        dir.write("ferricorn.toml", configuration);
        for directory in ["control", "units", "units/ferricorn.service.d"] {
            fs::create_dir(dir.path(directory)).unwrap();
        }
        dir.write(
            "units/ferricorn.service.d/test.conf",
            &format!("{SERVICE}{lines}"),
        );
        dir.write("units/nothing.target", "[Unit]\nDefaultDependencies=no\n");
        for unit in ["ferricorn.service", "ferricorn.socket"] {
            let text = fs::read_to_string(shipped(unit)).unwrap();
            let text = text.replace(PROGRAM[0], PROGRAM[1]);
            fs::write(dir.path("units").join(unit), text).unwrap();
        }
        let booted = UnixDatagram::bind(dir.path("booted")).unwrap();
        booted.set_read_timeout(Some(PATIENCE)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/in-namespace");
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(script)
            .args([dir.root(), testapp_path(), &cgroup])
            .stdin(Stdio::null())
            .spawn()
            .expect("util-linux is there");
        let mut manager = Manager {
            unshare,
            init: 0,
            cgroup,
            dir,
        };
        let mut text = [0; 4096];
        let length = booted.recv(&mut text).expect("systemd says that it runs");
        let text = String::from_utf8_lossy(&text[..length]);
        assert!(text.contains("READY=1"), "{text}");
        manager.init = proc::children(manager.unshare.id() as i32)[0];
        Some(manager)
    }

    /// Changes a unit: adds a drop-in of this name. To be loaded anew.
    pub fn drop_in(&self, unit: &str, name: &str, text: &str) {
        let directory = self.dir.path(&format!("units/{unit}.d"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
        self.systemctl("daemon-reload");
    }

    /// A command inside, not started yet.
    fn inside(&self, words: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-p", "-m", "-C", "--"]);
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Starts `systemctl` with these words.
    pub fn begin(&self, words: &str) -> Child {
        let mut command = self.inside(&format!("systemctl {words}"));
        command.stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs `systemctl` with these words.
    pub fn try_systemctl(&self, words: &str) -> Output {
        self.inside(&format!("systemctl {words}")).output().unwrap()
    }

    /// Runs `systemctl`, which must succeed; returns what it says.
    #[track_caller]
    pub fn systemctl(&self, words: &str) -> String {
        let output = self.try_systemctl(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "systemctl {words}: {error}{}",
            self.log()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the server itself says to whoever has root, `ferricorn ctl` with these words.
    #[track_caller]
    pub fn ctl(&self, words: &str) -> String {
        let words = format!(
            "env RUNTIME_DIRECTORY=/run/ferricorn {} ctl {words}",
            PROGRAM[1]
        );
        let output = self.inside(&words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A property of the service.
    #[track_caller]
    pub fn show(&self, property: &str) -> String {
        let text = self.systemctl(&format!("show --value -p {property} ferricorn.service"));
        text.trim().to_owned()
    }

    /// Waits until a property of the service has this in it.
    #[track_caller]
    pub fn until_shows(&self, property: &str, what: &str) -> String {
        self.until(&format!("{property} with {what:?}"), || {
            Some(self.show(property)).filter(|value| value.contains(what))
        })
    }

    #[track_caller]
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe() {
                return found;
            }
            let status = || self.try_systemctl("status ferricorn.service").stdout;
            assert!(
                Instant::now() < give_up,
                "not within {PATIENCE:?}: {what}\n{}\n{}",
                String::from_utf8_lossy(&status()),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends the master a signal.
    pub fn signal(&self, signal: &str) {
        self.systemctl(&format!(
            "kill --kill-whom=main -s {signal} ferricorn.service"
        ));
    }

    /// What the server has logged in all its lives.
    pub fn log(&self) -> String {
        self.dir.read("log")
    }

    /// Where the first of them listens: the port is the system's choice.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let log = self.log();
        let urls = log.split("Listening at: http://").nth(1);
        let address = urls.and_then(|rest| rest.split([' ', ',']).next()?.parse().ok());
        address.unwrap_or_else(|| panic!("no address\n{log}"))
    }

    /// Who answers.
    #[track_caller]
    pub fn who(&self, address: SocketAddr) -> http::Who {
        http::get(address, "/who").unwrap().who()
    }

    /// How many processes the service has.
    pub fn processes(&self) -> usize {
        self.pids().len()
    }

    /// The processes of the service, as they are called outside.
    fn pids(&self) -> Vec<i32> {
        let service = self.cgroup.join("system.slice/ferricorn.service");
        let pids = fs::read_to_string(service.join("cgroup.procs")).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Its masters, as they are called outside.
    pub fn masters(&self) -> Vec<i32> {
        let is_master = |pid: &i32| proc::command_line(*pid).contains("master");
        self.pids().into_iter().filter(is_master).collect()
    }

    /// Stops its workers as a debugger would.
    pub fn stop_workers(&self) {
        let all = self.pids();
        for pid in &all {
            let parent = proc::stat(*pid).map(|stat| stat.parent);
            if parent.is_some_and(|parent| all.contains(&parent)) {
                // Unless it has just ended.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGSTOP);
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the server ---\n{}---", self.log());
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // Its processes end a moment later.
        let give_up = Instant::now() + PATIENCE;
        while !removed(&self.cgroup) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a request and does not wait for its answer.
pub fn ask(address: SocketAddr, path: &str) -> Client<TcpStream> {
    let mut client = Client::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(request).unwrap();
    client
}

/// A file in `examples/systemd`.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/systemd")
        .join(name)
}

/// Whether this program is installed; says that a test is skipped when not.
pub fn is_installed(program: &str) -> bool {
    let run = Command::new(program).arg("--version").output();
    let installed = run.is_ok_and(|output| output.status.success());
    if !installed {
        eprintln!("skipped: {program} is not installed");
    }
    installed
}

/// An address of the loopback that no other test has: systemd cannot choose a port.
pub fn own_address() -> SocketAddr {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) as u8;
    SocketAddr::from(([127, high, low, number], 8000))
}

/// A name for a cgroup that no other test has: they run side by side.
fn own_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("ferricorn-test-{}-{number}", std::process::id())
}

/// Where cgroups can be made, if a systemd can be booted at all; says why not.
fn root() -> Option<PathBuf> {
    let possible = is_root("a systemd of one's own")
        && is_installed(SYSTEMD)
        && can_unshare(&["--pid", "--fork", "--mount", "--mount-proc", "--cgroup"]);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut mounts = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let root = mounts.find(|fields| fields.get(2) == Some(&"cgroup2"));
    let root = root.map(|fields| PathBuf::from(fields[1]));
    let writable = |root: &PathBuf| {
        let probe = root.join(own_name());
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .is_ok()
    };
    let root = root.filter(|_| possible);
    let found = root.clone().filter(writable);
    if root.is_some() != found.is_some() || possible && root.is_none() {
        eprintln!("skipped: there is no cgroup2 to write to");
    }
    found
}

/// Removes a cgroup and those in it; false when there are processes still.
fn removed(cgroup: &Path) -> bool {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().is_dir()) {
        removed(&entry.path());
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}
