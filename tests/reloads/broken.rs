//! Every way in which the next generation can be broken: the old one serves on, and nobody notices.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::load::Load;
use crate::support::{Server, install, proc, program, testapp, testapp_path};
use crate::turn;

/// A server that is reloaded under load, in vain.
struct Tried {
    server: Server,
    load: Load,
    before: (Vec<i32>, Vec<String>),
}

impl Tried {
    fn new(server: Server) -> Tried {
        let before = (server.wait_workers(2), proc::kinds(server.pid));
        let load = Load::start(server.address(), 4, "/who");
        load.wait_good(20);
        Tried {
            server,
            load,
            before,
        }
    }

    /// A reload that fails for this reason, and changes nothing. Who has asked for it and waits is told.
    #[track_caller]
    fn fails(&self, reason: &str) {
        let mark = self.server.mark();
        let (code, told) = reload_and_wait(&self.server);
        assert!(code == Some(1) && told.contains(reason), "{code:?} {told}");
        let line = self.server.wait_after(mark, "reload failed");
        assert!(line.contains(reason), "{line}");
        self.load.wait_good(20);
        assert_eq!(self.server.wait_workers(2), self.before.0, "{reason}");
        self.server.wait_kinds(&self.before.1);
    }

    /// What was broken is whole again.
    #[track_caller]
    fn recovers(self) {
        let report = self.load.stop();
        report.assert_nothing_lost();
        assert_eq!(report.generations(), [1]);
        let (code, told) = reload_and_wait(&self.server);
        assert_eq!(code, Some(0), "{told}");
        self.server.until("the new generation alone", || {
            (self.server.who().generation == 2).then_some(())
        });
        self.server.stop();
    }
}

/// `ctl reload --wait`, of a program that is whole: how it ends, and what it says.
fn reload_and_wait(server: &Server) -> (Option<i32>, String) {
    let name = format!("ferricorn/{}.sock", server.pid);
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ferricorn"));
    ctl.arg("ctl").arg("--socket").arg(server.dir.path(&name));
    let output = ctl.args(["reload", "--wait"]).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

#[test]
fn a_configuration_that_is_broken_changes_nothing() {
    let _turn = turn();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let good = "workers = 2\nbind = \"127.0.0.1:0\"\n";
    let tried = Tried::new(testapp().no_bind().file(good).ready());
    for (text, reason) in [
        ("workers = \n", "ferricorn.toml:1"),
        ("workers = \"many\"\n", "workers: expected"),
        ("workres = 3\n", "did you mean \"workers\""),
        ("user = \"no-such-user\"\n", "unknown user \"no-such-user\""),
        ("chdir = \"/nonexistent\"\n", "/nonexistent"),
        ("error-logfile = \"/nonexistent/log\"\n", "/nonexistent/log"),
        ("bind = \"unix:/nonexistent/sock\"\n", "cannot bind"),
        ("bind = \"192.0.2.1:80\"\n", "cannot bind 192.0.2.1:80"),
    ] {
        tried.server.dir.write("ferricorn.toml", text);
        tried.fails(reason);
    }
    let text = format!("workers = 2\nbind = [\"127.0.0.1:0\", \"{busy}\"]\n");
    tried.server.dir.write("ferricorn.toml", &text);
    tried.fails(&format!("cannot bind {busy}: address in use"));
    fs::remove_file(tried.server.dir.path("ferricorn.toml")).unwrap();
    tried.server.dir.write("ferricorn.toml", good);
    tried.recovers();
}

/// One that was named must be there.
#[test]
fn a_configuration_file_that_is_missing_changes_nothing() {
    let _turn = turn();
    let start = testapp().args("--config app.toml");
    start.dir().write("app.toml", "workers = 2\n");
    let tried = Tried::new(start.ready());
    let [here, away] = ["app.toml", "away.toml"].map(|name| tried.server.dir.path(name));
    fs::rename(&here, &away).unwrap();
    tried.fails("app.toml");
    fs::rename(&away, &here).unwrap();
    tried.recovers();
}

#[test]
fn an_application_that_is_broken_changes_nothing() {
    let _turn = turn();
    let tried = Tried::new(testapp().args("--workers 2 --boot-timeout 0.5").ready());
    for (control, text, reason) in [
        ("load-fail", "", "the test wants load to fail"),
        ("load-panic", "", "the test wants load to panic"),
        ("load-exit", "", "exited with code 7"),
        ("load-hang", "", "boot-timeout (0.5 s"),
        ("boot-fail", "", "the test wants boot to fail"),
        ("boot-panic", "", "the test wants boot to panic"),
        ("boot-exit", "", "exited with code 7"),
        ("boot-hang", "", "boot-timeout (0.5 s"),
        ("main", "exit", "exited with code 9 without an answer"),
        ("main", "hang", "no answer within"),
        // A program that is older than what runs.
        ("main", "newer", "knows version 1; restart"),
    ] {
        tried.server.control(control, text);
        tried.fails(reason);
        tried.server.uncontrol(control);
    }
    tried.recovers();
}

#[test]
fn a_file_that_is_no_program_changes_nothing() {
    let _turn = turn();
    let start = testapp();
    let app = start.dir().path("app");
    let whole = fs::read(testapp_path()).unwrap();
    let put = |bytes: &[u8], mode: u32| put(&app, bytes, mode);
    put(&whole, 0o755);
    let tried = Tried::new(program(&app).args("--workers 2").ready());
    let foreign = [&whole[..18], &[0xff, 0xff], &whole[20..4096]].concat();
    let quits = fs::read("/bin/true").unwrap();
    for (bytes, mode, reason) in [
        (&whole[..], 0o644, "Permission denied"),
        (b"not a program\n", 0o755, "Exec format error"),
        (b"#!/bin/sh\nexit 0\n", 0o755, "app: it is a script"),
        (b"", 0o755, "Exec format error"),
        (&foreign, 0o755, "Exec format error"),
        (&whole[..256 << 10], 0o755, "was killed by"),
        (&whole[..4096], 0o755, "was killed by"),
        (&quits, 0o755, "exited with code 0 without an answer"),
    ] {
        put(bytes, mode);
        tried.fails(reason);
    }
    fs::remove_file(&app).unwrap();
    tried.fails("No such file");
    put(&whole, 0o755);
    tried.recovers();
}

/// Puts a file in the place of another one.
fn put(path: &Path, bytes: &[u8], mode: u32) {
    let new = path.with_extension("new");
    install(&new, bytes, mode);
    fs::rename(&new, path).unwrap();
}

/// One boot of ten fails, on trial or in the roll; each time whoever has asked for the reload is told, and
/// some reloads fail at nothing.
#[test]
fn an_application_that_fails_now_and_then_loses_nothing() {
    let _turn = turn();
    let server = testapp().args("--workers 4").ready();
    let load = Load::start(server.address(), 4, "/who");
    server.control("boot-odds", "10");
    let (mut complete, mut failed) = (0, 0);
    for _ in 0..20 {
        load.wait_good(20);
        let mark = server.mark();
        let (code, told) = reload_and_wait(&server);
        let logged = |text| server.log.count(mark, text);
        match code {
            Some(0) => {
                complete += 1;
                assert_eq!(logged("reload failed"), 0, "{told}");
            }
            Some(1) => {
                failed += 1;
                assert!(told.contains("the test wants this boot to fail"), "{told}");
                server.wait_after(mark, "reload failed");
            }
            _ => panic!("{code:?} {told}"),
        }
    }
    server.uncontrol("boot-odds");
    println!("{complete} reloads were complete, {failed} failed");
    assert!(complete > 0 && failed > 0);
    load.wait_good(20);
    server.take_over();
    load.wait_good(20);
    load.stop().assert_nothing_lost();
    server.wait_workers(4);
    assert!(proc::zombies(server.pid).is_empty());
    server.stop();
}
