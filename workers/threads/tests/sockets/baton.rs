//! What handler threads are for: requests in handlers at once, and a loop that goes on beside them.

use std::cell::Cell;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ferricorn_base::board::Counter;
use ferricorn_base::lifeline::{Retirement, Up};
use ferricorn_base::{App, Error, Exit, Handler, Request, Response, Seat};

use crate::class::THREADS;
use crate::client::Client;
use crate::server::{Gate, Server, Setup, eventually, logged};

/// An application whose `/wait…` waits until the gate opens; every path is answered with itself.
fn gated(gate: &Gate) -> impl App + Clone + use<> {
    let gate = gate.clone();
    move |request: &mut Request| {
        if request.path().starts_with("/wait") {
            gate.pass();
        }
        if request.path().starts_with("/wait/panic") {
            panic!("in a handler that lasts");
        }
        let mut text = request.path().to_owned();
        request.body_mut().read_to_string(&mut text)?;
        Ok::<_, Error>(text)
    }
}

/// A server with this many requests in its handlers.
fn busy(gate: &Gate, requests: usize) -> (Server, Vec<Client>) {
    let server = Setup::new().serve(gated(gate));
    let clients = fill(&server, gate, requests);
    (server, clients)
}

/// Puts this many requests into handlers.
fn fill(server: &Server, gate: &Gate, requests: usize) -> Vec<Client> {
    let clients = (0..requests).map(|n| server.get(&format!("/wait/{n}")));
    let clients = clients.collect();
    gate.reached(requests);
    clients
}

/// A connection that the server has: a busy one takes no more.
fn kept(server: &Server) -> Client {
    let mut client = server.get("/kept");
    assert_eq!(client.reply().text(), "/kept");
    client
}

fn answered(clients: Vec<Client>) {
    for (n, mut client) in clients.into_iter().enumerate() {
        assert_eq!(client.reply().text(), format!("/wait/{n}"));
        // Its connection goes on.
        client.get("/after");
        assert_eq!(client.reply().text(), "/after");
    }
}

#[test]
fn who_waits_in_handlers_delays_nobody() {
    let gate = Gate::new();
    let (server, waiting) = busy(&gate, THREADS - 1);
    for _ in 0..20 {
        assert_eq!(server.get("/new").reply().text(), "/new");
    }
    let mut client = server.connect();
    for n in 0..100 {
        let path = format!("/kept/{n}");
        client.get(&path);
        assert_eq!(client.reply().text(), path);
    }
    let lines: Vec<_> = server.view(0).in_flight;
    assert_eq!(lines.len(), THREADS - 1, "{lines:?}");
    gate.open();
    answered(waiting);
}

#[test]
fn what_no_thread_is_free_for_waits_and_is_answered_in_its_turn() {
    let gate = Gate::new();
    let server = Setup::new().serve(gated(&gate));
    let mut old = kept(&server);
    let waiting = fill(&server, &gate, THREADS);
    let later: Vec<Client> = (0..5).map(|n| server.get(&format!("/later/{n}"))).collect();
    old.post("/old", "a body");
    old.assert_quiet(Duration::from_millis(50));
    gate.open();
    assert_eq!(old.reply().text(), "/olda body");
    for (n, mut client) in later.into_iter().enumerate() {
        assert_eq!(client.reply().text(), format!("/later/{n}"));
    }
    answered(waiting);
}

#[test]
fn the_loop_goes_on_while_all_threads_are_busy() {
    let gate = Gate::new();
    let server = Setup::new()
        .conf(|conf| conf.deadlines.head = Duration::from_millis(200))
        .serve(gated(&gate));
    let mut slow = server.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n");
    eventually("it is here", || server.connections(0) == 1);
    let waiting = fill(&server, &gate, THREADS);
    let turns = server.board.turns(0);
    // Its time is over, whoever is busy.
    assert_eq!(slow.reply().status, 408);
    assert!(server.board.turns(0) > turns);
    assert!(
        !server.board.is_accepting(0),
        "siblings are to take what comes"
    );
    gate.open();
    answered(waiting);
    eventually("it accepts again", || server.board.is_accepting(0));
}

#[test]
fn a_new_connection_goes_to_the_worker_with_a_free_thread() {
    let gate = Gate::new();
    let server = Setup::new().workers(2).serve(gated(&gate));
    let mut waiting: Vec<Client> = Vec::new();
    // Until one of them is busy with all its threads.
    while (0..2).all(|seat| server.board.is_accepting(seat)) {
        waiting.push(server.get(&format!("/wait/{}", waiting.len())));
        gate.reached(waiting.len());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(waiting.len() < 2 * THREADS);
    for _ in 0..20 {
        assert_eq!(server.get("/new").reply().text(), "/new");
    }
    gate.open();
    answered(waiting);
}

#[test]
fn answers_keep_the_order_of_a_pipeline() {
    let gate = Gate::new();
    let server = Setup::new().serve(gated(&gate));
    let mut client = server.connect();
    client.send(
        "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /wait/second HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /third HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    gate.reached(1);
    assert_eq!(server.get("/beside").reply().text(), "/beside");
    // Comes while the handler of the second runs.
    client.get("/fourth");
    assert_eq!(server.get("/beside").reply().text(), "/beside");
    gate.open();
    for path in ["/first", "/wait/second", "/third", "/fourth"] {
        assert_eq!(client.reply().text(), path);
    }
}

#[test]
fn what_comes_while_a_handler_runs_is_not_missed() {
    let gate = Gate::new();
    let (server, mut waiting) = busy(&gate, 2);
    waiting[0].get("/next");
    waiting[1].finish();
    // The loop has seen both.
    assert_eq!(server.get("/beside").reply().text(), "/beside");
    gate.open();
    assert_eq!(waiting[0].reply().text(), "/wait/0");
    assert_eq!(waiting[0].reply().text(), "/next");
    assert_eq!(waiting[1].reply().text(), "/wait/1");
    waiting[1].assert_closed();
    eventually("all are gone but one", || server.connections(0) == 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_takes_nobody_along() {
    let gate = Gate::new();
    let server = Setup::new().serve(gated(&gate));
    let mut held = kept(&server);
    let waiting = fill(&server, &gate, THREADS);
    held.get("/held");
    for client in waiting {
        client.reset();
    }
    held.reset();
    gate.open();
    for _ in 0..10 {
        assert_eq!(server.get("/new").reply().text(), "/new");
    }
    eventually("their connections are gone", || server.connections(0) == 0);
}

/// Twice as many as there are threads ask again and again, and a new one gets its turn.
#[test]
fn who_comes_anew_is_not_kept_out_by_those_who_are_there() {
    let server = Setup::new().serve(|request: &mut Request| {
        if request.path() == "/slow" {
            thread::sleep(Duration::from_millis(5));
        }
        request.path().to_owned()
    });
    let (over, busy) = (AtomicUsize::new(0), 2 * THREADS + 2);
    let clients: Vec<Client> = (0..busy).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for mut client in clients {
            let over = &over;
            scope.spawn(move || {
                let mut rounds = 0;
                while over.load(Ordering::SeqCst) == 0 {
                    client.get("/slow");
                    assert_eq!(client.reply().text(), "/slow");
                    rounds += 1;
                    assert!(rounds < 2000, "nobody new was served meanwhile");
                }
            });
        }
        eventually("they are busy", || !server.board.is_accepting(0));
        for _ in 0..3 {
            assert_eq!(server.get("/new").reply().text(), "/new");
        }
        over.store(1, Ordering::SeqCst);
    });
}

/// Handlers that each last for some milliseconds run on all threads, and not one after the other as fast as
/// the watch looks.
#[test]
fn threads_that_are_all_in_use_are_in_use_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, all) = (Arc::clone(&now), Arc::clone(&most));
    let server = Setup::new().serve(move |_: &mut Request| {
        all.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(2));
        inside.fetch_sub(1, Ordering::SeqCst);
        "well"
    });
    let connect = || server.connect();
    let clients: Vec<Client> = (0..2 * THREADS).map(|_| connect()).collect();
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || {
                for _ in 0..100 {
                    client.get("/");
                    assert_eq!(client.reply().text(), "well");
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), THREADS);
}

/// Who hangs where nothing waits is seen, though the loop goes on.
#[test]
fn a_handler_that_hangs_while_nothing_waits_is_on_the_scoreboard() {
    struct Idler(Gate);
    impl Handler for Idler {
        fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
            Ok(Response::new(request.path().to_owned().into()))
        }
        fn idle(&mut self) {
            self.0.pass();
        }
    }
    #[derive(Clone)]
    struct Idle(Gate);
    impl App for Idle {
        type Handler = Idler;
        fn boot(&self, _: &Seat) -> Result<Idler, Error> {
            Ok(Idler(self.0.clone()))
        }
    }
    let gate = Gate::new();
    let server = Setup::new().serve(Idle(gate.clone()));
    assert_eq!(server.get("/first").reply().text(), "/first");
    gate.reached(1);
    let in_flight = server.view(0).in_flight;
    let lines: Vec<_> = in_flight.iter().map(|one| &one.line[..]).collect();
    assert_eq!(lines, [b"(idle)"]);
    assert_eq!(server.get("/second").reply().text(), "/second");
    gate.open();
    eventually("it is over", || server.view(0).in_flight.is_empty());
}

/// What waits for a thread has waited, where that decides who is refused.
#[test]
fn an_overload_of_the_threads_is_one() {
    let server = Setup::new()
        .conf(|conf| {
            conf.shed.target = Duration::from_millis(10);
            conf.shed.interval = Duration::from_millis(50);
        })
        .serve(|_: &mut Request| {
            thread::sleep(Duration::from_millis(10));
            "well"
        });
    let refused = AtomicUsize::new(0);
    let clients: Vec<Client> = (0..8 * THREADS).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for mut client in clients {
            let refused = &refused;
            scope.spawn(move || {
                for _ in 0..1000 {
                    client.get("/");
                    if client.reply().status == 503 {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    if refused.load(Ordering::SeqCst) > 0 {
                        break;
                    }
                }
            });
        }
    });
    assert!(refused.load(Ordering::SeqCst) > 0);
    assert!(server.counter(0, Counter::Shed) > 0);
}

/// The oldest connection brings a request in the moment in which it is to make room, and the worker drains
/// while that is in its handler.
#[test]
fn a_drain_while_a_handler_runs_for_who_was_to_make_room() {
    let gate = Gate::new();
    let mut server = Setup::new()
        .conf(|conf| conf.worker_connections = 2)
        .serve(gated(&gate));
    let (mut first, second) = (kept(&server), kept(&server));
    first.get("/wait/room");
    let mut third = server.get("/third");
    gate.reached(1);
    server.drain(true);
    gate.open();
    assert_eq!(first.reply().text(), "/wait/room");
    assert_eq!(third.reply().text(), "/third");
    drop(second);
    assert!(matches!(server.exit(0), Exit::Done));
}

/// One thread's handler, which no other may touch.
struct Own {
    thread: thread::ThreadId,
    number: usize,
    served: Cell<usize>,
    gone: Arc<AtomicUsize>,
}

impl Drop for Own {
    fn drop(&mut self) {
        assert_eq!(self.thread, thread::current().id());
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler for Own {
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        assert_eq!(self.thread, thread::current().id());
        self.served.set(self.served.get() + 1);
        if request.path() == "/slow" {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Response::new(self.number.to_string().into()))
    }
}

#[derive(Clone, Default)]
struct Owned {
    booted: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

impl App for Owned {
    type Handler = Own;

    fn boot(&self, seat: &Seat) -> Result<Own, Error> {
        self.booted.fetch_add(1, Ordering::SeqCst);
        Ok(Own {
            thread: thread::current().id(),
            number: seat.thread(),
            served: Cell::new(0),
            gone: Arc::clone(&self.gone),
        })
    }
}

#[test]
fn each_thread_has_a_handler_of_its_own_from_boot_to_drop() {
    let app = Owned::default();
    let mut server = Setup::new().serve(app.clone());
    assert_eq!(app.booted.load(Ordering::SeqCst), THREADS);
    let clients: Vec<Client> = (0..4 * THREADS).map(|_| server.get("/slow")).collect();
    let mut numbers: Vec<usize> = clients
        .into_iter()
        .map(|mut client| client.reply().text().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..THREADS).collect::<Vec<_>>(), "all have served");
    server.drain(true);
    assert!(matches!(server.exit(0), Exit::Done));
    assert_eq!(app.gone.load(Ordering::SeqCst), THREADS);
}

#[test]
fn a_handler_that_cannot_be_made_on_one_thread_is_a_worker_that_cannot_boot() {
    #[derive(Clone)]
    struct Failing;
    impl App for Failing {
        type Handler = Own;
        fn boot(&self, seat: &Seat) -> Result<Own, Error> {
            match seat.thread() {
                1 => Err(Error::msg("no second connection to the database")),
                _ => Owned::default().boot(seat),
            }
        }
    }
    let mut server = Setup::new().start(Failing);
    let Up::Failed { reason, .. } = server.report(0) else {
        panic!("it is not ready");
    };
    assert_eq!(reason, "no second connection to the database");
    assert_eq!(server.exit(0).code(), 3);
}

#[test]
fn a_drain_waits_for_handlers_and_for_what_waits_for_them() {
    let gate = Gate::new();
    let mut server = Setup::new().serve(gated(&gate));
    let mut held = kept(&server);
    let mut waiting = fill(&server, &gate, THREADS);
    held.get("/held");
    server.drain(true);
    held.assert_quiet(Duration::from_millis(50));
    gate.open();
    let reply = held.reply();
    assert_eq!((reply.text(), reply.says_close()), ("/held", true));
    for (n, client) in waiting.iter_mut().enumerate() {
        let reply = client.reply();
        assert_eq!(reply.text(), format!("/wait/{n}"));
        assert!(reply.says_close());
    }
    assert!(matches!(server.exit(0), Exit::Done));
}

#[test]
fn what_a_drain_cuts_is_named() {
    let gate = Gate::new();
    let mut server = Setup::new()
        .conf(|conf| conf.deadlines.graceful = Duration::from_millis(500))
        .serve(gated(&gate));
    let mut held = kept(&server);
    let waiting: Vec<Client> = (0..THREADS)
        .map(|n| server.get(&format!("/wait/cut/{n}")))
        .collect();
    gate.reached(THREADS);
    held.get("/held/cut");
    server.drain(true);
    assert_eq!(held.reply().status, 503);
    assert!(matches!(server.exit(0), Exit::Done));
    for n in 0..THREADS {
        logged(&[
            &format!("cut GET /wait/cut/{n} of "),
            "after graceful-timeout",
        ]);
    }
    logged(&["cut GET /held/cut of ", "after graceful-timeout"]);
    gate.open();
    drop(waiting);
}

#[test]
fn a_panic_that_took_long_is_a_500_and_the_worker_retires() {
    let gate = Gate::new();
    let server = Setup::new().serve(gated(&gate));
    let mut failing = server.get("/wait/panic");
    gate.reached(1);
    assert_eq!(server.get("/beside").reply().text(), "/beside");
    gate.open();
    assert_eq!(failing.reply().status, 500);
    assert_eq!(server.report(0), Up::Retiring(Retirement::Panic));
    assert_eq!(server.counter(0, Counter::Panics), 1);
}

/// Whatever the clients do, each answer is that of its request, and nothing is left.
#[test]
fn random_clients_get_the_answers_of_their_requests() {
    let server = Setup::new().serve(|request: &mut Request| {
        let path = request.path().to_owned();
        let ms = path.rsplit('/').next().and_then(|ms| ms.parse().ok());
        if let Some(ms @ 1..) = ms {
            thread::sleep(Duration::from_millis(ms));
        }
        path
    });
    let server = Mutex::new(server);
    let connect = || server.lock().unwrap().connect();
    thread::scope(|scope| {
        for client in 0..12_u64 {
            let connect = &connect;
            scope.spawn(move || {
                let mut random = (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mut next = move |bound: u64| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random % bound
                };
                let mut connection = connect();
                for n in 0..150 {
                    let count = 1 + next(4);
                    let paths: Vec<String> = (0..count)
                        .map(|m| {
                            let ms = if next(10) == 0 { 1 + next(6) } else { 0 };
                            format!("/{client}/{n}/{m}/{ms}")
                        })
                        .collect();
                    for path in &paths {
                        connection.get(path);
                    }
                    if next(20) == 0 {
                        // In the middle, perhaps of a handler.
                        std::mem::replace(&mut connection, connect()).reset();
                        continue;
                    }
                    for path in &paths {
                        assert_eq!(connection.reply().text(), path);
                    }
                    if next(10) == 0 {
                        connection = connect();
                    }
                }
            });
        }
    });
    let server = server.into_inner().unwrap();
    eventually("all are gone", || server.connections(0) == 0);
    assert_eq!(server.view(0).in_flight.len(), 0);
}
