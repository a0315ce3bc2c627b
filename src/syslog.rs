//! Where syslog messages go: what may follow `--syslog-addr`, and what it means.
//!
//! Gunicorn's forms. Reading the text is pure; only a host name needs the system to become an address.
//! Nothing is opened here.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ferricorn_base::logs::syslog::{Form, Sender};

use crate::address;
use crate::config::{self, Config, Names};

/// The port of an address that names none.
const PORT: u16 = 514;
/// The longest message by UDP: what every receiver should take (RFC 5424 section 6.1).
const UDP_LONGEST: usize = 2048;
/// The longest message by anything else: what rsyslog and syslog-ng take unless told otherwise.
const LONGEST: usize = 8192;

/// Facilities by their names, Gunicorn's.
pub const FACILITIES: &[&str] = &[
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "security",
    "syslog", "user", "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// The number of a facility (RFC 5424 section 6.2.1). `security` is an old name of auth.
pub fn facility(name: &str) -> u8 {
    match name {
        "kern" => 0,
        "mail" => 2,
        "daemon" => 3,
        "auth" | "security" => 4,
        "syslog" => 5,
        "lpr" => 6,
        "news" => 7,
        "uucp" => 8,
        "cron" => 9,
        "authpriv" => 10,
        "ftp" => 11,
        _ => match name.strip_prefix("local").map(str::parse::<u8>) {
            Some(Ok(number)) => 16 + number,
            _ => 1,
        },
    }
}

/// What the settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether there are messages at all.
    pub on: bool,
    /// Where they go.
    pub to: Written,
    /// What the program is called beside its own name; empty: what the process is.
    pub prefix: String,
    /// The number of the facility.
    pub facility: u8,
    /// How they look; `None`: as receivers of such an address read them.
    pub form: Option<Form>,
    /// Whether the access log goes there, too.
    pub access: bool,
}

/// An address as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// `udp://HOST:PORT`
    Udp(address::Written),
    /// `tcp://HOST:PORT`
    Tcp(address::Written),
    /// `unix:///PATH` or `unix:///PATH#dgram`
    Datagrams(PathBuf),
    /// `unix:///PATH#stream`
    Stream(PathBuf),
}

/// Where messages go, and how they look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where they go.
    pub to: Receiver,
    /// What they have in common.
    pub sender: Sender,
    /// Whether the access log goes there, too.
    pub access: bool,
}

/// Who takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// By UDP (RFC 5426).
    Udp(SocketAddr),
    /// By TCP, each led by its length (RFC 6587 section 3.4.1).
    Tcp(SocketAddr),
    /// A unix datagram socket.
    Datagrams(PathBuf),
    /// A unix stream socket, each ended by a line end.
    Stream(PathBuf),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            on: false,
            to: Written::Udp(address::Written::Name("localhost".to_owned(), PORT)),
            prefix: String::new(),
            facility: 1,
            form: None,
            access: true,
        }
    }
}

/// Reads an address.
///
/// # Errors
/// What was expected, for people; the text is quoted in it.
pub fn parse(text: &str) -> Result<Written, String> {
    let wrong = || {
        format!(
            "expected udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH#dgram or unix:///PATH#stream, \
             found \"{text}\""
        )
    };
    let host = |rest: &str| {
        let (_, after) = rest.rsplit_once(']').unwrap_or(("", rest));
        let host = match (rest, after.contains(':')) {
            ("", _) => format!("localhost:{PORT}"),
            (_, true) => rest.to_owned(),
            (_, false) => format!("{rest}:{PORT}"),
        };
        match address::parse(&host) {
            Ok(written @ address::Written::Name(..))
            | Ok(written @ address::Written::Plain(config::Address::Tcp(_))) => Ok(written),
            _ => Err(wrong()),
        }
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    match scheme {
        "udp" => Ok(Written::Udp(host(rest)?)),
        "tcp" => Ok(Written::Tcp(host(rest)?)),
        "unix" => {
            let (path, kind) = rest.rsplit_once('#').unwrap_or((rest, "dgram"));
            if path.is_empty() || path.len() > address::LONGEST_PATH || path.contains('\0') {
                return Err(wrong());
            }
            match kind {
                "dgram" => Ok(Written::Datagrams(path.into())),
                "stream" => Ok(Written::Stream(path.into())),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

impl Settings {
    /// What comes of them in this configuration, if there are messages.
    ///
    /// # Errors
    /// The host is unknown; the reason, for people.
    pub fn resolve(&self, config: &Config, names: &Names) -> Result<Option<Syslog>, String> {
        if !self.on {
            return Ok(None);
        }
        let look_up =
            |host: &str, port: u16| -> io::Result<Vec<SocketAddr>> { names.look_up(host, port) };
        let host = |written: &address::Written| {
            match written.clone().resolve(Path::new("/"), &look_up)? {
                config::Address::Tcp(address) => Ok(address),
                // The text was one of a host.
                other => Err(format!("{other:?} is no host")),
            }
        };
        let to = match &self.to {
            Written::Udp(written) => Receiver::Udp(host(written)?),
            Written::Tcp(written) => Receiver::Tcp(host(written)?),
            Written::Datagrams(path) => Receiver::Datagrams(config.directory.join(path)),
            Written::Stream(path) => Receiver::Stream(config.directory.join(path)),
        };
        let name = match self.prefix.as_str() {
            "" => config.identifier(),
            prefix => format!("ferricorn.{prefix}"),
        };
        let (form, longest) = match &to {
            Receiver::Udp(_) => (Form::Rfc5424, UDP_LONGEST),
            Receiver::Tcp(_) => (Form::Rfc5424, LONGEST),
            Receiver::Datagrams(_) | Receiver::Stream(_) => (Form::Local, LONGEST),
        };
        let form = self.form.unwrap_or(form);
        let host = nix::unistd::gethostname().unwrap_or_default();
        let host = host.to_string_lossy();
        Ok(Some(Syslog {
            to,
            sender: Sender::new(form, self.facility, &name, &host, longest),
            access: self.access,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_gunicorns() {
        let name = |name: &str, port| address::Written::Name(name.to_owned(), port);
        let ip = |text: &str| {
            address::Written::Plain(config::Address::Tcp(text.parse().expect("an address")))
        };
        for (text, meant) in [
            (
                "udp://localhost:514",
                Some(Written::Udp(name("localhost", 514))),
            ),
            ("udp://", Some(Written::Udp(name("localhost", 514)))),
            (
                "udp://Logs.example",
                Some(Written::Udp(name("logs.example", 514))),
            ),
            (
                "tcp://127.0.0.1:601",
                Some(Written::Tcp(ip("127.0.0.1:601"))),
            ),
            ("tcp://[::1]", Some(Written::Tcp(ip("[::1]:514")))),
            ("tcp://[::1]:6514", Some(Written::Tcp(ip("[::1]:6514")))),
            (
                "unix:///dev/log",
                Some(Written::Datagrams("/dev/log".into())),
            ),
            (
                "unix:///dev/log#dgram",
                Some(Written::Datagrams("/dev/log".into())),
            ),
            (
                "unix:///run/s#stream",
                Some(Written::Stream("/run/s".into())),
            ),
            ("unix:///dev/log#seqpacket", None),
            ("unix://", None),
            ("localhost:514", None),
            ("http://localhost", None),
            ("udp://host:port", None),
            ("udp://unix:/x", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok(), meant, "{text}");
        }
    }

    #[test]
    fn facilities_have_the_numbers_of_the_rfc() {
        for (name, number) in [
            ("kern", 0),
            ("user", 1),
            ("authpriv", 10),
            ("security", 4),
            ("local0", 16),
            ("local7", 23),
        ] {
            assert_eq!(facility(name), number, "{name}");
        }
        let mut numbers: Vec<u8> = FACILITIES.iter().map(|name| facility(name)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), FACILITIES.len() - 1, "security is auth");
    }
}
