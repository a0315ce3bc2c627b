//! The seam for executors: who has the loop in hand and runs handlers. Inline: one thread, all the time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};

use ferricorn_base::board;
use ferricorn_base::{Begin, Error, Handler, Request, Response, Task};

use crate::core::Core;
use crate::protocol::Protocol;

/// Has a loop in hand, and runs handlers.
pub trait Executor<P: Protocol> {
    /// What it runs.
    type Handler: Handler;

    /// How it holds the loop.
    type Hand: DerefMut<Target = Core<P>> + Debug;

    /// Whether it can run a handler.
    fn has_handler(&self) -> bool;

    /// Whether it can run a handler for a request that comes now: others do not wait for one.
    fn is_free(&self, core: &Core<P>) -> bool;

    /// Whether the loop goes on in other hands while a handler runs.
    fn is_shared(&self) -> bool;

    /// Whether a thread waits for the loop that is to go on with a request.
    fn is_wanted(&self) -> bool;

    /// It runs the handler for the request of this cell next: where there are several at once, the scoreboard
    /// says whose it is.
    #[inline(always)]
    fn serves(&self, _: &Core<P>, _: board::Cell) {}

    /// Runs an errand. What is in `hand` may be in other hands while the application runs.
    fn run<T: Errand<P, Self::Handler>>(&mut self, hand: &mut Self::Hand, errand: T) -> T::End;
}

/// Something that a handler is to do. Neither part of it must panic.
pub trait Errand<P: Protocol, H> {
    /// What the application gives.
    type Result;
    /// What comes of it.
    type End;

    /// The connection for whose request it is, or [`NOBODY`](crate::core::NOBODY).
    fn key(&self) -> usize;

    /// Runs code of the application.
    fn run(&mut self, handler: &mut H) -> Self::Result;

    /// Goes on with what it gave; and whether nothing is left of that which needs to be dropped. It stays where it
    /// is: it may be large, and each move of it a copy.
    fn end(self, core: &mut Core<P>, result: &mut Self::Result) -> (Self::End, bool);
}

/// Handlers run on the loop's one thread.
#[derive(Debug)]
pub struct Inline<H> {
    handler: H,
}

impl<H: Handler> Inline<H> {
    pub(crate) fn new(handler: H) -> Inline<H> {
        Inline { handler }
    }
}

/// A loop that is in one hand for good.
#[derive(Debug)]
pub struct Own<P: Protocol>(Core<P>);

impl<P: Protocol> Own<P> {
    pub(crate) fn new(core: Core<P>) -> Own<P> {
        Own(core)
    }
}

impl<P: Protocol> Deref for Own<P> {
    type Target = Core<P>;

    #[inline(always)]
    fn deref(&self) -> &Core<P> {
        &self.0
    }
}

impl<P: Protocol> DerefMut for Own<P> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Core<P> {
        &mut self.0
    }
}

impl<P: Protocol, H: Handler> Executor<P> for Inline<H> {
    type Handler = H;
    type Hand = Own<P>;

    #[inline(always)]
    fn has_handler(&self) -> bool {
        true
    }

    #[inline(always)]
    fn is_free(&self, _: &Core<P>) -> bool {
        true
    }

    #[inline(always)]
    fn is_shared(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_wanted(&self) -> bool {
        false
    }

    #[inline(always)]
    fn run<T: Errand<P, H>>(&mut self, hand: &mut Own<P>, mut errand: T) -> T::End {
        let mut result = errand.run(&mut self.handler);
        let (end, hollow) = errand.end(hand, &mut result);
        if hollow {
            std::mem::forget(result);
        }
        end
    }
}

/// How a handler failed.
#[derive(Debug)]
pub enum Failure {
    /// It returned an error.
    Error(Error),
    /// It panicked, with this message and place.
    Panic(String),
}

/// What a handler does with a request whose head is complete.
pub(crate) enum Begun {
    /// It answers, as all of the request is here, or fails to.
    Answer(Result<Response, Failure>),
    /// It answers from the head alone. Boxed, so that the usual case is not as large as two responses.
    Early(Box<Response>),
    /// It wants the body first.
    Body,
    /// Somebody else answers.
    Task(Box<dyn Task>),
    /// It failed before that.
    Failed(Failure),
}

/// The handler sees the head and, where nothing follows (`whole`), answers at once.
#[inline]
pub(crate) fn begin(handler: &mut impl Handler, request: &mut Request, whole: bool) -> Begun {
    let begun = guard(|| match handler.begin(request)? {
        Begin::Buffer => Ok(None),
        Begin::Respond(response) => Ok(Some(Begun::Early(Box::new(response)))),
        Begin::Task(task) => Ok(Some(Begun::Task(task))),
        // The enum may grow in the contract; what is not known here is a failure.
        _ => Err(Error::msg("this worker class cannot begin so")),
    });
    match begun {
        Ok(None) if whole => Begun::Answer(handle(handler, request)),
        Ok(None) => Begun::Body,
        Ok(Some(begun)) => begun,
        Err(failure) => Begun::Failed(failure),
    }
}

/// The handler answers.
#[inline]
pub(crate) fn handle(
    handler: &mut impl Handler,
    request: &mut Request,
) -> Result<Response, Failure> {
    guard(|| handler.handle(request))
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}
/// Runs code of the application; a panic in it becomes a [`Failure`]. What the application left
/// half changed it sees again: the worker retires after a panic.
///
/// # Errors
/// What the code failed with.
pub fn guard<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    GUARDED.set(true);
    let result = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(Failure::Error),
        Err(payload) => Err(Failure::Panic(last_words(payload))),
    };
    GUARDED.set(false);
    result
}

/// Drops a value of the application, which may panic in that.
///
/// # Errors
/// That it did.
pub(crate) fn discard<T>(value: T) -> Result<(), Failure> {
    guard(|| {
        drop(value);
        Ok(())
    })
}

/// What a panic said; its payload is the application's as well.
#[cold]
fn last_words(payload: Box<dyn Any + Send>) -> String {
    let place = LAST_PANIC.take();
    let text = place.unwrap_or_else(|| message(&*payload));
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // There would be no end of it.
        std::mem::forget(again);
        LAST_PANIC.set(None);
    }
    text
}

/// Makes panics log lines: those of handlers come with their request, from the loop; others at once.
/// In the worker, before the application is loaded.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let text = match info.location() {
            Some(place) => format!("{} at {place}", message(info.payload())),
            None => message(info.payload()),
        };
        if GUARDED.get() {
            LAST_PANIC.set(Some(text));
        } else {
            let thread = std::thread::current();
            log::error!(
                "thread {} panicked: {text}",
                thread.name().unwrap_or("without a name")
            );
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> String {
    match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => payload
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| "panic".to_owned()),
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Error(error) => error,
            Failure::Panic(text) => Error::msg(format!("panic: {text}")),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(error) => write!(f, "{error:#}"),
            Failure::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}
