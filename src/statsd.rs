//! Where StatsD metrics go: what may follow `--statsd-host`, and what the other settings make of it.
//!
//! Gunicorn's forms. Only a host name needs the system to become an address; nothing is opened here.

use std::path::Path;

use ferricorn_base::conf::{StatsdConf, StatsdReceiver};

use crate::address;
use crate::config::{Address, Names};

/// The port of an address that names none.
const PORT: u16 = 8125;

/// What the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `HOST:PORT` or `unix://PATH`; empty: nothing is sent.
    pub host: String,
    /// What names begin with.
    pub prefix: String,
    /// Tags of DogStatsD, with commas between them.
    pub tags: String,
    /// Whether the length of the accept queues is sent, too.
    pub backlog: bool,
}

/// What is wrong, and with which setting.
type Complaint = (&'static str, String);

impl Settings {
    /// What comes of them, if metrics are sent. Relative paths start at `directory`.
    ///
    /// # Errors
    /// A text that makes no sense, or an unknown host.
    pub fn resolve(
        &self,
        directory: &Path,
        names: &Names,
    ) -> Result<Option<StatsdConf>, Complaint> {
        let separates = |c: char| c.is_control() || matches!(c, '|' | ':' | '@' | '#' | ' ');
        if let Some(c) = self.prefix.chars().find(|c| separates(*c)) {
            return Err(("statsd-prefix", format!("{c:?} would end the name")));
        }
        let separates = |c: char| c.is_control() || matches!(c, '|' | ' ');
        if let Some(c) = self.tags.chars().find(|c| separates(*c)) {
            return Err(("dogstatsd-tags", format!("{c:?} would end the tags")));
        }
        if self.host.is_empty() {
            return Ok(None);
        }
        let to = receiver(&self.host, directory, names);
        Ok(Some(StatsdConf {
            to: to.map_err(|reason| ("statsd-host", reason))?,
            prefix: match self.prefix.trim_end_matches('.') {
                "" => String::new(),
                prefix => format!("{prefix}."),
            },
            tags: self.tags.clone(),
            backlog: self.backlog,
        }))
    }
}

fn receiver(text: &str, directory: &Path, names: &Names) -> Result<StatsdReceiver, String> {
    let wrong = || format!("expected HOST:PORT or unix://PATH, found \"{text}\"");
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.len() > address::LONGEST_PATH || path.contains('\0') {
            return Err(wrong());
        }
        return Ok(StatsdReceiver::Unix(directory.join(path)));
    }
    let text = text.strip_prefix("udp://").unwrap_or(text);
    if text.contains("://") {
        return Err(wrong());
    }
    let (_, after) = text.rsplit_once(']').unwrap_or(("", text));
    let host = match after.contains(':') {
        true => text.to_owned(),
        false => format!("{text}:{PORT}"),
    };
    let look_up = |host: &str, port: u16| names.look_up(host, port);
    let written = address::parse(&host).map_err(|_| wrong())?;
    match written.resolve(directory, &look_up)? {
        Address::Tcp(address) => Ok(StatsdReceiver::Udp(address)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(host: &str, prefix: &str, tags: &str) -> Result<Option<StatsdConf>, Complaint> {
        let settings = Settings {
            host: host.to_owned(),
            prefix: prefix.to_owned(),
            tags: tags.to_owned(),
            backlog: false,
        };
        settings.resolve(Path::new("/srv"), &Names::default())
    }

    #[test]
    fn a_receiver_is_a_host_or_a_path() {
        let udp = |text: &str| StatsdReceiver::Udp(text.parse().unwrap());
        for (text, to) in [
            ("127.0.0.1:9125", udp("127.0.0.1:9125")),
            ("127.0.0.1", udp("127.0.0.1:8125")),
            ("udp://[::1]:9", udp("[::1]:9")),
            ("[::1]", udp("[::1]:8125")),
            (
                "unix:///run/statsd",
                StatsdReceiver::Unix("/run/statsd".into()),
            ),
            (
                "unix://run/statsd",
                StatsdReceiver::Unix("/srv/run/statsd".into()),
            ),
        ] {
            let conf = resolve(text, "", "").unwrap().unwrap();
            assert_eq!(conf.to, to, "{text}");
        }
        for text in ["127.0.0.1:x", "unix://", "fd://3", "tcp://127.0.0.1:1", ":"] {
            assert_eq!(
                resolve(text, "", "").unwrap_err().0,
                "statsd-host",
                "{text}"
            );
        }
        assert_eq!(resolve("", "", ""), Ok(None));
    }

    #[test]
    fn a_prefix_ends_in_one_dot_and_nothing_ends_a_line_early() {
        for (text, prefix) in [("", ""), ("shop", "shop."), ("a.b..", "a.b."), ("..", "")] {
            let conf = resolve("127.0.0.1", text, "a:b,c").unwrap().unwrap();
            assert_eq!((&*conf.prefix, &*conf.tags), (prefix, "a:b,c"));
        }
        assert_eq!(resolve("", "a|b", "").unwrap_err().0, "statsd-prefix");
        assert_eq!(resolve("", "a:b", "").unwrap_err().0, "statsd-prefix");
        assert_eq!(resolve("", "", "a\nb").unwrap_err().0, "dogstatsd-tags");
    }
}
