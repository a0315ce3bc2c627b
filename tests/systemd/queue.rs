//! Who connects while the server is not there waits for it: sockets that systemd holds for us.

use crate::manager::{Manager, ask, own_address};
use crate::support::http;
use crate::support::load::Load;

const ANY_PORT: &str = "bind = \"127.0.0.1:0\"\nworkers = 2\n";

/// What was in the hands of a worker dies with it, which is one request for each client at the most.
#[test]
fn a_master_that_is_killed_comes_back_and_nobody_is_refused() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    assert_eq!(manager.show("NFileDescriptorStore"), "1");
    let (address, clients) = (manager.address(), 8);
    let load = Load::one_shot(address, clients, "/who");
    load.wait_good(100);
    for restarts in 1..=3 {
        let pid = manager.show("MainPID");
        manager.signal("KILL");
        manager.until_shows("NRestarts", &restarts.to_string());
        load.wait_good(200);
        assert_ne!(manager.show("MainPID"), pid);
        assert_eq!(manager.show("NFileDescriptorStore"), "1");
    }
    let report = load.stop();
    assert_eq!(report.refused, 0, "{report:?}");
    assert!(report.bad.len() <= 3 * clients, "{report:?}");
    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.show("NFileDescriptorStore"), "0");
}

#[test]
fn a_queue_outlives_its_server() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let address = manager.address();
    // Nobody accepts any more.
    manager.systemctl("kill --kill-whom=all -s STOP ferricorn.service");
    let mut waiting: Vec<_> = (0..50).map(|_| ask(address, "/who")).collect();
    manager.signal("KILL");
    for client in &mut waiting {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert_eq!(manager.show("NRestarts"), "1");
    manager.systemctl("stop ferricorn.service");
}

#[test]
fn a_restart_under_load_loses_nothing() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let load = Load::start(manager.address(), 8, "/who");
    load.wait_good(100);
    for _ in 0..3 {
        manager.systemctl("restart ferricorn.service");
        load.wait_good(100);
    }
    load.stop().assert_nothing_lost();
    manager.systemctl("stop ferricorn.service");
}

/// What is under way is finished, and who comes meanwhile waits: a few for a worker that still drains,
/// the rest for the next server.
#[test]
fn a_restart_takes_the_time_of_what_is_under_way() {
    let Some(manager) = Manager::boot(ANY_PORT, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let address = manager.address();
    let mut slow = ask(address, "/hang/1500");
    manager.until("the request", || {
        let log = manager.log();
        log.contains("in the handler of /hang/1500").then_some(())
    });
    let mut restart = manager.begin("restart ferricorn.service");
    manager.until_shows("StatusText", "Stopping");
    let late: Vec<_> = (0..20)
        .map(|_| std::thread::spawn(move || http::get(address, "/who").unwrap().who()))
        .collect();
    assert_eq!(slow.answer().unwrap().status, 200);
    assert!(restart.wait().unwrap().success());
    let master: i32 = manager.show("MainPID").parse().unwrap();
    let late: Vec<_> = late.into_iter().map(|who| who.join().unwrap()).collect();
    assert!(late.iter().any(|who| who.pid > master), "{late:?}");
    manager.systemctl("stop ferricorn.service");
}

#[test]
fn the_first_client_starts_the_server_and_a_restart_refuses_nobody() {
    let Some(manager) = Manager::boot("bind = \"fd://http\"\nworkers = 2\n", "") else {
        return;
    };
    let address = own_address();
    let lines = format!(
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=\nListenStream={address}\n"
    );
    manager.drop_in("ferricorn.socket", "test.conf", &lines);
    manager.systemctl("start ferricorn.socket");
    assert_eq!(manager.show("ActiveState"), "inactive");
    assert_eq!(manager.who(address).generation, 1);
    assert_eq!(manager.show("ActiveState"), "active");
    assert_eq!(manager.address(), address);
    // That one is systemd's already.
    assert_eq!(manager.show("NFileDescriptorStore"), "0");

    let load = Load::start(address, 8, "/who");
    load.wait_good(100);
    for _ in 0..3 {
        manager.systemctl("restart ferricorn.service");
        load.wait_good(100);
    }
    load.stop().assert_nothing_lost();
    // Stopped, it is started by the next one.
    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.who(address).generation, 1);
    manager.systemctl("stop ferricorn.socket ferricorn.service");
}
