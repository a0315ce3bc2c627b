//! What is said over the control socket, in both directions: lines of JSON.
//!
//! A client sends an object with the name of a `command` and what belongs to it; it is answered by any
//! number of events and one answer, and may then ask again. Each line of the server carries the
//! version. Server and client read and write with these types alone; nothing here is I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The version of all this.
pub const VERSION: u32 = 1;

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// How the server stands.
    Status {},
    /// A reload, as by SIGHUP.
    Reload {
        /// Answer when it is over, and tell what happens until then.
        #[serde(default)]
        wait: bool,
    },
    /// Open the logs anew, as by SIGUSR1.
    Reopen {},
    /// Another number of workers: one of the two.
    Scale {
        /// So many.
        workers: Option<usize>,
        /// So many more, or less.
        by: Option<i64>,
    },
    /// Finish and stop, as by SIGTERM.
    Stop {
        /// Answer when it is over, and tell what happens until then.
        #[serde(default)]
        wait: bool,
    },
    /// Stop at once, as by SIGQUIT.
    Quit {
        /// As with stop.
        #[serde(default)]
        wait: bool,
    },
    /// Replace one worker, kindly.
    Drain {
        /// Whom.
        pid: i32,
    },
    /// End one worker with SIGKILL; it is replaced.
    Kill {
        /// Whom.
        pid: i32,
    },
    /// Tell what happens until the end.
    Events {},
}

/// One line of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// See [`VERSION`].
    pub version: u32,
    /// What it says.
    #[serde(flatten)]
    pub said: Said,
}

/// What a line of the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Said {
    /// Something has happened.
    Event {
        /// When, in seconds since 1970.
        at: f64,
        /// What.
        #[serde(flatten)]
        news: News,
    },
    /// The command was done, or was not.
    Answer(Answer),
}

/// The answer to a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether all is as it was asked for.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The number of the reload that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<u64>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Workers that are wanted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// How the server stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

/// What came of a reload that was completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The generation that serves now.
    pub generation: u64,
    /// From its begin to the end of the last old worker.
    pub seconds: f64,
    /// Old workers that have gone.
    pub workers: u64,
    /// Those of them that died without a word; what they had is not in the sums.
    pub unreported: u64,
    /// What became of their clients.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of the clients of workers that have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were answered after the worker was told to go.
    pub completed: u64,
    /// Connections that other workers took over.
    pub handed_over: u64,
    /// Connections that were closed while nothing was under way.
    pub closed_idle: u64,
    /// Connections that were closed in the middle of something.
    pub forced: u64,
}

/// How the server stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the server.
    pub server: String,
    /// Of the master.
    pub pid: u32,
    /// The name of the processes, if they have one.
    pub name: Option<String>,
    /// Since the first start, in seconds.
    pub uptime: f64,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub phase: String,
    /// The generation that serves, or served before the roll.
    pub generation: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Workers that there should be.
    pub wanted: usize,
    /// Workers that serve.
    pub ready: usize,
    /// The workers, in the order of their places.
    pub workers: Vec<Worker>,
    /// The reload under way.
    pub reload: Option<Reload>,
    /// How many have begun.
    pub reloads: u64,
    /// Why the start or the last reload has failed.
    pub failure: Option<String>,
}

/// A reload under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Which one, from 1.
    pub number: u64,
    /// `trying` or `rolling`.
    pub step: String,
    /// The generation that is rolled to.
    pub target: Option<u64>,
    /// Its workers that serve.
    pub ready: Option<usize>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The stable number of its place.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The generation that it is of.
    pub generation: u64,
    /// `booting`, `serving`, `retiring`, `draining`, `leaving` or `killed`.
    pub stage: String,
    /// Since it was started, in seconds.
    pub age: f64,
    /// Requests that it has answered, as it says.
    pub requests: u64,
    /// Connections that it holds, as it says.
    pub connections: u64,
    /// Requests that are under way, as it says.
    pub in_flight: usize,
}

/// A worker in the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The stable number of its place.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The generation that it is of.
    pub generation: u64,
}

/// What the master does, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum News {
    /// All workers of the first start have answered.
    Started {
        /// Where it serves.
        listeners: String,
    },
    /// A signal is dealt with.
    Signal {
        /// Which one.
        name: String,
    },
    /// A command is dealt with.
    Command {
        /// Which one.
        name: String,
        /// Whose.
        uid: u32,
        /// And of which process.
        pid: i32,
    },
    /// A worker was forked.
    WorkerStarted {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// `start`, `reload` or `vacant`.
        cause: String,
    },
    /// A worker serves.
    WorkerReady {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// How long it took.
        seconds: f64,
    },
    /// A worker wants to be replaced.
    WorkerRetiring {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker was told to finish and go.
    WorkerDraining {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker was told to go at once.
    WorkerLeaving {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker is sent a signal that ends it.
    WorkerSignalled {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Which signal.
        signal: String,
        /// Why.
        cause: String,
    },
    /// A worker has gone.
    WorkerLeft {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// How.
        ending: String,
        /// Whether it went as it should.
        well: bool,
        /// What became of its clients, if it said so.
        counts: Option<Counts>,
    },
    /// A worker did not come up.
    BootFailed {
        /// Its place.
        slot: usize,
        /// Why.
        cause: String,
        /// When there is another try.
        retry: f64,
    },
    /// A worker died soon after it was ready.
    Crashed {
        /// Its place.
        slot: usize,
        /// When its successor comes.
        retry: f64,
    },
    /// A reload was asked for, and comes after the one under way or the start.
    ReloadWaits {},
    /// A reload has begun: the program on disk is tried.
    Trying {
        /// Which reload.
        reload: u64,
        /// What is tried.
        program: String,
        /// In this process.
        pid: i32,
    },
    /// What was tried can serve, and will be executed.
    Passed {
        /// Which reload.
        reload: u64,
        /// How long it took.
        seconds: f64,
    },
    /// It was executed in the master's place.
    Executed {
        /// Which reload.
        reload: u64,
        /// The server's version.
        server: String,
    },
    /// The workers are replaced.
    Rolling {
        /// Which reload.
        reload: u64,
        /// By this generation.
        generation: u64,
    },
    /// The new workers serve alone; old ones may be finishing.
    TakenOver {
        /// The generation that serves.
        generation: u64,
    },
    /// A reload is over: it is complete, and the old workers have gone.
    ReloadComplete {
        /// Which one.
        reload: u64,
        /// What came of it.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// A reload is over: it came to nothing.
    ReloadFailed {
        /// Which one.
        reload: u64,
        /// Why.
        cause: String,
        /// After so long.
        seconds: f64,
    },
    /// So many workers are wanted.
    Wanted {
        /// How many.
        workers: usize,
    },
    /// All workers retire, by WINCH.
    Retired {},
    /// The logs were opened anew.
    Reopened {},
    /// A stop will begin.
    StopsSoon {
        /// In so long.
        seconds: f64,
    },
    /// A stop has begun.
    Stopping {
        /// Workers finish what they have.
        graceful: bool,
        /// Why, if nobody asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// No worker is left, and the server ends.
    Stopped {
        /// Its exit code.
        code: u8,
    },
    /// Something that this program does not know.
    #[serde(other)]
    Unknown,
}

/// "3 completed, 12 handed over, 1 closed idle, 0 forced".
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            completed,
            handed_over,
            closed_idle,
            forced,
        } = self;
        write!(
            f,
            "{completed} completed, {handed_over} handed over, {closed_idle} closed idle, {forced} forced"
        )
    }
}

/// "3 completed, 12 handed over, 1 closed idle, 0 forced (1 of 4 workers died without a report), in
/// 1.25 s".
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            seconds,
            workers,
            unreported,
            counts,
            ..
        } = self;
        write!(f, "{counts}")?;
        if *unreported > 0 {
            write!(
                f,
                " ({unreported} of {workers} workers died without a report)"
            )?;
        }
        write!(f, ", in {seconds:.2} s")
    }
}

impl Command {
    /// Reads a line of a client.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &[u8]) -> Result<Command, String> {
        let wrong = |error: &dyn fmt::Display| format!("cannot read the command: {error}");
        let mut value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        if let Some(version) = value.remove("version") {
            if version != VERSION {
                return Err(format!(
                    "the command has version {version}; this server speaks version {VERSION}"
                ));
            }
        }
        serde_json::from_value(value.into()).map_err(|error| wrong(&error))
    }

    /// The line for the server.
    pub fn line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["version"] = VERSION.into();
        format!("{value}\n")
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Status {} => "status",
            Command::Reload { .. } => "reload",
            Command::Reopen {} => "reopen",
            Command::Scale { .. } => "scale",
            Command::Stop { .. } => "stop",
            Command::Quit { .. } => "quit",
            Command::Drain { .. } => "drain",
            Command::Kill { .. } => "kill",
            Command::Events {} => "events",
        }
    }
}

impl Line {
    /// The line as it is sent.
    pub fn text(said: Said) -> String {
        let version = VERSION;
        // Nothing in it cannot be written: no map has keys but text.
        let text = serde_json::to_string(&Line { version, said }).unwrap_or_default();
        text + "\n"
    }
}

impl Answer {
    /// It was done.
    pub fn done() -> Answer {
        Answer {
            ok: true,
            ..Answer::default()
        }
    }

    /// It was not.
    pub fn failed(error: impl Into<String>) -> Answer {
        Answer {
            error: Some(error.into()),
            ..Answer::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written() {
        let all = [
            Command::Status {},
            Command::Reload { wait: true },
            Command::Reopen {},
            Command::Scale {
                workers: None,
                by: Some(-1),
            },
            Command::Stop { wait: false },
            Command::Quit { wait: true },
            Command::Drain { pid: 5 },
            Command::Kill { pid: 6 },
            Command::Events {},
        ];
        for command in all {
            assert_eq!(Command::read(command.line().as_bytes()), Ok(command));
        }
        assert_eq!(
            Command::read(br#"{"command":"reload"}"#),
            Ok(Command::Reload { wait: false })
        );
    }

    #[test]
    fn what_is_no_command_is_said() {
        for (line, text) in [
            (&b""[..], "EOF"),
            (b"status", "expected value"),
            (b"[]", "invalid type"),
            (b"{}", "missing field `command`"),
            (
                br#"{"command":"relaod"}"#,
                "unknown variant `relaod`, expected one of `status`",
            ),
            (
                br#"{"command":"status","wait":true}"#,
                "unknown field `wait`",
            ),
            (br#"{"command":"kill"}"#, "missing field `pid`"),
            (br#"{"command":"kill","pid":"1"}"#, "invalid type"),
            (br#"{"command":"kill","pid":99999999999}"#, "invalid value"),
            (br#"{"command":"status","version":2}"#, "speaks version 1"),
            (b"\xff\x00{}", "expected value"),
        ] {
            let error = Command::read(line).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        assert!(Command::read("[".repeat(4000).as_bytes()).is_err());
    }

    #[test]
    fn lines_are_read_as_they_are_written_and_unknown_news_are_no_error() {
        let who = Who {
            slot: 0,
            pid: 7,
            generation: 2,
        };
        let counts = Counts {
            completed: 1,
            ..Counts::default()
        };
        let verdict = Verdict {
            generation: 2,
            seconds: 0.5,
            workers: 4,
            unreported: 0,
            counts,
        };
        let news = [
            News::Reopened {},
            News::WorkerReady { who, seconds: 0.25 },
            News::WorkerLeft {
                who,
                ending: "exited".to_owned(),
                well: true,
                counts: Some(counts),
            },
            News::ReloadComplete { reload: 1, verdict },
        ];
        for news in news {
            let said = Said::Event { at: 1.5, news };
            let line: Line = serde_json::from_str(&Line::text(said.clone())).unwrap();
            assert_eq!(line, Line { version: 1, said });
        }
        let text = r#"{"version":1,"type":"event","at":1.5,"event":"moon","phase":"full"}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        assert!(matches!(
            line.said,
            Said::Event {
                news: News::Unknown,
                ..
            }
        ));
        let text = Line::text(Said::Answer(Answer::failed("no")));
        assert_eq!(
            text,
            "{\"version\":1,\"type\":\"answer\",\"ok\":false,\"error\":\"no\"}\n"
        );
    }
}
