//! Hooks: code of the program at the turns of a server's life, under Gunicorn's names.
//!
//! Those of the master run in the one thread that supervises: whoever waits there makes all wait. A
//! panic in a hook is a line in the log and nothing else.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::task::{Step, Task, Turn};
use crate::{Error, Exit, Handler, Request, Response};

/// A worker, as hooks are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whom {
    /// The stable number of its place; its successor has the same.
    pub slot: usize,
    /// Its process; 0 before there is one.
    pub pid: i32,
    /// The number of its generation: a reload makes the next one.
    pub generation: u64,
}

/// How a worker has ended, as the master saw it.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The exit code, where it exited.
    pub code: Option<i32>,
    /// The signal's number, where one has ended it.
    pub signal: Option<i32>,
    /// In words, as in the log: "exited (replaced by a reload)", "was killed by SIGSEGV".
    pub reason: &'a str,
    /// Whether it is as the master wanted it.
    pub expected: bool,
}

/// What a program does at the turns of a server's life. All of them do nothing by default.
///
/// Each says in which process it runs. State that one hook leaves for another is there in the same
/// process only: a worker has a copy of what the master had when it was forked. Hooks of the **master**
/// run with its rights, may be root's, on its one thread: keep them short, start no thread, open nothing
/// that a worker should not inherit. A reload executes the program anew in the same process, so the
/// hooks of the next image are new ones, too. The program that a reload puts on trial runs the hooks of
/// its worker and none of the master's.
///
/// In a worker with several handler threads, `pre_request` and `post_request` run on the thread of their
/// request, and one hook runs at a time: whoever waits in one makes every thread of the worker wait that
/// comes to the next, and one that hangs is past `timeout` with all of them. What may take its time belongs into
/// the handler. The other hooks of a worker run on its first thread.
///
/// The names are those of Gunicorn's server hooks; what differs from there is said.
pub trait Hooks: Send + 'static {
    /// **Master**: the server begins, before it listens. Not after a reload.
    fn on_starting(&mut self) {}

    /// **Master**: a reload was proved and has executed the program; nobody was made of it yet.
    fn on_reload(&mut self) {}

    /// **Master**: it listens, and makes its first workers next.
    fn when_ready(&mut self) {}

    /// **Master**: a worker is to be forked, or with `preload` ordered from the mold. It has no pid yet.
    fn pre_fork(&mut self, worker: Whom) {
        let _ = worker;
    }

    /// **Worker**: it was forked, and has no more than a worker has: other than with Gunicorn,
    /// privileges are dropped by now. The application is not loaded, but with `preload`.
    fn post_fork(&mut self, worker: Whom) {
        let _ = worker;
    }

    /// **Worker**: the application is booted, and it serves next.
    fn post_worker_init(&mut self, worker: Whom) {
        let _ = worker;
    }

    /// **Worker**: it was told to end at once, by its master or by INT or QUIT.
    fn worker_int(&mut self, worker: Whom) {
        let _ = worker;
    }

    /// **Master**: a worker hangs and is sent SIGABRT next, `why` in words. Other than with Gunicorn it
    /// does not run in the worker, which hangs: only a signal handler runs there, where next to nothing
    /// is allowed (signal-safety(7)).
    fn worker_abort(&mut self, worker: Whom, why: &str) {
        let _ = (worker, why);
    }

    /// **Master**: a proved program is executed next, for a reload or, in a child, as a second master.
    fn pre_exec(&mut self) {}

    /// **Worker**: the head of a request is there, before the handler sees it.
    fn pre_request(&mut self, request: &mut Request) {
        let _ = request;
    }

    /// **Worker**: the handler has answered, or failed; a stream is yet to come. Not after a panic.
    fn post_request(&mut self, request: &Request, answer: Result<&Response, &Error>) {
        let _ = (request, answer);
    }

    /// **Master**: a worker has ended and was reaped. Gunicorn does not tell how.
    fn child_exit(&mut self, worker: Whom, how: Ended<'_>) {
        let _ = (worker, how);
    }

    /// **Worker**: it ends now, for this reason. Not when it is killed, or exits by itself.
    fn worker_exit(&mut self, worker: Whom, why: &Exit) {
        let _ = (worker, why);
    }

    /// **Master**: another number of workers is wanted than before; `old` is `None` at the start.
    fn nworkers_changed(&mut self, new: usize, old: Option<usize>) {
        let _ = (new, old);
    }

    /// **Master**: it exits next, all workers have gone.
    fn on_exit(&mut self) {}
}

/// The hooks of a program, if it has any.
#[derive(Clone, Default)]
pub struct Hooked(Option<Arc<Mutex<dyn Hooks>>>);

impl Hooked {
    /// With these hooks.
    pub fn new(hooks: impl Hooks) -> Hooked {
        Hooked(Some(Arc::new(Mutex::new(hooks))))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Runs one of them; `name` is for the log, should it panic.
    pub fn call(&self, name: &str, run: impl FnOnce(&mut dyn Hooks)) {
        let Some(hooks) = &self.0 else {
            return;
        };
        let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if catch_unwind(AssertUnwindSafe(|| run(&mut *hooks))).is_err() {
            log::error!("the hook {name} panicked");
        }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "no hooks" } else { "hooks" })
    }
}

/// A handler between [`Hooks::pre_request`] and [`Hooks::post_request`].
pub struct Between {
    handler: Box<dyn Handler>,
    hooks: Hooked,
}

impl Between {
    /// Puts `handler` between them.
    pub fn new(handler: impl Handler, hooks: Hooked) -> Between {
        Between {
            handler: Box::new(handler),
            hooks,
        }
    }

    fn after(&self, request: &Request, answer: Result<&Response, &Error>) {
        after(&self.hooks, request, answer);
    }
}

fn after(hooks: &Hooked, request: &Request, answer: Result<&Response, &Error>) {
    let run = |hooks: &mut dyn Hooks| hooks.post_request(request, answer);
    hooks.call("post_request", run);
}

/// A task between the two: the second is run when the head of its answer is known.
struct BetweenSteps {
    task: Box<dyn Task>,
    /// `None` when it was run.
    hooks: Option<Hooked>,
}

impl BetweenSteps {
    fn after(&mut self, request: &Request, answer: Result<&Response, &Error>) {
        if let Some(hooks) = self.hooks.take() {
            after(&hooks, request, answer);
        }
    }
}

impl Task for BetweenSteps {
    fn needs_whole_body(&self) -> bool {
        self.task.needs_whole_body()
    }

    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        let step = self.task.step(turn);
        match &step {
            Ok(Step::Head(status, fields, _)) => {
                let mut head = Response::default();
                *head.status_mut() = *status;
                *head.headers_mut() = fields.clone();
                self.after(turn.request, Ok(&head));
            }
            Ok(Step::Respond(response)) => self.after(turn.request, Ok(response)),
            Ok(Step::Fail(_, error)) | Err(error) => self.after(turn.request, Err(error)),
            Ok(_) => {}
        }
        step
    }
}

impl Handler for Between {
    fn begin(&mut self, request: &mut Request) -> Result<crate::Begin, Error> {
        self.hooks
            .call("pre_request", |hooks| hooks.pre_request(request));
        let begun = match self.handler.begin(request) {
            Ok(crate::Begin::Task(task)) => {
                let hooks = Some(self.hooks.clone());
                return Ok(crate::Begin::Task(Box::new(BetweenSteps { task, hooks })));
            }
            begun => begun,
        };
        match &begun {
            Ok(crate::Begin::Buffer | crate::Begin::Task(_)) => {}
            Ok(crate::Begin::Respond(response)) => self.after(request, Ok(response)),
            Err(error) => self.after(request, Err(error)),
        }
        begun
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let answer = self.handler.handle(request);
        self.after(request, answer.as_ref());
        answer
    }

    fn idle(&mut self) {
        self.handler.idle();
    }
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

    use super::*;
    use crate::{App, Begin, Seat};

    type Notes = Arc<Mutex<Vec<String>>>;

    struct Noting(Notes);

    impl Hooks for Noting {
        fn pre_request(&mut self, request: &mut Request) {
            self.0.lock().unwrap().push(request.path().to_owned());
        }

        fn post_request(&mut self, _: &Request, answer: Result<&Response, &Error>) {
            let answer = answer.map_or_else(Error::to_string, |r| r.status().to_string());
            self.0.lock().unwrap().push(answer);
        }

        fn on_exit(&mut self) {
            panic!("the test wants it");
        }
    }

    fn between(app: impl App, path: &str) -> (Result<Begin, Error>, Vec<String>) {
        let notes = Notes::default();
        let handler = app.boot(&Seat::default()).unwrap();
        let mut handler = Between::new(handler, Hooked::new(Noting(Arc::clone(&notes))));
        let mut request = Request::build("GET", path, [("Host", "localhost")]).unwrap();
        let begun = handler.begin(&mut request);
        if matches!(begun, Ok(Begin::Buffer)) {
            let _ = handler.handle(&mut request);
        }
        let notes = notes.lock().unwrap().clone();
        (begun, notes)
    }

    #[test]
    fn each_request_is_between_its_hooks() {
        let (_, notes) = between(|_: &mut Request| "well", "/a");
        assert_eq!(notes, ["/a", "200 OK"]);
        let failing = |_: &mut Request| Err::<&str, _>(Error::msg("not well"));
        let (_, notes) = between(failing, "/b");
        assert_eq!(notes, ["/b", "not well"]);
    }

    #[test]
    fn what_begin_decides_is_an_answer() {
        struct Early;
        impl App for Early {
            type Handler = Early;
            fn boot(&self, _: &Seat) -> Result<Early, Error> {
                Ok(Early)
            }
        }
        impl Handler for Early {
            fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
                match request.path() {
                    "/bad" => Err(Error::msg("not well")),
                    _ => Ok(Begin::Respond(Response::default())),
                }
            }
            fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
                unreachable!()
            }
        }
        let (begun, notes) = between(Early, "/good");
        assert!(matches!(begun, Ok(Begin::Respond(_))));
        assert_eq!(notes, ["/good", "200 OK"]);
        let (begun, notes) = between(Early, "/bad");
        assert!(begun.is_err());
        assert_eq!(notes, ["/bad", "not well"]);
    }

    #[test]
    fn a_hook_that_panics_is_called_again() {
        let notes = Notes::default();
        let hooks = Hooked::new(Noting(Arc::clone(&notes)));
        hooks.call("on_exit", |hooks| hooks.on_exit());
        let mut request = Request::build("GET", "/c", [("Host", "localhost")]).unwrap();
        hooks.call("pre_request", |hooks| hooks.pre_request(&mut request));
        assert_eq!(*notes.lock().unwrap(), ["/c"]);
    }
}
