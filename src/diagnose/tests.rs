//! What is said of a worker, in tables.

use ferricorn_base::Peer;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn request(line: &[u8], started: Duration, streaming: bool) -> RequestView {
    RequestView {
        line: line.to_vec(),
        peer: Peer::Tcp("127.0.0.1:4711".parse().unwrap()),
        id: "0123".to_owned(),
        started_us: started.as_micros() as u64,
        ended_us: 0,
        status: 0,
        deadline_us: None,
        tid: 0,
        streaming,
    }
}

fn view(heartbeat: Duration, in_flight: Vec<RequestView>) -> SeatView {
    SeatView {
        heartbeat_us: heartbeat.as_micros() as u64,
        in_flight,
        ..SeatView::default()
    }
}

fn patience(timeout: u32, longest: u32) -> Patience {
    Patience {
        timeout: timeout * SECOND,
        longest: longest * SECOND,
        heartbeat: 30 * SECOND,
        threads: 1,
    }
}

/// Which deadline a worker that was not told to go is past.
fn overdue(view: &SeatView, patience: Patience, pauses: &Pauses, now: Moment) -> Option<Overdue> {
    let late = late(view, patience, pauses, now).len();
    super::overdue(view, late, false, patience, pauses, now)
}

/// A worker may grant more, or less, than `timeout`, but no more than its master does.
#[test]
fn a_deadline_of_its_own_holds_up_to_the_longest_time() {
    let now = 100 * SECOND;
    let late = |deadline: u64, timeout: u32, longest: u32| {
        let mut request = request(b"GET /", 50 * SECOND, false);
        request.deadline_us = Some(deadline);
        overdue(
            &view(now, vec![request]),
            patience(timeout, longest),
            &Pauses::default(),
            now,
        )
        .is_some()
    };
    let at = |second: u32| (second * SECOND).as_micros() as u64;
    assert!(!late(at(101), 30, 60) && late(at(99), 30, 60));
    assert!(late(at(99), 90, 90), "less than timeout");
    assert!(late(at(101), 30, 49), "more than is granted");
    assert!(late(u64::MAX, 30, 49));
    assert!(!late(u64::MAX, 30, 0), "a mount without a limit");
}

#[test]
fn a_request_is_late_after_timeout_and_a_stream_never() {
    let now = 100 * SECOND;
    let late = |started: u32, streaming, timeout: u32| {
        let view = view(now, vec![request(b"GET /", started * SECOND, streaming)]);
        overdue(&view, patience(timeout, 0), &Pauses::default(), now)
    };
    assert_eq!(late(69, false, 30), Some(Overdue::Request));
    assert_eq!(late(71, false, 30), None);
    assert_eq!(late(1, true, 30), None);
    assert_eq!(late(1, false, 0), None);
    assert_eq!(
        late(200, false, 30),
        None,
        "a start in the future is no age"
    );
}

#[test]
fn a_silent_loop_is_overdue_unless_a_handler_runs_or_it_never_turned() {
    let now = 100 * SECOND;
    let silent = |view: SeatView| overdue(&view, patience(200, 0), &Pauses::default(), now);
    assert_eq!(silent(view(69 * SECOND, vec![])), Some(Overdue::Heartbeat));
    assert_eq!(silent(view(71 * SECOND, vec![])), None);
    assert_eq!(silent(view(Duration::ZERO, vec![])), None);
    let busy = vec![request(b"GET /", 60 * SECOND, false)];
    assert_eq!(silent(view(60 * SECOND, busy)), None);
    let streams = vec![request(b"GET /", 60 * SECOND, true)];
    assert_eq!(silent(view(60 * SECOND, streams)), Some(Overdue::Heartbeat));
}

/// What the machine slept for is nobody's time, and what comes after it is.
#[test]
fn nobody_is_past_a_deadline_because_nothing_ran() {
    let now = 100 * SECOND;
    let mut pauses = Pauses::default();
    pauses.add(40 * SECOND, 95 * SECOND);
    let found = |view: SeatView, timeout| overdue(&view, patience(timeout, 60), &pauses, now);
    let asks = |started: u32, deadline: Option<u32>| {
        let mut request = request(b"GET /", started * SECOND, false);
        request.deadline_us = deadline.map(|second| (second * SECOND).as_micros() as u64);
        found(view(now, vec![request]), 30)
    };
    assert_eq!(
        (asks(50, None), asks(29, None)),
        (None, Some(Overdue::Request))
    );
    assert_eq!(asks(50, Some(61)), None);
    assert_eq!(asks(50, Some(59)), Some(Overdue::Request));
    assert_eq!(found(view(35 * SECOND, vec![]), 30), None);
    assert_eq!(
        found(view(25 * SECOND, vec![]), 30),
        Some(Overdue::Heartbeat)
    );
}

/// Handlers of a worker with four threads, by when they began; and whether they may take longer.
fn threads(starts: &[(u32, bool)]) -> SeatView {
    let requests = starts.iter().enumerate().map(|(n, (started, granted))| {
        let mut request = request(format!("GET /{n}").as_bytes(), *started * SECOND, false);
        request.tid = 100 + n as u32;
        request.deadline_us = granted.then_some(u64::MAX);
        request
    });
    SeatView {
        connections: 10,
        ..view(100 * SECOND, requests.collect())
    }
}

#[test]
fn each_request_of_a_worker_has_its_own_time_and_the_others_go_on() {
    let now = 100 * SECOND;
    let patience = Patience {
        threads: 4,
        ..patience(30, 60)
    };
    let pauses = Pauses::default();
    for (starts, expected, lines) in [
        (&[(80, false), (95, false)][..], None, &[][..]),
        (
            &[(95, false), (69, false), (90, false)],
            Some(Overdue::Thread),
            &["GET /1"],
        ),
        (
            &[(60, true), (50, false), (39, true), (99, false)],
            Some(Overdue::Thread),
            &["GET /1", "GET /2"],
        ),
        // Nothing goes on.
        (
            &[(60, false), (50, false), (61, false), (69, false)],
            Some(Overdue::Request),
            &["GET /0", "GET /1", "GET /2", "GET /3"],
        ),
    ] {
        let view = threads(starts);
        let late = late(&view, patience, &pauses, now);
        let found: Vec<_> = late.iter().map(|r| line(&r.line)).collect();
        assert_eq!(found, lines, "{starts:?}");
        assert_eq!(
            overdue(&view, patience, &pauses, now),
            expected,
            "{starts:?}"
        );
    }
}

#[test]
fn a_worker_that_leaves_and_has_nothing_but_what_hangs_does_not_wait_for_it() {
    let now = 100 * SECOND;
    let patience = Patience {
        threads: 4,
        ..patience(30, 60)
    };
    let found = |connections, starts: &[(u32, bool)], leaving| {
        let mut view = threads(starts);
        view.connections = connections;
        let pauses = Pauses::default();
        let late = late(&view, patience, &pauses, now).len();
        super::overdue(&view, late, leaving, patience, &pauses, now)
    };
    let hung = &[(60, false), (50, false)][..];
    assert_eq!(found(2, hung, true), Some(Overdue::Request));
    assert_eq!(found(2, hung, false), Some(Overdue::Thread));
    assert_eq!(found(3, hung, true), Some(Overdue::Thread));
    let others = &[(60, false), (90, false)][..];
    assert_eq!(found(1, others, true), Some(Overdue::Thread));
}

#[test]
fn a_loop_with_threads_is_silent_unless_all_are_in_handlers() {
    let now = 100 * SECOND;
    let patience = Patience {
        threads: 2,
        ..patience(200, 0)
    };
    for (requests, expected) in [(0, true), (1, true), (2, false)] {
        let starts = vec![(90, false); requests];
        let mut view = threads(&starts);
        view.heartbeat_us = 1_000_000;
        let found = overdue(&view, patience, &Pauses::default(), now);
        assert_eq!(found == Some(Overdue::Heartbeat), expected, "{requests}");
    }
}

#[test]
fn what_is_meant_is_named_first_and_the_others_beside_it() {
    let now = 100 * SECOND;
    let view = threads(&[(99, false), (69, false), (98, false)]);
    let words = |line: &'static [u8]| serving(&view, |r| r.line == line, now);
    assert_eq!(
        words(b"GET /1"),
        " while serving GET /1 from 127.0.0.1:4711 for 31.0 s (id 0123) beside \
         GET /0 from 127.0.0.1:4711 for 1.0 s (id 0123); \
         GET /2 from 127.0.0.1:4711 for 2.0 s (id 0123)"
    );
    assert!(words(b"GET /9").starts_with(" while serving GET /0"));
    assert!(!words(b"GET /9").contains("beside"));
}

#[test]
fn a_crash_is_of_the_request_of_its_thread() {
    let words = |tid: u32| LastWords {
        tid,
        ..LastWords::default()
    };
    let mut of = request(b"GET /", SECOND, false);
    for (has, says, streaming, expected) in [
        (7, 7, false, true),
        (7, 7, true, true),
        (7, 8, false, false),
        // The first thread has the number of the process.
        (0, 4, false, true),
        (0, 4, true, false),
        (0, 0, false, false),
        (0, 9, false, false),
    ] {
        (of.tid, of.streaming) = (has, streaming);
        assert_eq!(
            is_with(&of, &words(says), 4),
            expected,
            "{has} {says} {streaming}"
        );
    }
}

#[test]
fn requests_are_named_escaped_and_bounded() {
    let now = 100 * SECOND;
    let nasty = request(b"GET /\n[2026] \x1b[31m \\ \xff", 90 * SECOND, false);
    let words = requests(&view(now, vec![nasty]), now);
    assert_eq!(
        words,
        ["GET /\\x0a[2026] \\x1b[31m \\\\ \\xff from 127.0.0.1:4711 for 10.0 s (id 0123)"]
    );
    let many = (0..50)
        .map(|_| request(&[b'x'; 5000], now, false))
        .collect();
    let words = requests(&view(now, many), now);
    assert_eq!(words.len(), LISTED + 1);
    assert_eq!(words[LISTED], "42 more");
    assert!(words[0].len() < LINE + 100);
    assert_eq!(serving(&view(now, vec![]), |_| true, now), "");
}

#[test]
fn an_obituary_tells_who_did_it() {
    let killed = Ending::Signal(libc::SIGKILL);
    for (ending, fate, sent, oom, words, well) in [
        (
            Ending::Code(0),
            Some(Fate::Surplus),
            None,
            None,
            "exited (fewer workers are wanted)",
            true,
        ),
        (
            Ending::Code(0),
            None,
            None,
            None,
            "exited with code 0 without being told to",
            false,
        ),
        (
            Ending::Code(1),
            None,
            None,
            None,
            "exited with code 1",
            false,
        ),
        (
            killed,
            None,
            None,
            None,
            "was killed by SIGKILL from outside",
            false,
        ),
        (
            killed,
            None,
            None,
            Some("evidence"),
            "was killed by the OOM killer (evidence)",
            false,
        ),
        (
            killed,
            Some(Fate::RequestTimeout),
            Some(Signal::Kill),
            Some("not ours"),
            "was killed by SIGKILL from us: it has a request past timeout",
            false,
        ),
        (
            Ending::Signal(libc::SIGSEGV),
            None,
            None,
            None,
            "was killed by SIGSEGV",
            false,
        ),
        (
            Ending::Signal(libc::SIGRTMIN() + 3),
            Some(Fate::Replaced),
            None,
            None,
            "was killed by SIGRTMIN+3",
            false,
        ),
    ] {
        let end = End {
            ending,
            fate,
            sent,
            oom,
            last: None,
            pid: None,
        };
        assert_eq!(obituary(end), (words.to_owned(), well));
    }
}

#[test]
fn a_worker_that_could_say_so_is_believed_about_the_cause() {
    let words = |ending, last: LastWords| {
        let end = End {
            ending,
            fate: None,
            sent: None,
            oom: None,
            last: Some(&last),
            pid: Some(7),
        };
        obituary(end).0
    };
    let last = |signal, code, address| LastWords {
        signal: Some(signal),
        code,
        address,
        thread: "stream".to_owned(),
        ..LastWords::default()
    };
    let sent = |signal, sender| LastWords {
        sender,
        thread: "ferricorn: work".to_owned(),
        ..last(signal, libc::SI_USER, 0)
    };
    let overflow = LastWords {
        overflow: true,
        ..last(libc::SIGSEGV, 1, 0x7000)
    };
    let exit = LastWords {
        thread: "\n\u{1b}".to_owned(),
        ..LastWords::default()
    };
    let by = Ending::Signal;
    for (ending, last, expected) in [
        (
            by(libc::SIGSEGV),
            last(libc::SIGSEGV, 1, 0x10),
            "was killed by SIGSEGV: nothing is mapped at 0x10 in thread stream",
        ),
        (
            by(libc::SIGSEGV),
            overflow.clone(),
            "was killed by SIGSEGV: the stack has overflowed in thread stream",
        ),
        (
            by(libc::SIGALRM),
            overflow,
            "was killed by SIGALRM after SIGSEGV: the stack has overflowed in thread stream",
        ),
        (
            by(libc::SIGABRT),
            sent(libc::SIGABRT, 7),
            "was killed by SIGABRT: raised by the worker itself",
        ),
        (
            by(libc::SIGABRT),
            sent(libc::SIGABRT, 8),
            "was killed by SIGABRT: sent by process 8",
        ),
        (
            by(libc::SIGABRT),
            sent(libc::SIGABRT, u64::MAX),
            "was killed by SIGABRT",
        ),
        (
            Ending::Code(9),
            exit,
            "exited with code 9: its application called exit(3) in thread \\x0a\\x1b",
        ),
    ] {
        assert_eq!(words(ending, last), expected);
    }
}

#[test]
fn whereabouts_of_this_process_and_of_nobody() {
    let pid = std::process::id() as i32;
    let words = |thread: Thread| whereabouts(thread, None, Duration::ZERO);
    assert!(words(Thread::first(pid)).starts_with("state "));
    assert_eq!(words(Thread::first(-1)), "state unknown");
    // Whatever a worker says, it is among its own threads.
    assert_eq!(words(Thread::with(pid, 1)), "state unknown");
    let (told, tid) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let named = std::thread::Builder::new().name("h\u{7}2".to_owned());
    let running = named.spawn(move || {
        let stat = std::fs::read_link("/proc/thread-self").unwrap();
        let tid = stat.file_name().unwrap().to_str().unwrap().parse().unwrap();
        told.send(tid).unwrap();
        let _ = stopped.recv();
    });
    let found = words(Thread::with(pid, tid.recv().unwrap()));
    assert!(found.starts_with("thread h\\x072, state "), "{found}");
    drop(stop);
    running.unwrap().join().unwrap();
}

#[test]
fn a_request_line_is_shown_without_its_query_unless_that_is_asked_for() {
    for (bytes, queries, method, target) in [
        (&b"GET /a?token=x"[..], false, "GET", "/a"),
        (b"GET /a?token=x", true, "GET", "/a?token=x"),
        (b"GET http://h/a?b?c", false, "GET", "http://h/a"),
        (b"GET ?", false, "GET", ""),
        (b"OPTIONS *", false, "OPTIONS", "*"),
        (b"GET", false, "GET", ""),
        (b"", true, "", ""),
        (
            b"GET /\x1b[2J\xff<b>\\",
            false,
            "GET",
            "/\\x1b[2J\\xff<b>\\\\",
        ),
    ] {
        let expected = (method.to_owned(), target.to_owned());
        assert_eq!(request_line(bytes, queries), expected);
    }
    let long = [b"GET /".to_vec(), vec![b'a'; 400]].concat();
    let (_, target) = request_line(&long, false);
    assert!(target.ends_with("aaa...") && target.len() < 256, "{target}");
}
