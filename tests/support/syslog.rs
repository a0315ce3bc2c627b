//! What arrives at a syslog receiver or at the journal, read strictly.

use std::collections::BTreeMap;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::PATIENCE;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub facility: u8,
    pub severity: u8,
    pub host: String,
    pub app: String,
    pub pid: i32,
    pub kind: String,
    pub text: String,
}

/// A receiver of datagrams.
pub enum Receiver {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Receiver {
    pub fn udp() -> Receiver {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Receiver::Udp(socket)
    }

    pub fn unix(path: &Path) -> Receiver {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Receiver::Unix(socket)
    }

    /// `udp://ADDRESS`
    pub fn url(&self) -> String {
        match self {
            Receiver::Udp(socket) => format!("udp://{}", socket.local_addr().unwrap()),
            Receiver::Unix(socket) => {
                let address = socket.local_addr().unwrap();
                format!("unix://{}", address.as_pathname().unwrap().display())
            }
        }
    }

    fn receive(&self) -> io::Result<String> {
        let mut buffer = vec![0; 256 * 1024];
        let length = match self {
            Receiver::Udp(socket) => socket.recv(&mut buffer)?,
            Receiver::Unix(socket) => socket.recv(&mut buffer)?,
        };
        buffer.truncate(length);
        Ok(String::from_utf8(buffer).expect("messages are UTF-8"))
    }

    /// The next datagram.
    #[track_caller]
    pub fn next(&self) -> String {
        self.receive().expect("there is another message")
    }

    /// The first message from here on, in either form, that says this.
    #[track_caller]
    pub fn find(&self, part: &str) -> Message {
        let mut seen = Vec::new();
        loop {
            let Ok(text) = self.receive() else {
                panic!("no message says \"{part}\" but: {seen:#?}")
            };
            let message = rfc5424(&text)
                .or_else(|why| local(&text).map_err(|other| format!("{why}; {other}: {text}")))
                .unwrap_or_else(|why| panic!("{why}"));
            if message.text.contains(part) {
                return message;
            }
            seen.push(message);
        }
    }

    /// The fields of the first message for the journal from here on that says this.
    #[track_caller]
    pub fn find_in_journal(&self, part: &str) -> BTreeMap<String, String> {
        let mut seen = Vec::new();
        loop {
            let Ok(text) = self.receive() else {
                panic!("no message says \"{part}\" but: {seen:#?}")
            };
            let fields = journal(&text);
            if fields["MESSAGE"].contains(part) {
                return fields;
            }
            seen.push(fields);
        }
    }
}

/// Reads a message as RFC 5424 section 6 has it, and nothing else.
pub fn rfc5424(text: &str) -> Result<Message, String> {
    let (facility, severity, rest) = priority(text)?;
    let mut words = rest.splitn(7, ' ');
    let mut word = || words.next().ok_or("too short");
    if word()? != "1" {
        return Err("VERSION is 1".to_owned());
    }
    timestamp(word()?)?;
    let host = printable(word()?, 255)?;
    let app = printable(word()?, 48)?;
    let pid = printable(word()?, 128)?;
    let kind = printable(word()?, 32)?;
    let rest = word()?;
    let text = match rest.split_once(' ') {
        Some(("-", text)) => text,
        None if rest == "-" => "",
        _ => return Err(format!("STRUCTURED-DATA: {rest}")),
    };
    Ok(Message {
        facility,
        severity,
        host,
        app,
        pid: pid.parse().map_err(|_| format!("PROCID {pid}"))?,
        kind,
        text: line(text)?,
    })
}

/// Reads what syslog(3) writes: `<PRI>Mmm dd hh:mm:ss TAG[PID]: text`.
pub fn local(text: &str) -> Result<Message, String> {
    let (facility, severity, rest) = priority(text)?;
    let (time, rest) = rest.split_at_checked(16).ok_or("too short")?;
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let day = shape.get(3..7);
    if !months.contains(&&time[..3])
        || !matches!(day, Some(" 00 " | "  0 "))
        || &shape[7..] != "00:00:00 "
    {
        return Err(format!("time: {time}"));
    }
    let (tag, text) = rest.split_once(": ").ok_or("no tag")?;
    let (name, pid) = tag
        .strip_suffix(']')
        .and_then(|tag| tag.split_once('['))
        .ok_or("no pid")?;
    let (app, kind) = name.rsplit_once('.').ok_or("no kind")?;
    Ok(Message {
        facility,
        severity,
        host: String::new(),
        app: app.to_owned(),
        pid: pid.parse().map_err(|_| format!("pid {pid}"))?,
        kind: kind.to_owned(),
        text: line(text)?,
    })
}

fn priority(text: &str) -> Result<(u8, u8, &str), String> {
    let (number, rest) = text
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .ok_or("no PRI")?;
    let value: u8 = number.parse().map_err(|_| format!("PRI {number}"))?;
    if value > 191 || value.to_string() != number {
        return Err(format!("PRI {number}"));
    }
    Ok((value / 8, value % 8, rest))
}

fn timestamp(text: &str) -> Result<(), String> {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    if shape == "0000-00-00T00:00:00.000000Z" {
        return Ok(());
    }
    Err(format!("TIMESTAMP {text}"))
}

fn printable(text: &str, most: usize) -> Result<String, String> {
    let fits = (1..=most).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("a word of the header: {text:?}"))
}

fn line(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err(format!("control characters: {text:?}"));
    }
    Ok(text.to_owned())
}

/// Reads the fields of a message for the journal, each of which is one line here.
pub fn journal(text: &str) -> BTreeMap<String, String> {
    assert!(text.ends_with('\n'), "{text:?}");
    let mut fields = BTreeMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{text:?}"));
        let may = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(may) && !name.starts_with('_'), "{name}");
        let before = fields.insert(name.to_owned(), value.to_owned());
        assert_eq!(before, None, "{name} is there once");
    }
    fields
}
