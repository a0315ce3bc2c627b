//! What a user writes: an application, its handlers, and closures as both.

use crate::Error;
use crate::request::Request;
use crate::response::{IntoResponse, Response};
use crate::seat::Seat;
use crate::task::Task;

/// An application. It is made in `main`, before anything else happens; keep that cheap.
pub trait App: Send + Sync + 'static {
    /// What serves its requests.
    type Handler: Handler;

    /// What all workers could share. In each worker, before [`App::boot`]; with `preload` once, in
    /// the mold from which the workers are forked, where it must leave no thread behind, and open
    /// nothing that they may not share.
    ///
    /// # Errors
    /// The reason why it cannot be loaded: the worker exits with 4.
    fn load(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// In the worker, once per handler thread, after privileges are dropped.
    ///
    /// # Errors
    /// The reason why it cannot serve: the worker exits with 3.
    fn boot(&self, seat: &Seat) -> Result<Self::Handler, Error>;
}

/// Serves requests on one thread. `&mut self`: a database connection is a plain field.
pub trait Handler: 'static {
    /// Sees the head before the body is read. Most handlers leave this alone.
    ///
    /// # Errors
    /// As [`Handler::handle`].
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let _ = request;
        Ok(Begin::Buffer)
    }

    /// The body is complete: in memory up to `body-buffer`, beyond it in an unlinked temporary
    /// file. It never waits for the client.
    ///
    /// # Errors
    /// Anything: the client gets a 500 with a generic body, the log gets the detail.
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error>;

    /// Between requests, when nothing waits. Where a worker has several handlers, it is called of one of
    /// them, on the thread that has the event loop then.
    fn idle(&mut self) {}
}

/// What a handler decides from the head alone. More ways may come.
#[derive(Debug)]
#[non_exhaustive]
pub enum Begin {
    /// Read the body, then call [`Handler::handle`].
    Buffer,
    /// Answer now, without the body: a refusal, or a [`crate::Body::stream`] that reads it itself.
    Respond(Response),
    /// Somebody else answers: the worker's loop drives this, and is held up by nothing.
    Task(Box<dyn Task>),
}

/// A closure is an application: each worker has a clone.
impl<F, R> App for F
where
    F: Fn(&mut Request) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    type Handler = Closure<F>;

    fn boot(&self, _: &Seat) -> Result<Closure<F>, Error> {
        Ok(Closure(self.clone()))
    }
}

/// The handler of a closure.
#[derive(Clone, Debug)]
pub struct Closure<F>(F);

impl<F, R> Handler for Closure<F>
where
    F: Fn(&mut Request) -> R + 'static,
    R: IntoResponse + 'static,
{
    #[inline]
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        (self.0)(request).into_response()
    }
}

/// A handler whose type is forgotten, as mounts hold it.
impl Handler for Box<dyn Handler> {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        (**self).begin(request)
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        (**self).handle(request)
    }

    fn idle(&mut self) {
        (**self).idle();
    }
}

/// An application whose type is forgotten: what a registry holds.
pub struct BoxApp(Box<dyn DynApp>);

impl BoxApp {
    /// Forgets the type of `app`.
    pub fn new(app: impl App) -> BoxApp {
        BoxApp(Box::new(app))
    }
}

impl App for BoxApp {
    type Handler = Box<dyn Handler>;

    fn load(&mut self) -> Result<(), Error> {
        self.0.load()
    }

    fn boot(&self, seat: &Seat) -> Result<Box<dyn Handler>, Error> {
        self.0.boot(seat)
    }
}

impl std::fmt::Debug for BoxApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxApp")
    }
}

trait DynApp: Send + Sync {
    fn load(&mut self) -> Result<(), Error>;
    fn boot(&self, seat: &Seat) -> Result<Box<dyn Handler>, Error>;
}

impl<A: App> DynApp for A {
    fn load(&mut self) -> Result<(), Error> {
        App::load(self)
    }

    fn boot(&self, seat: &Seat) -> Result<Box<dyn Handler>, Error> {
        Ok(Box::new(App::boot(self, seat)?))
    }
}
