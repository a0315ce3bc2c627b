//! Each way in which a worker dies or hangs: the line that the operator reads, and what the client
//! is answered.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::http::{Answer, Client};
use crate::support::{Server, proc, testapp};

fn send(server: &Server, method: &str, path: &str) -> Client<TcpStream> {
    let mut client = Client::connect(server.address()).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: its-name\r\n\r\n");
    client.send(request).unwrap();
    client
}

/// The answer, which is whole and says that no other follows, and the end of the connection after it.
fn answered(client: &mut Client<TcpStream>, status: u16) -> Answer {
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.closes(), "{answer:?}");
    assert_eq!(client.rest().unwrap(), b"", "more than one answer");
    answer
}

/// Every catchable death says of what and in which request, and its client is answered.
#[test]
fn a_worker_that_dies_in_a_handler_says_of_what_and_answers_its_client() {
    let server = testapp().args("--workers 1").ready();
    for (path, words, calls) in [
        (
            "/fault?a=b",
            "was killed by SIGSEGV: nothing is mapped at 0x0",
            "deaths::fault",
        ),
        (
            "/overflow",
            "was killed by SIGSEGV: the stack has overflowed",
            "deaths::overflow",
        ),
        (
            "/abort",
            "was killed by SIGABRT: raised by the worker itself",
            "abort",
        ),
        (
            "/exit/9",
            "exited with code 9: its application called exit(3)",
            "process::exit",
        ),
        (
            "/trap",
            "was killed by SIGTRAP: raised by the worker itself",
            "deaths::raise",
        ),
        ("/divide", "was killed by SIGFPE: ", "deaths::divide"),
    ] {
        let mark = server.mark();
        let pid = server.who().pid;
        let mut client = send(&server, "GET", path);
        let from = client.stream().local_addr().unwrap();
        let answer = answered(&mut client, 502);
        assert_eq!(answer.text(), "502 Bad Gateway\n");
        let line = server.wait_after(mark, " while serving ");
        let who = format!("Worker 0 of generation 1 (pid {pid}) {words}");
        let what = format!(" while serving GET {path} from {from} for ");
        assert!(line.contains(&who) && line.contains(&what), "{line}");
        assert!(line.ends_with(" s (id its-name)"), "{line}");
        // The ring of the last requests comes with it.
        let line = server.wait_after(mark, &format!("Worker 0 (pid {pid}) had answered "));
        assert!(
            line.contains("had answered 200 GET /who from 127.0.0.1:"),
            "{line}"
        );
        let line = server.wait_after(mark, &format!("Worker 0 (pid {pid}) died in "));
        assert!(line.contains(calls), "{line}");
        server.wait_after(mark, "Worker 0 is ready");
    }
    server.stop();
}

#[test]
fn what_asked_with_head_gets_no_content_and_a_unix_socket_is_answered_too() {
    let start = testapp();
    let path = start.dir().path("socket");
    let server = start
        .bind(format!("unix:{}", path.display()))
        .args("--workers 1")
        .spawn();
    server.wait("Worker 0 is ready");
    let mut client = Client::connect_unix(&path).unwrap();
    client
        .send("HEAD /fault HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let text = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
    assert!(text.contains("\r\nContent-Length: 16\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
    server.stop();
}

/// What nobody can catch is a connection that closes; the line is the same.
#[test]
fn what_cannot_be_caught_is_named_by_the_master() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let mark = server.mark();
    assert!(send(&server, "GET", "/end").answer().is_err());
    let line = server.wait_after(mark, " while serving ");
    let who = format!("Worker 0 of generation 1 (pid {pid}) exited with code 9 while serving");
    assert!(line.contains(&who) && line.contains("GET /end"), "{line}");
    server.wait_after(mark, "Worker 0 is ready");

    let (pid, mark) = (server.who().pid, server.mark());
    let mut client = send(&server, "GET", "/hang");
    server.until_in_handler(1);
    server.kill_worker(pid, Signal::SIGKILL);
    assert!(client.answer().is_err());
    let line = server.wait_after(mark, " while serving ");
    let who = format!("(pid {pid}) was killed by SIGKILL from outside while serving GET /hang");
    assert!(line.contains(&who), "{line}");
    server.wait_after(mark, "Worker 0 is ready");

    // Others than ourselves can be told apart where the signal can be caught.
    let (pid, mark) = (server.who().pid, server.mark());
    let mut client = send(&server, "GET", "/hang");
    server.until_in_handler(2);
    server.kill_worker(pid, Signal::SIGABRT);
    answered(&mut client, 502);
    let own = std::process::id();
    server.wait_after(
        mark,
        &format!("(pid {pid}) was killed by SIGABRT: sent by process {own} while"),
    );
    server.stop();
}

/// Whoever waits for the same process is answered as well, whichever thread it dies of.
#[test]
fn streams_without_a_head_are_answered_and_those_with_one_are_cut() {
    let server = testapp().args("--workers 1").ready();
    for (path, words) in [
        (
            "/streamed/fault",
            "nothing is mapped at 0x0 in thread stream",
        ),
        (
            "/streamed/overflow",
            "the stack has overflowed in thread stream",
        ),
    ] {
        let mark = server.mark();
        let mut waits = send(&server, "GET", "/streamed/wait");
        let mut begun = send(&server, "GET", "/stream-slowly");
        assert_eq!(begun.head().unwrap().status, 200);
        let mut late = send(&server, "GET", "/streamed/late-wait");
        assert_eq!(late.head().unwrap().status, 200);
        answered(&mut send(&server, "GET", path), 502);
        answered(&mut waits, 502);
        assert!(!String::from_utf8_lossy(&late.rest().unwrap_or_default()).contains("502"));
        while let Ok(Some(chunk)) = begun.chunk() {
            assert_eq!(chunk, b"tick\n");
        }
        let line = server.wait_after(mark, " while serving ");
        assert!(line.contains(words), "{line}");
        assert!(line.contains(" (streaming) (id its-name); "), "{line}");
        server.wait_after(mark, "Worker 0 is ready");
    }
    server.stop();
}

/// The answer to the request before must not be spoilt, so that who has one is not told 502.
#[test]
fn answers_that_wait_to_be_written_are_never_mixed_with_another() {
    let server = testapp().args("--workers 1").ready();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /fault HTTP/1.1\r\nHost: a\r\n\r\n\
             GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.rest().unwrap_or_default(), b"");
    server.wait(" while serving GET /fault");
    server.stop();
}

/// Whoever looks up the names of the calls may die of it, or have no time: the calls are told all the same.
#[test]
fn calls_whose_names_cannot_be_found_are_told_as_addresses() {
    let server = testapp().args("--workers 1").ready();
    let is_scribe = |pid: &i32| proc::command_line(*pid) == "ferricorn: scribe";
    loop {
        let (pid, mark) = (server.who().pid, server.mark());
        answered(&mut send(&server, "GET", "/fault"), 502);
        let scribe = server.until("the scribe", || {
            let children = proc::children(server.pid);
            let scribe = children.into_iter().find(is_scribe).map(Some);
            scribe.or((server.log.count(mark, "died in") > 0).then_some(None))
        });
        if let Some(scribe) = scribe {
            let _ = kill(Pid::from_raw(scribe), Signal::SIGKILL);
            let line = server.wait_after(mark, &format!("Worker 0 (pid {pid}) died in "));
            // It may have been quicker than we are.
            if line.contains(" died in +0x") {
                break;
            }
        }
    }
    server.stop();
}

/// Its copy of the connection is not its to answer.
#[test]
fn what_a_handler_has_forked_dies_alone() {
    let server = testapp().args("--workers 1").ready();
    let pid = server.who().pid;
    let expected = format!("signal {}", libc::SIGSEGV);
    assert_eq!(server.get("/fork").text(), expected);
    assert_eq!(server.who().pid, pid);
    server.stop();
}

#[test]
fn the_name_of_a_request_is_the_same_in_its_handler_and_in_the_line_of_its_death() {
    let server = testapp().args("--workers 1").ready();
    let mut client = Client::connect(server.address()).unwrap();
    let id = client.get("/id").unwrap().text().to_owned();
    assert_eq!(id.len(), 16);
    client
        .send("GET /fault HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 502);
    let line = server.wait(" had answered ");
    assert!(line.contains(&format!("(id {id})")), "{line}");
    server.stop();
}

#[test]
fn a_request_past_timeout_is_answered_504_and_the_log_says_where_it_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let wait_for = format!("/wait-for/{address}");
    let server = testapp().args("--workers 1 --timeout 0.7").ready();
    for (path, place, calls) in [
        ("/hang", "blocked in clock_nanosleep".to_owned(), "hang"),
        (
            "/spin",
            "spinning: on the processor for ".to_owned(),
            "handle",
        ),
        (
            &*wait_for,
            format!("(TCP to {address})"),
            "deaths::wait_for",
        ),
    ] {
        let (pid, mark) = (server.who().pid, server.mark());
        let mut client = send(&server, "GET", path);
        assert_eq!(answered(&mut client, 504).text(), "504 Gateway Timeout\n");
        let line = server.wait_after(
            mark,
            &format!("Worker 0 (pid {pid}) has a request past timeout"),
        );
        assert!(
            line.contains(&format!(" while serving GET {path} from ")),
            "{line}"
        );
        assert!(
            line.contains(" s (id its-name)") && line.contains(&place),
            "{line}"
        );
        let line = server.wait_after(mark, &format!("Worker 0 (pid {pid}) is in "));
        assert!(line.contains(calls), "{line}");
        server.wait_after(
            mark,
            &format!(
                "Worker 0 of generation 1 (pid {pid}) was killed by SIGKILL from us: \
                 it has a request past timeout while serving GET {path}"
            ),
        );
        server.wait_after(mark, "Worker 0 is ready");
    }
    server.stop();
}

#[test]
fn a_worker_that_is_stopped_says_nothing_and_is_ended_all_the_same() {
    let server = testapp().args("--workers 1 --timeout 0.7").ready();
    let pid = server.who().pid;
    let mut client = send(&server, "GET", "/hang");
    server.until_in_handler(1);
    server.kill_worker(pid, Signal::SIGSTOP);
    assert!(client.answer().is_err());
    let line = server.wait("has a request past timeout");
    assert!(line.contains("(state T (stopped)"), "{line}");
    server.wait(&format!("(pid {pid}) was killed by SIGKILL from us"));
    assert_eq!(server.log.count(0, "is in "), 0);
    server.stop();
}

/// It waits in the kernel, where only SIGKILL reaches it: nobody can ask it where it is.
#[test]
fn a_worker_that_waits_uninterruptibly_is_named_so_and_ended() {
    let server = testapp().args("--workers 1 --timeout 0.7").ready();
    let pid = server.who().pid;
    let mut client = send(&server, "GET", "/vfork");
    let line = server.wait(&format!("Worker 0 (pid {pid}) has a request past timeout"));
    let state = "(state D (disk sleep), which no signal ends before what it waits for has come, ";
    assert!(line.contains(state), "{line}");
    assert!(line.contains("while serving GET /vfork from"), "{line}");
    server.wait(&format!("(pid {pid}) was killed by SIGKILL from us"));
    assert!(client.answer().is_err());
    assert_eq!(server.log.count(0, "is in "), 0);
    server.stop();
}

#[test]
fn a_loop_that_hangs_outside_a_handler_is_found_with_its_place() {
    let server = testapp().args("--workers 1 --heartbeat-timeout 1").ready();
    let pid = server.who().pid;
    server.control("idle-hang", "");
    let mut kept = send(&server, "GET", "/");
    assert_eq!(kept.answer().unwrap().status, 200);
    server.wait("hanging while nothing waits");
    // Nobody reads what comes from now on, and nobody takes whoever comes.
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    kept.send(request).unwrap();
    let mut waits = send(&server, "GET", "/who");
    server.uncontrol("idle-hang");
    let line = server.wait("is silent past heartbeat-timeout");
    assert!(line.contains(&format!("(pid {pid})")), "{line}");
    assert!(line.contains("blocked in clock_nanosleep"), "{line}");
    let line = server.wait(&format!("Worker 0 (pid {pid}) is in "));
    assert!(line.contains("idle"), "{line}");
    server.wait(&format!(
        "Worker 0 of generation 1 (pid {pid}) was killed by SIGKILL from us: it is silent past \
         heartbeat-timeout"
    ));
    assert!(kept.answer().is_err());
    assert_ne!(waits.answer().unwrap().who().pid, pid);
    server.stop();
}

#[test]
fn a_boot_that_hangs_is_found_with_its_place() {
    let mut server = testapp()
        .args("--workers 1 --boot-timeout 0.5")
        .control("boot-hang", "")
        .spawn();
    server.wait("cannot start: worker 0 was not ready within boot-timeout");
    let line = server.wait("Worker 0 (pid ");
    assert!(
        line.contains(") was not ready within boot-timeout ("),
        "{line}"
    );
    assert!(line.contains("blocked in clock_nanosleep"), "{line}");
    let line = server.wait(") is in ");
    assert!(line.contains("boot"), "{line}");
    server.wait("was killed by SIGKILL from us: it was not ready within boot-timeout");
    assert_eq!(server.wait_exit().code(), Some(3));
}

/// A handler that makes progress says so, up to a cap.
#[test]
fn a_handler_may_ask_for_more_time() {
    let server = testapp()
        .args("--workers 1 --timeout 1 --timeout-cap 4")
        .ready();
    let pid = server.who().pid;
    assert_eq!(server.get("/extend/4-600").text(), "done");
    assert_eq!(server.who().pid, pid);
    let mut client = send(&server, "GET", "/extend/100-600");
    answered(&mut client, 504);
    let line = server.wait("has a request past timeout");
    let age = line
        .split(" for ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(age.parse::<f64>().unwrap() >= 4.0, "{line}");
    server.stop();
}

#[test]
fn a_mount_has_a_timeout_of_its_own() {
    let server = testapp()
        .file("timeout = 1\n[[mount]]\nprefix = \"/hang/2000\"\napp = \"app\"\ntimeout = 20\n")
        .args("--workers 1")
        .ready();
    assert_eq!(server.get("/hang/2000").status, 200);
    assert_eq!(server.log.count(0, "past timeout"), 0);
    server.stop();
}

#[test]
fn where_cores_are_wanted_a_worker_that_hangs_is_aborted() {
    let server = testapp()
        .args("--workers 1 --timeout 0.5 --dump-cores")
        .ready();
    let limits = server.get("/limits").text().to_owned();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4], words[5], "{core}");
    let pid = server.who().pid;
    // So large that writing it takes longer than the master waits before it looks.
    answered(&mut send(&server, "GET", "/swell/700"), 504);
    server.wait(&format!(
        "(pid {pid}) was killed by SIGABRT from us: it has a request past"
    ));
    server.log.wait_count(0, "Worker 0 is ready", 2);
    match std::fs::read_to_string("/proc/sys/kernel/core_pattern") {
        Ok(pattern) if pattern.trim() == "core" => {
            let mut core = server.dir.path("core");
            if !core.exists() {
                core.set_extension(pid.to_string());
            }
            let (there, promised) = core_size(&core);
            assert_eq!(there, promised, "the core was cut");
            assert!(there > 700 << 20, "{there}");
        }
        pattern => eprintln!("skipped: a core in the working directory ({pattern:?})"),
    }
    server.stop();
}

/// How long a core is, and how long by its program headers (elf(5)).
fn core_size(path: &std::path::Path) -> (u64, u64) {
    let mut file = std::fs::File::open(path).unwrap();
    let mut head = vec![0; 1 << 20];
    let length = file.read(&mut head).unwrap();
    let word = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap());
    let half = |at: usize| usize::from(u16::from_ne_bytes(head[at..at + 2].try_into().unwrap()));
    assert_eq!((&head[..4], head[4]), (&b"\x7fELF"[..], 2));
    let (first, each, number) = (word(32) as usize, half(54), half(56));
    assert!(first + each * number <= length);
    let ends = (0..number).map(|n| word(first + n * each + 8) + word(first + n * each + 32));
    (file.metadata().unwrap().len(), ends.max().unwrap())
}
