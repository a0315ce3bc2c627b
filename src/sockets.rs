//! The listeners: bound once, kept as long as a generation has them, never read from.
//!
//! A listener belongs to the generations that list it (an `Rc`). A reload takes over what is
//! unchanged, binds what is new before anything stops, and what nobody lists any more is closed
//! when its last generation has gone. In the master only; a forked child's copy removes no file.

mod inherited;
mod queue;
mod stored;
mod unix;

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use ferricorn_base::conf::{ListenerConf, LocalAddr};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};

use crate::config::{Address, Bind, Config};

pub use inherited::Inherited;
pub use queue::queues;
pub use stored::storable;
use unix::SocketFile;
pub use unix::remove_stale;

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    bind: Bind,
    // As it was last asked for; the bind is as it was made.
    backlog: Cell<u32>,
    local: LocalAddr,
    // Removes the file of a unix socket when the last generation lets go of it.
    file: Option<SocketFile>,
    // It was made here, or by an image or a master before, and is accepted from by our workers alone.
    // The service manager may store it, but never accepts.
    own: bool,
    // Another master accepts from it, too.
    shared: Cell<bool>,
}

/// What another image must be told of a listener beside its descriptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    text: String,
    address: Place,
    backlog: u32,
    socket_mode: u32,
    for_aide: bool,
    /// Device and inode of a socket file that is ours.
    file: Option<(u64, u64)>,
    own: bool,
    shared: bool,
}

/// [`Address`], with a path that need not be UTF-8.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Place {
    Tcp(SocketAddr),
    Unix(OsString),
    Abstract(String),
    Fd(RawFd),
    Passed(String),
}

/// Why a listener could not be made: what to say, and whether to try again makes sense.
#[derive(Debug)]
pub struct BindError {
    text: String,
    /// Another process listens there.
    pub in_use: bool,
}

/// Bytes that the system takes of a response before it can send them.
///
/// Without a limit it takes megabytes for each client that does not read, and a thousand of those
/// cost seconds of copying. It bounds no throughput: what is on its way to the client comes on top.
const UNSENT: u32 = 128 * 1024;

/// What accepted connections inherit: answers go out at once (TCP_NODELAY), and the system takes no
/// more of them than it can soon send (TCP_NOTSENT_LOWAT, tcp(7)).
fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

impl Listener {
    /// Makes a listener; what was inherited is used where it fits.
    ///
    /// # Errors
    /// What the system answers, with the address.
    pub fn bind(bind: &Bind, inherited: &Inherited) -> Result<Listener, BindError> {
        let listener = match &bind.address {
            Address::Fd(number) => inherited
                .take(*number)
                .and_then(|fd| Listener::adopt(fd, bind)),
            address => match inherited.find(address) {
                Some(fd) => Listener::adopt(fd, bind),
                None => Listener::make(bind),
            },
        };
        listener.map_err(|error| BindError {
            text: format!("cannot bind {}: {}", bind.text, describe(&error)),
            in_use: error.kind() == io::ErrorKind::AddrInUse,
        })
    }

    /// Makes a listener of a descriptor that is bound already.
    ///
    /// # Errors
    /// A descriptor that is no stream socket, or what the system answers.
    pub fn adopt(fd: OwnedFd, bind: &Bind) -> io::Result<Listener> {
        let socket = Socket::from(fd);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::other("it is not a stream socket"));
        }
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        if !socket.is_listener()? {
            socket.listen(backlog(bind))?;
        }
        let local = local(&socket)?;
        if matches!(local, LocalAddr::Tcp(_)) {
            tune(&socket)?;
        }
        Ok(Listener {
            socket,
            bind: bind.clone(),
            backlog: Cell::new(bind.backlog),
            local,
            file: None,
            own: false,
            shared: Cell::new(false),
        })
    }

    fn make(bind: &Bind) -> io::Result<Listener> {
        let (domain, address) = match &bind.address {
            Address::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
            Address::Abstract(name) => (Domain::UNIX, SockAddr::unix(format!("\0{name}"))?),
            Address::Fd(_) | Address::Passed(_) => {
                return Err(io::Error::other("it was not inherited"));
            }
        };
        // Close-on-exec; non-blocking, because a connection that goes away between poll and accept
        // would otherwise stop a worker.
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        let mut file = None;
        match &bind.address {
            Address::Tcp(address) => {
                socket.set_reuse_address(true)?;
                if address.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                tune(&socket)?;
                socket.bind(&address_of(*address))?;
            }
            Address::Unix(path) => file = Some(SocketFile::bind(&socket, &address, path, bind)?),
            _ => socket.bind(&address)?,
        }
        socket.listen(backlog(bind))?;
        let local = local(&socket)?;
        Ok(Listener {
            socket,
            bind: bind.clone(),
            backlog: Cell::new(bind.backlog),
            local,
            file,
            own: true,
            shared: Cell::new(false),
        })
    }

    /// What another image must be told of it.
    pub fn record(&self) -> Record {
        let address = match &self.bind.address {
            Address::Tcp(address) => Place::Tcp(*address),
            Address::Unix(path) => Place::Unix(path.into()),
            Address::Abstract(name) => Place::Abstract(name.clone()),
            Address::Fd(number) => Place::Fd(*number),
            Address::Passed(name) => Place::Passed(name.clone()),
        };
        Record {
            text: self.bind.text.clone(),
            address,
            backlog: self.backlog(),
            socket_mode: self.bind.socket_mode,
            for_aide: self.bind.for_aide,
            file: self.file.as_ref().map(SocketFile::identity),
            own: self.own,
            shared: self.shared.get(),
        }
    }

    /// A listener that another image or a trial made. `ours` says whether a socket file is to be
    /// removed with it.
    ///
    /// # Errors
    /// It is no listener any more.
    pub fn handed_over(fd: OwnedFd, record: &Record, ours: bool) -> io::Result<Listener> {
        let socket = Socket::from(fd);
        let local = local(&socket)?;
        let address = match &record.address {
            Place::Tcp(address) => Address::Tcp(*address),
            Place::Unix(path) => Address::Unix(path.into()),
            Place::Abstract(name) => Address::Abstract(name.clone()),
            Place::Fd(number) => Address::Fd(*number),
            Place::Passed(name) => Address::Passed(name.clone()),
        };
        let file = match (&address, record.file) {
            (Address::Unix(path), Some(identity)) => Some(SocketFile::adopt(path, identity, ours)),
            _ => None,
        };
        let bind = Bind {
            text: record.text.clone(),
            address,
            backlog: record.backlog,
            socket_mode: record.socket_mode,
            for_aide: record.for_aide,
            // Whom it is for is the next configuration's to say.
            ..Config::default().listener
        };
        Ok(Listener {
            socket,
            bind,
            backlog: Cell::new(record.backlog),
            local,
            file,
            own: record.own,
            shared: Cell::new(record.shared),
        })
    }

    /// Says whether another master has it, too: then it is left as it is when this one lets go of it.
    pub fn share(&self, shared: bool) {
        self.shared.set(shared);
    }

    /// Whether another master has it, too.
    pub fn is_shared(&self) -> bool {
        self.shared.get()
    }

    /// Whether this listener is what `bind` asks for.
    pub fn is(&self, bind: &Bind) -> bool {
        self.bind.address == bind.address && self.bind.for_aide == bind.for_aide
    }

    /// Takes over what may change without a new socket: backlog, mode and owner.
    ///
    /// # Errors
    /// What the system answers.
    pub fn adjust(&self, bind: &Bind) -> io::Result<()> {
        if self.backlog() != bind.backlog {
            self.socket.listen(backlog(bind))?;
            self.backlog.set(bind.backlog);
        }
        match &self.file {
            Some(file) => file.adjust(bind),
            None => Ok(()),
        }
    }

    /// What a worker is told of it, where it is to be as `bind` says.
    pub fn conf(&self, bind: &Bind) -> ListenerConf {
        ListenerConf {
            bind: bind.text.clone(),
            local: self.local.clone(),
            proxy: bind.proxy(),
        }
    }

    /// Lets the system drop whoever wants to connect from now on, where the listener is nobody's but
    /// ours (SO_ATTACH_FILTER, socket(7)), but for one where that is not permitted. A client that gets no answer asks again a second later, and
    /// hears then that nobody listens; one that were let in while we close would be reset instead.
    /// What has been let in before stays. On a unix socket nothing is lost by a close.
    ///
    /// # Errors
    /// What setsockopt(2) answers.
    pub fn deafen(&self) -> io::Result<()> {
        if !self.own || self.is_shared() || matches!(self.local, LocalAddr::Unix(_)) {
            return Ok(());
        }
        // A program of one instruction: let none of its bytes through.
        let drop = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
        self.socket.attach_filter(&[drop]).or_else(|error| {
            // Some systems let only the privileged do that. A full queue drops as well, and one of
            // length 0 holds a single client (tcp(7), listen(2)).
            let shortened = self.socket.listen(0);
            shortened.map_err(|_| error)
        })
    }

    /// Takes a connection: the control socket's, which is the master's. It never waits.
    ///
    /// # Errors
    /// `WouldBlock` when nobody waits; else what accept(2) answers.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        let (socket, _) = self.socket.accept()?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }

    /// Whether its socket file, if it has one, still is where it was made.
    pub fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }

    /// Its address as a user would type it.
    pub fn url(&self) -> String {
        match &self.local {
            LocalAddr::Tcp(address) => format!("http://{address}"),
            LocalAddr::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The length of the accept queue that was asked for.
    pub fn backlog(&self) -> u32 {
        self.backlog.get()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = self.file.take().filter(|_| self.is_shared()) {
            file.leave();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Makes the listeners of a new generation: those of `old` that are unchanged, and new ones. When
/// one fails, those already made are closed again and nothing has changed.
///
/// # Errors
/// The first that could not be made.
pub fn listeners(
    binds: &[Bind],
    old: &[Rc<Listener>],
    inherited: &Inherited,
) -> Result<Vec<Rc<Listener>>, BindError> {
    let mut left: Vec<&Rc<Listener>> = old.iter().collect();
    // Nobody finds one whose file has gone, or is another's by now.
    let is = |listener: &Listener, bind: &Bind| listener.is(bind) && listener.is_in_place();
    let one = |bind: &Bind| match left.iter().position(|listener| is(listener, bind)) {
        // Taken once: there may be more than one bind whose port the system chooses.
        Some(found) => Ok(Rc::clone(left.remove(found))),
        None => Listener::bind(bind, inherited).map(Rc::new),
    };
    binds.iter().map(one).collect()
}

/// The kernel's bound on accept queues, `net.core.somaxconn`.
pub fn somaxconn() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn backlog(bind: &Bind) -> i32 {
    i32::try_from(bind.backlog).unwrap_or(i32::MAX)
}

fn address_of(address: SocketAddr) -> SockAddr {
    SockAddr::from(address)
}

fn local(socket: &Socket) -> io::Result<LocalAddr> {
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(LocalAddr::Tcp(address));
    }
    if let Some(name) = address.as_abstract_namespace() {
        let name = String::from_utf8_lossy(name);
        return Ok(LocalAddr::Unix(PathBuf::from(format!("@{name}"))));
    }
    Ok(LocalAddr::Unix(
        address.as_pathname().map(PathBuf::from).unwrap_or_default(),
    ))
}

/// The system's words without its number.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no such address on this machine".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotFound => "no such directory".to_owned(),
        _ => error.to_string(),
    }
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
