//! The control socket and `ferricorn ctl`: what an operator does with them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::ctl::{Begun, ctl, run};
use crate::support::hold::Hold;
use crate::support::http::Client;
use crate::support::load::Load;
use crate::support::{Server, example, ferricorn, testapp};

/// The only worker of a slot, by the status.
#[track_caller]
fn worker(server: &Server, slot: usize) -> i32 {
    let status = server.status();
    let workers = status["workers"].as_array().unwrap().iter();
    let mut of_slot = workers.filter(|worker| worker["slot"] == slot);
    let pid = of_slot.next().unwrap()["pid"].as_i64().unwrap();
    pid.try_into().unwrap()
}

/// Ends it, and leaves its directory.
#[track_caller]
fn end(server: &mut Server) {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn status_shows_the_server_and_its_workers() {
    let server = testapp().args("--workers 2 --name shop").ready();
    server.who();
    let text = server.ctl_done("status");
    let pid = server.pid;
    assert!(
        text.contains(&format!("shop (ferricorn 0.1.0), pid {pid}")),
        "{text}"
    );
    assert!(text.contains(": serving, generation 1\n"), "{text}");
    assert!(text.contains("workers: 2 of 2 ready\n"), "{text}");
    assert!(
        text.contains(&format!("http://{}", server.address())),
        "{text}"
    );
    let status = server.status();
    let workers = status["workers"].as_array().unwrap();
    let mut pids: Vec<i64> = workers.iter().filter_map(|w| w["pid"].as_i64()).collect();
    pids.sort_unstable();
    let known: Vec<i64> = server.workers().into_iter().map(i64::from).collect();
    assert_eq!(pids, known);
    let served: u64 = workers.iter().filter_map(|w| w["requests"].as_u64()).sum();
    assert_eq!(served, 1);
    assert_eq!(status["phase"], "serving");
    server.stop();
}

#[test]
fn every_command_does_what_it_says() {
    let mut server = testapp().args("--workers 2 --error-logfile e.log").spawn();
    // The log is in a file.
    let log = |text: &str| {
        server.until(text, || {
            server.dir.read("e.log").contains(text).then_some(())
        });
    };
    log("Ready: serving at");
    let socket = server.dir.path(&format!("ferricorn/{}.sock", server.pid));
    let ctl = |words: &str| run(ctl().arg("-s").arg(&socket).args(words.split_whitespace()));
    let done = |words: &str| {
        let ended = ctl(words);
        assert_eq!(ended.code, Some(0), "{words}: {ended:?}");
        ended.output
    };
    assert_eq!(done("scale 3"), "3 workers wanted\n");
    let old = server.wait_workers(3);
    assert_eq!(done("scale -1"), "2 workers wanted\n");
    server.wait_workers(2);
    assert_eq!(done("scale +2"), "4 workers wanted\n");
    server.wait_workers(4);
    for (words, reason) in [
        ("scale -4", "there are 4 workers, and one stays"),
        ("scale -9", "there are 4 workers, and one stays"),
        ("scale 9999", "no room for 9999 workers"),
        ("scale +9223372036854775807", "there is no room"),
        ("kill 1", "there is no worker with pid 1"),
        ("drain 1", "there is no worker with pid 1"),
    ] {
        let ended = ctl(words);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.log.contains(reason), "{ended:?}");
    }
    assert_eq!(done("scale 1"), "1 workers wanted\n");
    let [one] = server.wait_workers(1)[..] else {
        unreachable!()
    };
    assert!(old.contains(&one));

    // The new one is ready before the old one is told to go.
    assert_eq!(done(&format!("drain {one}")), "");
    log(&format!(
        "(pid {one}) exited (replaced as the operator asked)"
    ));
    let text = server.dir.read("e.log");
    let at = |needle: &str| text.rfind(needle).unwrap();
    assert!(
        at("is ready (pid") < at(&format!("(pid {one}) exited")),
        "{text}"
    );
    let [two] = server.wait_workers(1)[..] else {
        unreachable!()
    };
    done(&format!("kill {two}"));
    log(&format!(
        "(pid {two}) was killed by SIGKILL from us: the operator asked for it"
    ));
    server.until("its successor", || {
        let workers = server.workers();
        (workers.len() == 1 && workers[0] != two).then_some(())
    });

    fs::rename(server.dir.path("e.log"), server.dir.path("e.old")).unwrap();
    done("reopen");
    log("Logs opened anew");
    done("reload --wait");
    log("Handling command: reload");
    assert_eq!(done("quit"), "");
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn a_reload_is_told_worker_by_worker_and_ends_when_the_old_ones_have_gone() {
    let server = testapp().args("--workers 3").ready();
    let old = server.wait_workers(3);
    let mut idle: Vec<_> = (0..10)
        .map(|_| Client::connect(server.address()).unwrap())
        .collect();
    for client in &mut idle {
        client.get("/who").unwrap();
    }
    let load = Load::keep_alive(server.address(), 4, "/who");
    load.wait_good(20);
    let text = server.ctl_done("reload --wait");
    let now = server.workers();
    assert!(!now.iter().any(|pid| old.contains(pid)), "{now:?} {text}");
    for pid in &old {
        assert!(
            text.contains(&format!("(pid {pid}, generation 1) drains")),
            "{text}"
        );
        assert!(
            text.contains(&format!("(pid {pid}, generation 1) exited")),
            "{text}"
        );
    }
    for pid in &now {
        assert!(
            text.contains(&format!("(pid {pid}, generation 2) is ready")),
            "{text}"
        );
    }
    let verdict = text.lines().last().unwrap();
    assert!(
        verdict.starts_with("reload 1 is complete: generation 2 serves; "),
        "{text}"
    );
    assert!(verdict.contains(", 0 closed idle, 0 forced, in "), "{text}");
    let handed = verdict.split(" handed over").next().unwrap();
    let handed: u64 = handed.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(handed >= 10, "{verdict}");
    load.wait_good(20);
    load.stop().assert_nobody_noticed();
    for client in &mut idle {
        assert_eq!(client.get("/who").unwrap().who().generation, 2);
    }
    server.wait("Reload 1: the old workers have gone; ");
    server.stop();
}

/// What is told is told in the order in which the master did it.
#[test]
fn a_reload_uses_its_budget_and_keeps_within_it() {
    for (budget, fewest, most) in [
        ("--max-surge 1 --max-unavailable 0", 4, 5),
        ("--max-surge 0 --max-unavailable 1", 3, 4),
        ("--max-surge 50% --max-unavailable 0%", 4, 6),
        ("--max-surge 0% --max-unavailable 50%", 2, 4),
    ] {
        let server = testapp().args("--workers 4").args(budget).ready();
        let text = server.ctl_done("reload --wait");
        // Those that serve, and with those that boot.
        let (mut serve, mut all) = (vec![4], vec![4]);
        for line in text.lines() {
            let (more, made) = match line {
                _ if line.contains("generation 1) drains") => (-1, -1),
                _ if line.contains("generation 2) boots") => (0, 1),
                _ if line.contains("generation 2) is ready") => (1, 0),
                _ => (0, 0),
            };
            serve.push(serve[serve.len() - 1] + more);
            all.push(all[all.len() - 1] + made);
        }
        assert_eq!(serve.iter().min(), Some(&fewest), "{budget}: {text}");
        assert_eq!(all.iter().max(), Some(&most), "{budget}: {text}");
        assert_eq!(
            (serve.pop(), all.pop()),
            (Some(4), Some(4)),
            "{budget}: {text}"
        );
        server.stop();
    }
}

#[test]
fn what_becomes_of_clients_is_in_the_verdict() {
    let server = testapp().args("--workers 1 --graceful-timeout 2").ready();
    // One that is in a handler until it has been told to drain, and one in the middle of a body.
    let hold = Hold::new();
    let mut completed = Client::connect(server.address()).unwrap();
    let mut forced = Client::connect(server.address()).unwrap();
    forced
        .send(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    assert_eq!(forced.head().unwrap().status, 100);
    completed
        .send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", hold.path()))
        .unwrap();
    server.until_in_handler(1);
    let reload = server.ctl_begin("reload --wait --json");
    reload.output.wait(0, "\"worker-draining\"");
    // Whoever is answered after that, the worker was told before.
    server.status();
    hold.let_go();
    let ended = reload.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.output;
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let verdict = &last["verdict"];
    assert_eq!((&last["ok"], &last["reload"]), (&true.into(), &1.into()));
    assert_eq!(verdict["completed"], 1, "{text}");
    assert_eq!(verdict["forced"], 1, "{text}");
    assert_eq!(
        (&verdict["workers"], &verdict["unreported"]),
        (&1.into(), &0.into())
    );
    assert!(verdict["seconds"].as_f64().unwrap() >= 2.0, "{text}");
    assert_eq!(completed.answer().unwrap().status, 200);

    // A worker that hangs until it is killed says nothing, and that is said.
    let mut hangs = Client::connect(server.address()).unwrap();
    hangs.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    server.until_in_handler(2);
    let text = server.ctl_done("reload --wait");
    assert!(
        text.contains("(1 of 1 workers died without a report)"),
        "{text}"
    );
    server.stop();
}

#[test]
fn a_reload_that_fails_is_an_error_with_its_reason() {
    let server = testapp().file("workers = 1\n").ready();
    server.dir.write("ferricorn.toml", "workers = = 1\n");
    // The client reads the same file, and does not mind.
    let mut command = ctl();
    command.current_dir(server.dir.root());
    command.env("XDG_RUNTIME_DIR", server.dir.root());
    let ended = run(command.args(["reload", "--wait"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.log.contains("reload failed: ferricorn.toml:1"),
        "{ended:?}"
    );
    assert!(
        server
            .ctl_done("status")
            .contains("last failure: ferricorn.toml:1")
    );
    server.dir.write("ferricorn.toml", "workers = 1\n");
    server.control("boot-fail", "");
    let reason = server.ctl_fails("reload --wait");
    assert!(reason.contains("the test wants boot to fail"), "{reason}");
    // Nobody waits for this one.
    assert_eq!(server.ctl_done("reload"), "reload 3 was asked for\n");
    server.log.wait_count(0, "reload failed", 3);
    server.uncontrol("boot-fail");
    server.ctl_done("reload --wait");
    server.stop();
}

#[test]
fn who_asks_while_a_reload_is_under_way_waits_for_the_next() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-wait", "");
    let first = server.ctl_begin("reload --wait --json");
    server.wait("waiting in boot");
    let others: Vec<Begun> = (0..3)
        .map(|_| server.ctl_begin("reload --wait --json"))
        .collect();
    for other in &others {
        other.output.wait(0, "\"reload-waits\"");
    }
    server.uncontrol("boot-wait");
    let ended = first.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.output.contains("\"ok\":true,\"reload\":1,"),
        "{ended:?}"
    );
    for other in others {
        let ended = other.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.output.contains("\"ok\":true,\"reload\":2,"),
            "{ended:?}"
        );
    }
    assert_eq!(server.who().generation, 3);
    assert_eq!(server.status()["reloads"], 2);
    server.stop();
}

#[test]
fn clients_go_along_with_an_exec() {
    let server = testapp().args("--workers 1").ready();
    let mut events = server.control_client();
    events.say("{\"command\":\"events\"}\n");
    let mut half = server.control_client();
    half.say("{\"command\":");
    // Heard before the reload begins, as they came before its command.
    server.ctl_done("reload --wait");
    assert_eq!(events.event("executed")["reload"], 1);
    assert_eq!(events.event("reload-complete")["generation"], 2);
    half.say("\"status\"}\n{\"command\":\"status\"}\n");
    assert_eq!(half.answer()["status"]["generation"], 2);
    assert_eq!(half.answer()["status"]["generation"], 2);
    server.ctl_done("scale 2");
    assert_eq!(events.event("worker-ready")["slot"], 1);
    server.stop();
    assert_eq!(
        events.event("worker-left")["cause"],
        serde_json::Value::Null
    );
    assert_eq!(events.answer()["ok"], true);
    assert_eq!(events.line(), None);
}

/// What was asked for before would bring back the workers that are told to retire.
#[test]
fn whoever_waits_for_a_reload_hears_that_the_workers_were_retired() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-wait", "");
    let first = server.ctl_begin("reload --wait");
    server.wait("waiting in boot");
    let other = server.ctl_begin("reload --wait");
    server.wait("a reload follows");
    server.signal(Signal::SIGWINCH);
    for begun in [first, other] {
        let ended = begun.ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.log.contains("told to retire"), "{ended:?}");
    }
    server.wait("told to retire; the workers stay retired");
    server.wait_workers(0);
    server.uncontrol("boot-wait");
    server.reload();
    assert_eq!(server.get("/who").status, 200);
    server.stop();
}

#[test]
fn events_are_printed_until_the_server_ends() {
    let server = testapp().args("--workers 1").ready();
    let events = server.ctl_begin("events");
    // Its subscription is heard before what comes after it.
    server.until("the subscription", || {
        server.ctl_done("scale 1");
        (events.output.count(0, "\"wanted\"") > 0).then_some(())
    });
    let pid = worker(&server, 0);
    server.ctl_done(&format!("kill {pid}"));
    events
        .output
        .wait(0, "\"cause\":\"the operator asked for it\"");
    events.output.wait(0, "\"event\":\"worker-ready\"");
    server.signal(Signal::SIGUSR1);
    events
        .output
        .wait(0, "\"event\":\"signal\",\"name\":\"SIGUSR1\"");
    assert_eq!(server.ctl("stop --wait").code, Some(0));
    let ended = events.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in ended.output.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["version"], &line["type"]),
            (&1.into(), &"event".into())
        );
        assert!(line["at"].as_f64().unwrap() > 1e9);
    }
    let last = ended.output.lines().last().unwrap();
    assert!(last.contains("\"event\":\"stopped\",\"code\":0"), "{last}");
}

#[test]
fn a_stop_that_is_waited_for_leaves_nothing_behind() {
    let mut server = testapp().args("--workers 1 --pidfile app.pid").ready();
    let (socket, address) = (server.control_socket(), server.address());
    let hold = Hold::new();
    let mut slow = Client::connect(address).unwrap();
    slow.send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", hold.path()))
        .unwrap();
    let mut idle: Vec<_> = (0..2).map(|_| Client::connect(address).unwrap()).collect();
    server.until_in_handler(1);
    let stop = server.ctl_begin("stop --wait");
    stop.output.wait(0, ") drains: ");
    // Whoever is answered after that, the worker was told before.
    server.status();
    hold.let_go();
    let ended = stop.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended
            .output
            .contains("(the server stops): 1 completed, 0 handed over, 2 closed idle, 0 forced"),
        "{ended:?}"
    );
    for client in &mut idle {
        assert_eq!(client.rest().unwrap(), b"");
    }
    assert!(ended.output.ends_with("stopped\n"), "{ended:?}");
    assert!(!socket.exists() && !server.dir.path("app.pid").exists());
    TcpListener::bind(address).unwrap();
    // Its handler was running when the word came.
    let answer = slow.answer().unwrap();
    assert!(answer.status == 200 && answer.closes());
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_server_that_is_killed_fails_whoever_waits_for_it() {
    let mut server = testapp().args("--workers 1").ready();
    server.control("boot-wait", "");
    let waits = [
        server.ctl_begin("reload --wait"),
        server.ctl_begin("events"),
    ];
    server.wait("waiting in boot");
    server.until("the other subscription", || {
        server.ctl_done("scale 1");
        (waits[1].output.len() > 0).then_some(())
    });
    let socket = server.control_socket();
    server.signal(Signal::SIGKILL);
    for begun in waits {
        let ended = begun.ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.log.contains("has gone before it answered"),
            "{ended:?}"
        );
    }
    server.wait_exit();
    assert!(socket.exists());
    let ended = run(ctl().arg("-s").arg(&socket).arg("status"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("no server listens at"), "{ended:?}");
}

#[test]
fn a_stop_ends_the_wait_for_a_reload() {
    let server = testapp().args("--workers 1").ready();
    server.control("boot-wait", "");
    let under_way = server.ctl_begin("reload --wait");
    server.wait("waiting in boot");
    let next = server.ctl_begin("reload --wait");
    next.output.wait(0, "this one follows");
    // The answer is the last that they hear.
    server.signal(Signal::SIGTERM);
    next.output.wait(0, "stopping");
    server.stop();
    for begun in [under_way, next] {
        let ended = begun.ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.log.contains("reload failed: the server stops"),
            "{ended:?}"
        );
    }
}

#[test]
fn the_server_is_found_by_its_configuration_or_because_it_is_the_only_one() {
    let one = testapp().args("--workers 1").ready();
    let other = testapp()
        .file("workers = 1\ncontrol-socket = \"c\"\n")
        .ready();
    let here = |server: &Server, words: &[&str]| {
        let mut command = ctl();
        command.current_dir(server.dir.root());
        command.env("XDG_RUNTIME_DIR", one.dir.root());
        run(command.arg("status").args(words))
    };
    let is = |server: &Server| format!("pid {},", server.pid);
    assert!(here(&one, &[]).output.contains(&is(&one)));
    assert!(here(&other, &[]).output.contains(&is(&other)));
    let file = other.dir.path("ferricorn.toml");
    let config = ["-c", file.to_str().unwrap()];
    // What is in the file starts where the client is, as it does for the server.
    let ended = here(&one, &config);
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("no server listens at"), "{ended:?}");
    assert!(
        ended.log.contains(&format!("(pid {})", one.pid)),
        "{ended:?}"
    );

    // Two of them in one directory.
    let dir = one.dir.path("ferricorn");
    let twin = testapp()
        .args("--workers 1")
        .env("XDG_RUNTIME_DIR", one.dir.root());
    let twin = twin.ready();
    let ended = here(&one, &[]);
    assert_eq!(ended.code, Some(1));
    for server in [&one, &twin] {
        let line = format!(
            "{}/{}.sock  (pid {})",
            dir.display(),
            server.pid,
            server.pid
        );
        assert!(ended.log.contains(&line), "{ended:?}");
    }
    let mut main = ctl();
    main.env("RUNTIME_DIRECTORY", &dir);
    main.env("MAINPID", twin.pid.to_string());
    assert!(run(main.arg("status")).output.contains(&is(&twin)));
    twin.stop();
    assert!(here(&one, &[]).output.contains(&is(&one)));

    let mut none = ctl();
    none.env("TMPDIR", other.dir.root());
    let ended = run(none.arg("status"));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.log.contains("no server of this user runs"),
        "{ended:?}"
    );
    let mut off = ctl();
    off.env("FERRICORN_CONTROL_SOCKET", "none");
    let ended = run(off.arg("status"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("control-socket is none"), "{ended:?}");
    one.stop();
    other.stop();
}

#[test]
fn every_program_that_is_built_with_the_library_has_it() {
    let server = example("hello").ready();
    let again = example("hello").no_bind();
    let ended = again
        .args("ctl --socket")
        .arg(server.control_socket())
        .arg("status")
        .run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.output.contains(&format!("pid {},", server.pid)),
        "{ended:?}"
    );
    server.stop();
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_2() {
    for (words, text) in [
        ("relaod", "a similar subcommand exists: 'reload'"),
        ("", "Usage:"),
        (
            "scale many",
            "expected a number of workers such as 4, +1 or -1",
        ),
        ("scale", "<WORKERS>"),
        ("drain", "<PID>"),
        ("kill -1", "-1"),
        ("status --wait", "--wait"),
    ] {
        let ended = run(ctl().args(words.split_whitespace()));
        assert_eq!(ended.code, Some(2), "{words}: {ended:?}");
        assert!(ended.log.contains(text), "{words}: {ended:?}");
    }
    let ended = run(ctl().arg("--help"));
    assert_eq!(ended.code, Some(0));
    assert!(ended.output.contains("reload") && ended.output.contains("--socket"));
}

#[test]
fn nobody_who_reads_is_no_reason_to_panic() {
    let server = testapp().args("--workers 1").ready();
    for (words, code) in [
        ("status", 0),
        ("reload --wait", 0),
        ("reload --wait --json", 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = server.ctl_command(words).stdout(writer).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*log), (Some(code), ""), "{words}");
    }
    let mut events = server
        .ctl_command("events")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(events.stdout.take());
    server.until("the end of a stream that nobody reads", || {
        server.ctl_done("scale 1");
        events.try_wait().unwrap()
    });
    server.stop();
}

#[test]
fn the_socket_is_for_its_user_alone() {
    let mut server = ferricorn().ready();
    let socket = server.control_socket();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()), 0o700);
    end(&mut server);
    assert!(!socket.exists());

    // Directories that are others' too are not used; the server starts.
    let start = ferricorn();
    let (open, uid) = (start.dir().path("ferricorn"), nix::unistd::geteuid());
    let temporary = start.dir().path(&format!("ferricorn-{uid}"));
    for path in [&open, &temporary] {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let root = start.dir().root().to_owned();
    let server = start.env("TMPDIR", root).ready();
    let line = server.wait("cannot make the control socket");
    assert!(
        line.contains("WARNING") && line.contains("it is no directory of uid"),
        "{line}"
    );
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    server.stop();
}

#[test]
fn none_is_none() {
    let server = ferricorn().args("--control-socket none").ready();
    assert_eq!(server.log.count(0, "ontrol socket"), 0);
    assert!(!server.dir.path("ferricorn").exists());
    server.stop();
}

#[test]
fn a_path_that_was_given_is_had_or_the_start_fails() {
    let ended = ferricorn().args("--control-socket /nonexistent/c").run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .log
            .contains("cannot make the control socket: cannot bind /nonexistent/c")
    );

    let mut server = ferricorn().args("--control-socket c").ready();
    let socket = server.control_socket();
    let again = ferricorn().arg("--control-socket").arg(&socket);
    let ended = again.run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("address in use"), "{ended:?}");
    server.ctl_done("status");

    // What a server has left that was killed is nobody's.
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    assert!(socket.exists());
    let next = ferricorn().arg("--control-socket").arg(&socket).ready();
    next.ctl_done("status");
    next.stop();
    assert!(!socket.exists());
}

#[test]
fn what_killed_servers_have_left_goes_with_the_next_start() {
    let mut server = ferricorn().ready();
    let socket = server.control_socket();
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    assert!(socket.exists());
    let next = ferricorn()
        .env("XDG_RUNTIME_DIR", server.dir.root())
        .ready();
    assert!(!socket.exists());
    next.ctl_done("status");
    next.stop();
}

#[test]
fn a_file_that_is_somebody_elses_stays() {
    let mut server = ferricorn().args("--control-socket c").ready();
    let socket = server.control_socket();
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "mine").unwrap();
    end(&mut server);
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
}

#[test]
fn a_socket_that_was_removed_is_made_again_by_a_reload() {
    let mut server = ferricorn().ready();
    let socket = server.control_socket();
    fs::remove_file(&socket).unwrap();
    server.reload();
    server.ctl_done("status");
    end(&mut server);
    assert!(!socket.exists());
}

#[test]
fn a_reload_moves_the_socket() {
    let server = testapp()
        .file("workers = 1\ncontrol-socket = \"one\"\n")
        .ready();
    let one = server.control_socket();
    let two = server.dir.path("two");
    server
        .dir
        .write("ferricorn.toml", "workers = 1\ncontrol-socket = \"two\"\n");
    server.control("boot-fail", "");
    let reason = server.ctl_fails("reload --wait");
    assert!(reason.contains("the test wants boot to fail"), "{reason}");
    assert!(!two.exists(), "a trial that has failed leaves nothing");
    server.uncontrol("boot-fail");
    // Who came by the old one is told to the end.
    server.ctl_done("reload --wait");
    assert_eq!(server.control_socket(), two);
    server.ctl_done("status");
    assert!(!one.exists());

    server
        .dir
        .write("ferricorn.toml", "workers = 1\ncontrol-socket = \"none\"\n");
    server.ctl_done("reload --wait");
    assert!(!two.exists());
    server.stop();
}
