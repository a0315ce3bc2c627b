//! Addresses of listeners: what may follow `--bind`, and what it means.
//!
//! Reading the text is pure; only a host name needs the system to become an address. Nothing is
//! bound here.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::Address;

/// The port of an address that names none, as with Gunicorn.
const PORT: u16 = 8000;

/// The longest path of a unix socket, without the final NUL (unix(7), `sun_path`).
pub const LONGEST_PATH: usize = 107;

/// Protocols that a listener will speak one day.
const RESERVED: &[&str] = &["https", "fastcgi", "scgi", "uwsgi"];

/// An address as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// A name that has to be looked up, and a port.
    Name(String, u16),
    /// Nothing to look up; a path may still be relative.
    Plain(Address),
}

/// Reads an address.
///
/// # Errors
/// What was expected, for people; the text is quoted in it.
pub fn parse(text: &str) -> Result<Written, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path.strip_prefix("//").unwrap_or(path));
    }
    if let Some(rest) = text.strip_prefix("fd://") {
        return match rest.parse() {
            Ok(number) if number >= 0 => Ok(Written::Plain(Address::Fd(number))),
            Err(_) if is_passed(rest) => Ok(Written::Plain(Address::Passed(rest.to_owned()))),
            _ => Err(format!(
                "expected the number of a descriptor or the name of a passed socket after fd://, \
                 found \"{text}\""
            )),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme {
            "tcp" => host(text, rest),
            _ if RESERVED.contains(&scheme) => {
                Err(format!("listeners for \"{scheme}\" are not available yet"))
            }
            _ => Err(format!("{FORMS}, found \"{text}\"")),
        };
    }
    host(text, text)
}

const FORMS: &str = "expected HOST:PORT, [IPV6]:PORT, unix:PATH, fd://N or fd://NAME";

fn unix(text: &str, path: &str) -> Result<Written, String> {
    let (address, length) = match path.strip_prefix('@') {
        Some(name) => (Address::Abstract(name.to_owned()), name.len()),
        None => (Address::Unix(PathBuf::from(path)), path.len()),
    };
    if length == 0 || path.contains('\0') {
        return Err(format!("expected a path after unix:, found \"{text}\""));
    }
    if length > LONGEST_PATH {
        return Err(format!(
            "the path of a unix socket has at most {LONGEST_PATH} bytes, found {length} in \
             \"{text}\""
        ));
    }
    Ok(Written::Plain(address))
}

fn host(text: &str, rest: &str) -> Result<Written, String> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (ip, port) = bracketed
            .split_once(']')
            .ok_or_else(|| format!("expected \"]\" after an IPv6 address, found \"{text}\""))?;
        let port = match port {
            "" => PORT,
            port => match port.strip_prefix(':') {
                Some(port) => number(text, port)?,
                None => return Err(format!("expected \":PORT\" after \"]\", found \"{text}\"")),
            },
        };
        let ip: Ipv6Addr = ip
            .parse()
            .map_err(|_| format!("expected an IPv6 address in brackets, found \"{text}\""))?;
        return Ok(plain(IpAddr::V6(ip), port));
    }
    if rest.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "an IPv6 address is written in brackets: \"[{rest}]:{PORT}\""
        ));
    }
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) => (name, number(text, port)?),
        None => (rest, PORT),
    };
    match name {
        "" if rest.is_empty() => Err(format!("{FORMS}, found \"{text}\"")),
        "" | "*" => Ok(plain(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
        _ => match name.parse::<Ipv4Addr>() {
            Ok(ip) => Ok(plain(IpAddr::V4(ip), port)),
            Err(_) if name.bytes().all(|byte| byte.is_ascii_digit()) => Err(format!(
                "expected an address, found \"{text}\"; for a port on every address write \
                 \":{name}\""
            )),
            Err(_) if is_name(name) => Ok(Written::Name(name.to_ascii_lowercase(), port)),
            Err(_) => Err(format!("{FORMS}, found \"{text}\"")),
        },
    }
}

fn plain(ip: IpAddr, port: u16) -> Written {
    Written::Plain(Address::Tcp(SocketAddr::new(ip, port)))
}

fn number(text: &str, port: &str) -> Result<u16, String> {
    crate::settings::value::number(port)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(|| format!("expected a port from 0 to 65535, found \"{port}\" in \"{text}\""))
}

/// Whether a passed socket could have this name, which no number has (`FileDescriptorName=`,
/// systemd.socket(5)).
fn is_passed(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b':';
    (1..=255).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with(['+', '-'])
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether it could be a host name: labels of letters, digits, `-` and `_`, not all of them
/// numbers (those are IPv4 addresses gone wrong).
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes().all(allowed)
        && !name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

impl Written {
    /// Makes a path absolute and looks a name up: its first IPv4 address, else its first one.
    ///
    /// # Errors
    /// The name is unknown; the reason, for people.
    pub fn resolve(
        self,
        directory: &Path,
        look_up: &dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<Address, String> {
        match self {
            Written::Plain(Address::Unix(path)) => Ok(Address::Unix(directory.join(path))),
            Written::Plain(address) => Ok(address),
            Written::Name(name, port) => {
                let found = look_up(&name, port)
                    .map_err(|error| format!("cannot look up the host \"{name}\": {error}"))?;
                found
                    .iter()
                    .find(|address| address.is_ipv4())
                    .or(found.first())
                    .map(|address| Address::Tcp(*address))
                    .ok_or_else(|| format!("the host \"{name}\" has no address"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Written {
        Written::Plain(Address::Tcp(text.parse().expect("an address")))
    }

    #[test]
    fn what_is_understood() {
        let unix = |path: &str| Written::Plain(Address::Unix(path.into()));
        let name = |name: &str, port| Written::Name(name.to_owned(), port);
        for (text, meant) in [
            ("127.0.0.1:8000", tcp("127.0.0.1:8000")),
            ("127.0.0.1", tcp("127.0.0.1:8000")),
            ("tcp://127.0.0.1:80", tcp("127.0.0.1:80")),
            (":8080", tcp("0.0.0.0:8080")),
            ("*:8080", tcp("0.0.0.0:8080")),
            ("0.0.0.0:0", tcp("0.0.0.0:0")),
            ("[::1]:8000", tcp("[::1]:8000")),
            ("[::]", tcp("[::]:8000")),
            ("localhost", name("localhost", 8000)),
            ("LocalHost:80", name("localhost", 80)),
            ("app-1.example.com:80", name("app-1.example.com", 80)),
            ("unix:/run/app.sock", unix("/run/app.sock")),
            ("unix:///run/app.sock", unix("/run/app.sock")),
            ("unix:app.sock", unix("app.sock")),
            ("unix:@app", Written::Plain(Address::Abstract("app".into()))),
            ("fd://3", Written::Plain(Address::Fd(3))),
            (
                "fd://app.socket",
                Written::Plain(Address::Passed("app.socket".into())),
            ),
        ] {
            assert_eq!(parse(text), Ok(meant), "{text:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let forms = "expected HOST:PORT, [IPV6]:PORT, unix:PATH, fd://N or fd://NAME, found";
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, message) in [
            ("", format!("{forms} \"\"")),
            ("http://127.0.0.1", format!("{forms} \"http://127.0.0.1\"")),
            ("a b:80", format!("{forms} \"a b:80\"")),
            ("1.2.3:80", format!("{forms} \"1.2.3:80\"")),
            (
                "https://127.0.0.1",
                "listeners for \"https\" are not available yet".into(),
            ),
            (
                "fastcgi://:9000",
                "listeners for \"fastcgi\" are not available yet".into(),
            ),
            (
                "8000",
                "expected an address, found \"8000\"; for a port on every address write \":8000\""
                    .into(),
            ),
            (
                "::1",
                "an IPv6 address is written in brackets: \"[::1]:8000\"".into(),
            ),
            (
                "[::1",
                "expected \"]\" after an IPv6 address, found \"[::1\"".into(),
            ),
            (
                "[::1]80",
                "expected \":PORT\" after \"]\", found \"[::1]80\"".into(),
            ),
            (
                "[a]:80",
                "expected an IPv6 address in brackets, found \"[a]:80\"".into(),
            ),
            (
                "localhost:http",
                "expected a port from 0 to 65535, found \"http\" in \"localhost:http\"".into(),
            ),
            (
                ":65536",
                "expected a port from 0 to 65535, found \"65536\" in \":65536\"".into(),
            ),
            (
                ":",
                "expected a port from 0 to 65535, found \"\" in \":\"".into(),
            ),
            (
                "unix:",
                "expected a path after unix:, found \"unix:\"".into(),
            ),
            (
                "unix:@",
                "expected a path after unix:, found \"unix:@\"".into(),
            ),
            (
                long.as_str(),
                format!("the path of a unix socket has at most 107 bytes, found 108 in \"{long}\""),
            ),
            (
                "fd://a:b",
                "expected the number of a descriptor or the name of a passed socket after fd://, \
                 found \"fd://a:b\""
                    .into(),
            ),
            (
                "fd://-1",
                "expected the number of a descriptor or the name of a passed socket after fd://, \
                 found \"fd://-1\""
                    .into(),
            ),
        ] {
            assert_eq!(parse(text), Err(message), "{text:?}");
        }
    }

    #[test]
    fn names_are_looked_up_and_paths_made_absolute() {
        let both = |_: &str, port| {
            Ok(vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            ])
        };
        let directory = Path::new("/srv");
        let resolve = |text: &str| parse(text).expect("an address").resolve(directory, &both);
        let local = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(resolve("localhost:80"), Ok(Address::Tcp(local)));
        assert_eq!(
            resolve("unix:a.sock"),
            Ok(Address::Unix("/srv/a.sock".into()))
        );

        let six = |_: &str, port| Ok(vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)]);
        let written = Written::Name("six".to_owned(), 80);
        let local = "[::1]:80".parse().expect("an address");
        assert_eq!(
            written.clone().resolve(directory, &six),
            Ok(Address::Tcp(local))
        );
        let nothing = |_: &str, _| Ok(Vec::new());
        let message = "the host \"six\" has no address".to_owned();
        assert_eq!(written.clone().resolve(directory, &nothing), Err(message));
        let fails = |_: &str, _| Err(io::Error::other("no such name"));
        let message = "cannot look up the host \"six\": no such name".to_owned();
        assert_eq!(written.resolve(directory, &fails), Err(message));
    }
}
