//! What the aide does beside answering: what is due each second, and what comes by itself.

use std::fmt;
use std::os::fd::BorrowedFd;

use ferricorn_base::Conf;

use crate::Inquiry;
use crate::statsd::Statsd;

/// Something that the aide looks after, on its own thread. It must never wait for anybody, but where it has
/// to ask the master ([`Inquiry::look`]).
pub trait Duty: fmt::Debug {
    /// A descriptor to wait on until it can be read; none when nothing comes by itself.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// There is something to be read at [`Duty::fd`].
    fn readable(&mut self) {}

    /// A second has passed.
    fn tick(&mut self, server: &Inquiry);

    /// The aide ends; what is to be said has to be said now.
    fn end(&mut self, server: &Inquiry) {
        self.tick(server);
    }
}

/// Those that the configuration asks for.
pub(crate) fn duties(conf: &Conf, server: &Inquiry) -> Vec<Box<dyn Duty>> {
    let statsd = conf.statsd.clone();
    // What came before was sent by an aide that was there before.
    let statsd = statsd.map(|conf| Statsd::new(conf, server.board().totals()));
    let statsd = statsd.map(|duty| Box::new(duty) as Box<dyn Duty>);
    statsd.into_iter().collect()
}
