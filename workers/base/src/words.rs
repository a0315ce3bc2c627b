//! What is said over the control socket, in both directions: lines of JSON.
//!
//! A client sends an object with the name of a `command` and what belongs to it; it is answered by any
//! number of events and one answer, and may then ask again. Each line of the server carries the
//! version. Server and client read and write with these types alone: the master and `ctl`, and
//! whatever else asks the master how things stand. Nothing here is I/O.

pub mod human;
mod news;
mod status;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use news::{Counts, News, Verdict, Who};
pub use status::{
    Counters, Current, End, LISTED, Memory, Quarantined, Queue, Reload, Scaling, Status, Suspended,
    Worker,
};

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
    /// Leave the number of workers to the server again.
    ScaleAuto {},
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
    /// What is in quarantine.
    Quarantine {
        /// Let go of this fingerprint, or of `all`.
        #[serde(default)]
        clear: Option<String>,
    },
    /// What is logged.
    LogLevel {
        /// Log this and what is more severe; `default` is what the configuration says.
        #[serde(default)]
        level: Option<String>,
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
    /// What is in quarantine, or was cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Vec<Quarantined>>,
    /// The least severe level that is logged now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// How the server stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
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

    /// Whether it changes nothing.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Command::Status {}
                | Command::Quarantine { clear: None }
                | Command::LogLevel { level: None }
                | Command::Events {}
        )
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Status {} => "status",
            Command::Reload { .. } => "reload",
            Command::Reopen {} => "reopen",
            Command::Scale { .. } | Command::ScaleAuto {} => "scale",
            Command::Stop { .. } => "stop",
            Command::Quit { .. } => "quit",
            Command::Drain { .. } => "drain",
            Command::Kill { .. } => "kill",
            Command::Quarantine { .. } => "quarantine",
            Command::LogLevel { .. } => "log-level",
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
            Command::ScaleAuto {},
            Command::Stop { wait: false },
            Command::Quit { wait: true },
            Command::Drain { pid: 5 },
            Command::Kill { pid: 6 },
            Command::Quarantine { clear: None },
            Command::LogLevel {
                level: Some("debug".to_owned()),
            },
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
