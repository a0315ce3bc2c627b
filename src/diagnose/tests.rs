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
    }
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
    assert_eq!(serving(&view(now, vec![]), now), "");
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
    assert!(whereabouts(pid, None, Duration::ZERO).starts_with("state "));
    assert_eq!(whereabouts(-1, None, Duration::ZERO), "state unknown");
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
