//! `ferricorn ctl` and the control socket as a test uses them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{Ended, Log, PATIENCE, Server};

/// `ctl` of the stock binary, with no more of an environment than it is given here.
pub fn ctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferricorn"));
    for name in ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "MAINPID", "TMPDIR"] {
        command.env_remove(name);
    }
    command.arg("ctl").stdin(Stdio::null());
    command
}

/// Runs it to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    Begun::new(command).ended()
}

/// One that runs.
pub struct Begun {
    pub child: Child,
    pub output: Log,
    pub log: Log,
}

impl Begun {
    #[track_caller]
    pub fn new(command: &mut Command) -> Begun {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, log) = (Log::default(), Log::default());
        output.collect(child.stdout.take().unwrap());
        log.collect(child.stderr.take().unwrap());
        Begun { child, output, log }
    }

    /// Its end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let give_up = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < give_up, "no end: {}", self.output.text());
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        self.output.wait_closed_or(PATIENCE);
        self.log.wait_closed_or(PATIENCE);
        Ended {
            code: status.code(),
            log: self.log.text(),
            output: self.output.text(),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Where the control socket is that was made last.
    #[track_caller]
    pub fn control_socket(&self) -> PathBuf {
        self.wait("Control socket: unix:");
        let lines = self.log.matching(0, "Control socket: unix:");
        let path = lines
            .last()
            .and_then(|line| line.split("socket: unix:").nth(1));
        path.unwrap().into()
    }

    /// `ctl` for this server, with these words.
    pub fn ctl_command(&self, words: &str) -> Command {
        let mut command = ctl();
        command.arg("--socket").arg(self.control_socket());
        command.args(words.split_whitespace());
        command
    }

    /// Runs `ctl` to its end.
    #[track_caller]
    pub fn ctl(&self, words: &str) -> Ended {
        run(&mut self.ctl_command(words))
    }

    /// The same, where it must succeed; returns what it printed.
    #[track_caller]
    pub fn ctl_done(&self, words: &str) -> String {
        let ended = self.ctl(words);
        assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
        ended.output
    }

    /// The same, where it must fail; returns the reason.
    #[track_caller]
    pub fn ctl_fails(&self, words: &str) -> String {
        let ended = self.ctl(words);
        assert_eq!(ended.code, Some(1), "{words}: {ended:?}");
        ended.log
    }

    /// Begins it.
    #[track_caller]
    pub fn ctl_begin(&self, words: &str) -> Begun {
        Begun::new(&mut self.ctl_command(words))
    }

    /// How it stands, as `ctl status --json` says.
    #[track_caller]
    pub fn status(&self) -> Value {
        let line: Value = serde_json::from_str(&self.ctl_done("status --json")).unwrap();
        line["status"].clone()
    }

    /// A connection to the control socket.
    #[track_caller]
    pub fn control_client(&self) -> Raw {
        Raw::connect(self.control_socket())
    }
}

/// A connection that may say anything.
pub struct Raw(pub BufReader<UnixStream>);

impl Raw {
    #[track_caller]
    pub fn connect(path: PathBuf) -> Raw {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Raw(BufReader::new(stream))
    }

    #[track_caller]
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line; nothing at the end.
    #[track_caller]
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = match self.0.read_line(&mut line) {
            // It was closed with something of ours unread, which is said once.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                self.0.read_line(&mut line)
            }
            read => read,
        };
        (read.unwrap() > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    /// The next answer, events aside.
    #[track_caller]
    pub fn answer(&mut self) -> Value {
        loop {
            let line = self.line().expect("an answer");
            assert_eq!(line["version"], 1);
            if line["type"] == "answer" {
                return line;
            }
        }
    }

    /// The next event of this name.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("no event {name}"));
            if line["event"] == name {
                return line;
            }
        }
    }
}
