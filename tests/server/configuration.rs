//! Where settings come from, seen from what the server does with them.

use nix::sys::signal::Signal;

use crate::support::{self, ferricorn, http, proc, testapp};

#[test]
fn the_command_line_beats_the_environment_beats_the_file_beats_the_defaults() {
    let file = "workers = 2\nproc-name = \"from-file\"\nserver-header = \"file/1\"\n";
    let server = testapp().file(file).ready();
    server.wait_workers(2);
    assert_eq!(server.get("/").field("server"), Some("file/1"));
    server.stop();
    let server = testapp().file(file).env("FERRICORN_WORKERS", "3").ready();
    server.wait_workers(3);
    server.stop();
    let server = testapp()
        .file(file)
        .env("FERRICORN_WORKERS", "3")
        .args("--workers 4")
        .ready();
    server.wait_workers(4);
    assert_eq!(server.get("/").field("server"), Some("file/1"));
    server.stop();
}

/// What Heroku and its kin set is a default: the file beats it.
#[test]
fn web_concurrency_is_a_default() {
    let server = testapp().env("WEB_CONCURRENCY", "3").ready();
    server.wait_workers(3);
    server.stop();
    let server = testapp()
        .env("WEB_CONCURRENCY", "3")
        .file("workers = 1\n")
        .ready();
    server.wait_workers(1);
    server.stop();
}

/// In a network namespace, since somebody may have any port already.
#[test]
fn port_is_served_on_all_addresses() {
    if !support::can_unshare(&["--net"]) {
        return;
    }
    let mut server = testapp()
        .no_bind()
        .env("PORT", "8123")
        .args("--workers 1")
        .wrapped(&["unshare", "--net"])
        .spawn();
    server.wait("Ready: serving at http://0.0.0.0:8123");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a_reload_sees_the_same_command_line_and_a_new_file() {
    let server = testapp()
        .file("workers = 1\nserver-header = \"one\"\n")
        .args("--workers 2")
        .ready();
    server.wait_workers(2);
    server
        .dir
        .write("ferricorn.toml", "workers = 5\nserver-header = \"two\"\n");
    server.take_over();
    server.wait_workers(2);
    assert_eq!(server.get("/").field("server"), Some("two"));
    server.stop();
}

#[test]
fn an_error_in_the_file_ends_the_start_with_file_line_and_the_nearest_name() {
    let ended = testapp().file("timeout = 3\nworkres = 2\n").run();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let expected = "ferricorn.toml:2: unknown setting \"workres\"; did you mean \"workers\"";
    assert!(ended.log.contains(expected), "{}", ended.log);
}

#[test]
fn auto_workers_follow_the_processors_that_may_be_used() {
    let allowed = proc::status(std::process::id() as i32, "Cpus_allowed_list").unwrap();
    let first = allowed.split([',', '-']).next().unwrap();
    let one = testapp()
        .wrapped(&["taskset", "--cpu-list", first])
        .args("--workers auto")
        .ready();
    one.wait_workers(1);
    one.stop();
}

/// What a stranger gets who types only the name. In a network namespace, since somebody may have the
/// port already.
#[test]
fn alone_it_serves_on_port_8000_of_this_machine_only() {
    if !support::can_unshare(&["--net"]) {
        return;
    }
    let script = "ip link set lo up; exec \"$@\"";
    let mut server = ferricorn()
        .no_bind()
        .wrapped(&["unshare", "--net", "sh", "-c", script, "sh"])
        .spawn();
    server.wait("Ready: serving at http://127.0.0.1:8000");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn mounts_are_served_under_their_prefixes() {
    let server = ferricorn()
        .args("--workers 1 --mount /hello=hello --mount /deep/echo=echo")
        .ready();
    assert_eq!(server.get("/hello").text(), "Hello, World!");
    assert_eq!(server.get("/hello/any").text(), "Hello, World!");
    assert_eq!(server.get("/deep/echo").text(), "OK");
    assert_eq!(server.get("/helloo").status, 404);
    assert_eq!(server.get("/").status, 404);
    server.stop();
}

#[test]
fn a_class_of_the_programs_own_is_chosen_by_its_name() {
    for (arguments, own) in [("-k announced", true), ("-k sync", false), ("", false)] {
        let server = testapp().args("--workers 1").args(arguments).ready();
        assert_eq!(server.who().slot, 0);
        assert_eq!(
            server.log.count(0, "of the class announced") > 0,
            own,
            "{arguments}"
        );
        server.stop();
    }
    let ended = testapp().args("-k announcd").run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.log.contains("\"announced\""), "{}", ended.log);
}

/// Settings have a scope: a listener's own stand in its table, a mount's in its.
#[test]
fn tables_of_the_file_are_listeners_and_mounts_of_their_own() {
    let server = ferricorn()
        .file(
            "workers = 1\n\
             [[listen]]\nbind = \"unix:one.sock\"\nsocket-mode = \"0600\"\n\
             [[listen]]\nbind = \"unix:two.sock\"\nsocket-mode = \"0666\"\n\
             [[mount]]\nprefix = \"/hello\"\napp = \"hello\"\n\
             [[mount]]\nprefix = \"/echo\"\napp = \"echo\"\n",
        )
        .no_bind()
        .spawn();
    server.wait("Ready: serving at");
    for (name, mode) in [("one.sock", 0o600), ("two.sock", 0o666)] {
        let path = server.dir.path(name);
        let found = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&found) & 0o777,
            mode
        );
        let mut client = http::Client::connect_unix(&path).unwrap();
        assert_eq!(client.get("/hello").unwrap().text(), "Hello, World!");
        assert_eq!(client.get("/echo/x").unwrap().text(), "OK");
        assert_eq!(client.get("/").unwrap().status, 404);
    }
    server.stop();
}

/// A resolver may take its time, which the master has not: the program on trial has.
#[test]
fn a_reload_looks_new_names_up_on_trial() {
    let file = "workers = 1\nbind = \"127.0.0.1:0\"\n";
    let mut server = ferricorn().file(file).no_bind().spawn();
    server.wait("Ready: serving at");
    server.learn_address();
    let with = |host: &str| {
        let text = file.replace("127.0.0.1", host);
        server.dir.write("ferricorn.toml", &text);
    };
    with("somewhere.invalid");
    let reason = server.reload_fails();
    assert!(reason.contains("cannot look up the host"), "{reason}");
    assert_eq!(server.get("/").status, 200);
    with("localhost");
    server.reload();
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn a_reload_changes_where_the_logs_go() {
    let server = testapp()
        .file("workers = 1\naccess-logfile = \"one.log\"\n")
        .ready();
    assert_eq!(server.get("/first").status, 404);
    server.until("a line", || {
        server.dir.read("one.log").contains("/first").then_some(())
    });
    server.dir.write(
        "ferricorn.toml",
        "workers = 1\naccess-logfile = \"two.log\"\n",
    );
    server.take_over();
    assert_eq!(http::get(server.address(), "/second").unwrap().status, 404);
    server.until("a line", || {
        server.dir.read("two.log").contains("/second").then_some(())
    });
    assert!(!server.dir.read("one.log").contains("/second"));
    server.stop();
}
