//! StatsD: once a second, what has happened since the last time, under Gunicorn's names.
//!
//! What is sent are the differences of the scoreboard's sums: a counter with how often, not a datagram for
//! each request. Only the backlog is asked of the master. Nothing else waits: a datagram that the receiver does not take at once is lost, as StatsD has
//! it. While there is no receiver to send to, nothing is taken as sent.

mod lines;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use ferricorn_base::board::Totals;
use ferricorn_base::conf::{StatsdConf, StatsdReceiver};
use ferricorn_base::sys::monotonic;

use self::lines::{Durations, datagrams, lines};
use crate::duty::Duty;
use crate::{Inquiry, Snapshot};

/// How often it is told that nothing can be sent.
const COMPLAIN: Duration = Duration::from_secs(60);

/// The duty.
#[derive(Debug)]
pub(crate) struct Statsd {
    conf: StatsdConf,
    socket: Option<Socket>,
    /// What was sent, or counted before there was anybody to send it.
    sent: Totals,
    durations: Durations,
    complained: Option<Duration>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Statsd {
    /// Sends what is more than this.
    pub(crate) fn new(conf: StatsdConf, sent: Totals) -> Statsd {
        Statsd {
            conf,
            socket: None,
            sent,
            durations: Durations::default(),
            complained: None,
        }
    }

    fn send(&mut self, server: &Inquiry) -> io::Result<()> {
        let board = server.board();
        let totals = board.totals();
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::connect(&self.conf.to)?),
        };
        let news = totals.since(&self.sent);
        self.sent = totals;
        let workers = (0..board.high()).filter(|seat| board.is_alive(*seat));
        let told = self.conf.backlog.then(|| server.look()).flatten();
        let waiting = |told: Snapshot| {
            let queues = told.status.queues.iter();
            queues.map(|queue| u64::from(queue.waiting)).sum()
        };
        let backlog = told.filter(|told| !told.is_silent).map(waiting);
        let (conf, durations) = (&self.conf, &mut self.durations);
        let lines = lines(conf, &news, workers.count(), backlog, durations);
        for datagram in datagrams(&lines) {
            socket.send(datagram.as_bytes())?;
        }
        Ok(())
    }
}

impl Duty for Statsd {
    fn tick(&mut self, server: &Inquiry) {
        let Err(error) = self.send(server) else {
            return;
        };
        // Who comes back listens at another socket of the same name.
        self.socket = None;
        let now = monotonic();
        if self.complained.is_none_or(|last| now > last + COMPLAIN) {
            self.complained = Some(now);
            log::warn!("cannot send to statsd-host: {error}");
        }
    }
}

impl Socket {
    fn connect(to: &StatsdReceiver) -> io::Result<Socket> {
        match to {
            StatsdReceiver::Udp(address) => {
                let any = match address {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Ok(Socket::Udp(socket))
            }
            StatsdReceiver::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let sent = match self {
            Socket::Udp(socket) => socket.send(datagram),
            Socket::Unix(socket) => socket.send(datagram),
        };
        match sent {
            // One that nobody took before this one: by UDP nobody may be there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match self {
                Socket::Udp(_) => Ok(()),
                Socket::Unix(_) => Err(error),
            },
            // Its queue is full: this one is lost, and the next may not be.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent.map(drop),
        }
    }
}
