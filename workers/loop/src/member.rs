//! Several threads that turn one loop: each may have it in hand, and runs its own handler then, with the
//! loop laid down. The first thread of the process has no handler. It is the watch, and keeps the loop
//! going when all the others are in handlers: then nothing is accepted, and requests wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferricorn_base::board::Cell;
use ferricorn_base::lifeline::Stage;
use ferricorn_base::sys::breath;
use ferricorn_base::{Context, Error, Exit, Handler, Seat};
use mio::Waker;
use replace_with::replace_with_or_abort_and_return;

use crate::baton::{self, Baton};
use crate::core::{Core, NOBODY};
use crate::event_loop::{Loop, Stop};
use crate::executor::{Errand, Executor};
use crate::protocol::Protocol;

/// Bytes of the stack of a handler thread: those of a process's first thread, by default. What is not
/// used takes no memory.
const STACK: usize = 8 << 20;

/// A handler that lasts so long is worth two switches between threads many times over.
const LASTING: Duration = Duration::from_micros(300);
/// Behind one that lasts, so many are taken for such as well.
const SLOWNESS: u8 = 8;

type Shared<P> = Baton<Box<Core<P>>, Exit>;

/// One of the threads, which may have the loop in hand.
#[derive(Debug)]
pub(crate) struct Member<P: Protocol, H> {
    /// The watch has none, nor is its seat used.
    handler: Option<H>,
    baton: Arc<Shared<P>>,
    seat: Arc<baton::Seat<Box<Core<P>>>>,
    /// Its number, as the scoreboard has it (gettid(2)).
    thread: i32,
    /// Wakes who has the loop and sleeps.
    waker: Arc<Waker>,
    number: usize,
    /// When its handler was called, if the loop was given away for it.
    began: Option<Instant>,
}

impl<P: Protocol, H: Handler> Executor<P> for Member<P, H> {
    type Handler = H;
    type Hand = Box<Core<P>>;

    #[inline]
    fn has_handler(&self) -> bool {
        self.handler.is_some()
    }

    #[inline]
    fn is_free(&self, core: &Core<P>) -> bool {
        self.handler.is_some() && core.held.is_empty()
    }

    #[inline]
    fn is_shared(&self) -> bool {
        true
    }

    #[inline]
    fn is_wanted(&self) -> bool {
        self.baton.is_wanted()
    }

    #[inline]
    fn serves(&self, core: &Core<P>, cell: Cell) {
        core.context.page.name_thread(cell, self.thread);
    }

    #[inline(always)]
    fn run<T: Errand<P, H>>(&mut self, hand: &mut Box<Core<P>>, mut errand: T) -> T::End {
        // The hand is empty meanwhile: a panic in between, which is none of a handler's, ends the process.
        replace_with_or_abort_and_return(hand, |mut core| {
            let key = errand.key();
            core.calling = key;
            if core.slowness == 0 {
                self.baton.lay_down(&self.seat, core);
            } else {
                self.let_go(core);
            }
            let handler = self.handler.as_mut().expect("who calls has a handler");
            let mut result = errand.run(handler);
            let mut core = match self.seat.pick_up() {
                Some(core) => core,
                None => self.line_up(key),
            };
            let (end, hollow) = errand.end(&mut core, &mut result);
            if hollow {
                std::mem::forget(result);
            }
            (end, core)
        })
    }
}

impl<P: Protocol, H: Handler> Member<P, H> {
    /// Gives the loop away before a handler is called: handlers have lasted lately, and each that is waited
    /// for in vain would cost as long as the watch takes.
    #[cold]
    #[inline(never)]
    fn let_go(&mut self, mut core: Box<Core<P>>) {
        core.move_on();
        self.baton.let_go(core);
        self.began = Some(Instant::now());
    }

    /// Waits for the loop, which another thread has, behind a handler.
    #[cold]
    #[inline(never)]
    fn line_up(&mut self, key: usize) -> Box<Core<P>> {
        let began = self.began.take();
        let lasted = began.is_none_or(|began| began.elapsed() >= LASTING);
        let waker = &self.waker;
        let mut core = self.baton.line_up(self.number, || wake(waker));
        if key != NOBODY {
            core.rejoin(key);
        }
        core.slowness = if lasted {
            SLOWNESS
        } else {
            core.slowness.saturating_sub(1)
        };
        core
    }
}

/// Who has the loop wakes at least once a second; a failed wake-up only delays.
fn wake(waker: &Waker) {
    let _ = waker.wake();
}

/// A loop that so many threads turn, each with the handler that `boot` makes there. In the worker; on its
/// first thread, which returns when the worker is to end. Tells the master that it is ready, or which
/// handler could not be made.
pub fn run_threads<P, H>(
    context: Context,
    threads: usize,
    boot: impl Fn(&Seat) -> Result<H, Error> + Send + Sync + 'static,
) -> Exit
where
    P: Protocol,
    H: Handler,
{
    let seats: Vec<Seat> = (0..threads).map(|thread| context.seat(thread)).collect();
    let core = match Core::<P>::new(context) {
        Ok(core) => Box::new(core),
        Err(error) => return Exit::Broken(format!("cannot make the event loop: {error}")),
    };
    let baton = Arc::new(Baton::new(threads));
    let waker = Arc::clone(&core.finished.waker);
    let crew = Crew {
        baton,
        waker,
        boot: Arc::new(boot),
    };
    let (booted, reports) = channel();
    let mut handles = Vec::new();
    for (number, seat) in seats.into_iter().enumerate() {
        let (crew, booted) = (crew.clone(), booted.clone());
        let thread = thread::Builder::new()
            .name(format!("handler-{number}"))
            .stack_size(STACK)
            .spawn(move || crew.live(number, &seat, booted));
        match thread {
            Ok(handle) => handles.push(Some(handle)),
            Err(error) => return Exit::Broken(format!("cannot start a handler thread: {error}")),
        }
    }
    drop(booted);
    if let Err(error) = all_booted(&reports, threads) {
        return core.context.fail(Stage::Boot, &error);
    }
    let exit = crew.keep(core);
    // The others are in handlers, or were about to go on with a request: they are cut.
    for number in crew.baton.resting() {
        // Its handler is dropped now; a panic there was logged.
        let _ = handles[number].take().map(JoinHandle::join);
    }
    exit
}

/// Whether all handlers could be made.
fn all_booted(reports: &Receiver<Result<(), Error>>, threads: usize) -> Result<(), Error> {
    let mut booted = 0;
    for report in reports {
        report?;
        booted += 1;
    }
    if booted < threads {
        return Err(Error::msg("a handler thread ended while it booted"));
    }
    Ok(())
}

/// Ends the worker when a thread panics outside of a handler: the loop may be lost with it.
struct Alarm<'a, P: Protocol>(&'a Shared<P>);

impl<P: Protocol> Drop for Alarm<'_, P> {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = "a thread panicked outside of a handler".to_owned();
            self.0.end(Exit::Broken(text), None);
        }
    }
}

/// What all threads have.
struct Crew<P: Protocol, B> {
    baton: Arc<Shared<P>>,
    waker: Arc<Waker>,
    boot: Arc<B>,
}

impl<P: Protocol, B> Clone for Crew<P, B> {
    fn clone(&self) -> Self {
        Crew {
            baton: Arc::clone(&self.baton),
            waker: Arc::clone(&self.waker),
            boot: Arc::clone(&self.boot),
        }
    }
}

impl<P: Protocol, B> Crew<P, B> {
    fn member<H: Handler>(&self, number: usize, handler: Option<H>, thread: i32) -> Member<P, H> {
        Member {
            handler,
            baton: Arc::clone(&self.baton),
            seat: self.baton.seat(number),
            thread,
            waker: Arc::clone(&self.waker),
            number,
            began: None,
        }
    }

    /// The life of a handler thread.
    fn live<H: Handler>(self, number: usize, seat: &Seat, booted: Sender<Result<(), Error>>)
    where
        B: Fn(&Seat) -> Result<H, Error>,
    {
        // Without it, whom this thread serves is reset when the process dies.
        let _seated = breath::sit(true);
        let handler = match (self.boot)(seat) {
            Ok(handler) => handler,
            Err(error) => return drop(booted.send(Err(error))),
        };
        // Nobody asks any more when another handler could not be made.
        let _ = booted.send(Ok(()));
        drop(booted);
        let mut member = self.member(number, Some(handler), breath::thread());
        let _alarm = Alarm(&self.baton);
        while let Some(core) = self.baton.wait(number, || wake(&self.waker)) {
            member = member.turn_in_hand(core);
        }
    }

    /// The life of the watch: why the worker ends.
    fn keep<H: Handler>(&self, core: Box<Core<P>>) -> Exit
    where
        B: Fn(&Seat) -> Result<H, Error>,
    {
        let mut keeper = Loop {
            hand: core,
            executor: self.member::<H>(0, None, 0),
        };
        let exit = keeper.start();
        let Loop {
            hand: core,
            executor: mut member,
        } = keeper;
        match exit {
            Some(exit) => self.baton.end(exit, None),
            None => member = member.hand_on(core),
        }
        loop {
            match self.baton.watch() {
                Err(exit) => return exit,
                Ok(mut core) => {
                    core.move_on();
                    member = member.hand_on(core);
                }
            }
        }
    }
}

impl<P: Protocol, H: Handler> Member<P, H> {
    /// Gives the loop to a thread with a handler; until there is one, keeps it going.
    fn hand_on(self, core: Box<Core<P>>) -> Self {
        let Some(mut core) = self.baton.pass(core) else {
            return self;
        };
        core.close_doors();
        self.turn_in_hand(core)
    }

    /// Turns the loop until another thread has it, or the worker ends.
    fn turn_in_hand(mut self, core: Box<Core<P>>) -> Self {
        let mut back = Some(core);
        while let Some(hand) = back {
            let mut turned = Loop {
                hand,
                executor: self,
            };
            let stop = turned.turn_on();
            let core = turned.hand;
            self = turned.executor;
            back = match stop {
                Stop::Wanted => self.baton.give_way(core),
                Stop::Over(exit) => {
                    drop(core);
                    let me = self.handler.as_ref().map(|_| self.number);
                    self.baton.end(exit, me);
                    None
                }
            };
        }
        self
    }
}
