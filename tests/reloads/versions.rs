//! The program replaced by another version of itself, again and again, under load.

use std::fs;
use std::path::{Path, PathBuf};

use crate::load::assert_nothing_left;
use crate::support::load::Load;
use crate::support::{Dir, install, proc, program, testapp_path};
use crate::turn;

/// The test application, whose `/version` answers this.
fn version(dir: &Dir, version: &str) -> PathBuf {
    let path = dir.path(version);
    let mut bytes = fs::read(testapp_path()).unwrap();
    bytes.extend(format!("version {version}").bytes());
    install(&path, &bytes, 0o755);
    path
}

/// Puts a program in the place of another one, as mv(1) does.
fn replace(app: &Path, by: &Path) {
    let new = app.with_extension("new");
    fs::hard_link(by, &new).unwrap();
    fs::rename(&new, app).unwrap();
}

#[test]
fn two_versions_take_turns_fifty_times_in_one_process_and_nothing_is_lost() {
    let _turn = turn();
    let programs = Dir::new();
    let versions = ["1", "2"].map(|number| (version(&programs, number), number));
    let app = programs.path("app");
    replace(&app, &versions[0].0);
    let server = program(&app).args("--workers 2").ready();
    let kept = Load::keep_alive(server.address(), 4, "/version");
    let new = Load::one_shot(server.address(), 2, "/version");
    for round in 1..=50 {
        kept.wait_good(20);
        new.wait_good(20);
        let (file, number) = &versions[round % 2];
        replace(&app, file);
        server.take_over();
        assert_eq!(server.get("/version").text(), *number);
    }
    kept.wait_good(20);
    new.wait_good(20);
    let (kept, new) = (kept.stop(), new.stop());
    kept.assert_nobody_noticed();
    new.assert_nothing_lost();
    for report in [&kept, &new] {
        let seen: Vec<&str> = report.texts.keys().map(String::as_str).collect();
        assert_eq!(seen, ["1", "2"]);
        println!("{:?}", report.texts);
    }
    // It is the process that was started, by `Server`, and reaped every worker that it ever had.
    assert!(proc::command_line(server.pid).contains("master"));
    assert_eq!(server.log.count(0, "Executed "), 50);
    assert_nothing_left(&server, 2);
    server.stop();
}
