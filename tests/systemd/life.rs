//! What `systemctl` says and does from start to stop.

use std::fs;

use crate::manager::Manager;

/// What the system chooses; the log says which.
const ANY_PORT: &str = "bind = \"127.0.0.1:0\"\nworkers = 2\n";

#[test]
fn a_start_ends_when_the_workers_are_ready() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.dir.write("control/boot-wait", "");
    let mut start = manager.begin("start ferricorn.service");
    manager.until_shows("StatusText", "Starting: 0 of 2 workers ready");
    assert_eq!(manager.show("ActiveState"), "activating");
    assert!(start.try_wait().unwrap().is_none(), "it waits");
    fs::remove_file(manager.dir.path("control/boot-wait")).unwrap();
    assert!(start.wait().unwrap().success());
    assert_eq!(manager.show("ActiveState"), "active");
    let text = manager.show("StatusText");
    assert_eq!(text, "Serving: 2 of 2 workers ready, generation 1");
    assert_eq!(manager.processes(), 3);

    // The numbers follow.
    manager.signal("TTIN");
    manager.until_shows("StatusText", "3 of 3 workers ready");
    let pid = manager.show("MainPID");
    let status = manager.ctl("status");
    assert!(status.contains(&pid), "{status}");

    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.show("ActiveState"), "inactive");
    assert_eq!(manager.show("Result"), "success");
    assert_eq!(manager.processes(), 0);
    assert_eq!(manager.show("NFileDescriptorStore"), "0");
}

#[test]
fn a_start_that_fails_says_why() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.dir.write("control/load-fail", "");
    let start = manager.try_systemctl("start ferricorn.service");
    assert!(!start.status.success());
    // It is tried again until systemd has had enough.
    manager.until_shows("ActiveState", "failed");
    let text = manager.show("StatusText");
    assert!(text.starts_with("Cannot start: "), "{text}");
    assert_eq!(manager.show("ExecMainStatus"), "4");
    assert_eq!(manager.processes(), 0);
}

#[test]
fn a_reload_keeps_the_process_and_one_that_fails_the_generation() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let (address, pid) = (manager.address(), manager.show("MainPID"));
    assert_eq!(manager.who(address).generation, 1);
    manager.systemctl("reload ferricorn.service");
    // It ended when the old workers had gone.
    assert_eq!(manager.processes(), 3);
    assert_eq!(manager.who(address).generation, 2);
    manager.until_shows("StatusText", "Serving: 2 of 2 workers ready, generation 2");

    manager.dir.write("ferricorn.toml", "backlogg = 5\n");
    // It is waited for, so that nothing of it comes afterwards.
    let reload = manager.try_systemctl("reload ferricorn.service");
    assert!(!reload.status.success(), "it says that it has failed");
    let command = manager.show("ExecReload");
    assert!(command.contains("code=exited ; status=1 "), "{command}");
    let text = manager.until_shows("StatusText", "Reload failed: ");
    assert!(text.contains("backlogg"), "{text}");
    assert!(text.contains("generation 2 serves on"), "{text}");
    assert_eq!(manager.show("ActiveState"), "active");
    assert_eq!(manager.who(address).generation, 2);
    assert_eq!(manager.show("MainPID"), pid);
    manager.systemctl("stop ferricorn.service");
}

#[test]
fn a_master_that_hangs_is_replaced() {
    let Some(manager) = Manager::boot(ANY_PORT, "WatchdogSec=1\n") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let (address, pid) = (manager.address(), manager.show("MainPID"));
    manager.signal("STOP");
    manager.until("another master", || {
        let other = manager.show("MainPID");
        let serves = manager.show("ActiveState") == "active";
        (serves && !["0", &pid].contains(&&*other)).then_some(())
    });
    assert_eq!(manager.show("NRestarts"), "1");
    assert_eq!(manager.who(address).generation, 1);
    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.processes(), 0);
}

/// Nobody can be served while each worker is past its deadline: then the master is not alive either.
#[test]
fn a_server_of_which_no_worker_lives_is_replaced() {
    let configuration = format!("{ANY_PORT}boot-timeout = 1\nheartbeat-timeout = 1\n");
    let Some(manager) = Manager::boot(&configuration, "WatchdogSec=400ms\n") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let (address, pid) = (manager.address(), manager.show("MainPID"));
    // A worker that can no longer be ended would do. These end a second after they were told to, and
    // their successors come later each time: at last the watchdog sees them all in that state.
    manager.until("another master", || {
        manager.stop_workers();
        (manager.show("NRestarts") != "0").then_some(())
    });
    assert_ne!(manager.show("MainPID"), pid);
    assert_eq!(manager.who(address).generation, 1);
    manager.systemctl("stop ferricorn.service");
}
