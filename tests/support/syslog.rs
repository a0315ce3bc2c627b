//! What arrives at a syslog receiver or at the journal, read strictly.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

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

/// A receiver by TCP, to which each message is led by its length (RFC 6587 section 3.4.1).
pub struct TcpReceiver {
    address: SocketAddr,
    messages: mpsc::Receiver<String>,
    gone: Arc<AtomicBool>,
    /// Held by who does not want it to read.
    pub reads: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TcpReceiver {
    /// At this address, or anywhere.
    pub fn at(address: Option<SocketAddr>) -> TcpReceiver {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(anywhere)).unwrap();
        // Connections have it from there: little is taken in that nobody reads.
        setsockopt(&listener, sockopt::RcvBuf, &16_384).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, messages) = mpsc::channel();
        let gone = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(Mutex::new(()));
        let (over, may_read) = (Arc::clone(&gone), Arc::clone(&reads));
        let thread = thread::spawn(move || {
            let mut readers: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let reader = stream.try_clone().unwrap();
                let (sender, may_read) = (sender.clone(), Arc::clone(&may_read));
                let read = move || {
                    let mut reader = BufReader::with_capacity(1024, reader);
                    loop {
                        drop(may_read.lock().unwrap());
                        let Some(text) = frame(&mut reader) else {
                            return;
                        };
                        let _ = sender.send(text);
                    }
                };
                readers.push((stream, thread::spawn(read)));
            }
            for (stream, reader) in readers {
                let _ = stream.shutdown(Shutdown::Both);
                let _ = reader.join();
            }
        });
        TcpReceiver {
            address,
            messages,
            gone,
            reads,
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// The first message from here on that says this.
    #[track_caller]
    pub fn find(&self, part: &str) -> Message {
        let mut seen = Vec::new();
        loop {
            let Ok(text) = self.messages.recv_timeout(PATIENCE) else {
                panic!("no message says \"{part}\" but: {seen:#?}")
            };
            let message = rfc5424(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
            if message.text.contains(part) {
                return message;
            }
            seen.push(message.text);
        }
    }

    /// Closes everything; returns where it was.
    pub fn vanish(mut self) -> SocketAddr {
        self.gone.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.address
    }
}

/// A message and its length; none at the end, even in the middle of one.
fn frame(from: &mut impl BufRead) -> Option<String> {
    let mut digits = Vec::new();
    from.read_until(b' ', &mut digits).ok()?;
    let digits = String::from_utf8(digits).unwrap();
    let digits = digits.strip_suffix(' ')?;
    let good = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    assert!(good, "MSG-LEN {digits:?}");
    let mut message = vec![0; digits.parse().unwrap()];
    from.read_exact(&mut message).ok()?;
    Some(String::from_utf8(message).unwrap())
}
