//! Reloads of a server whose socket systemd holds, and what is asked for in the middle of one.

use std::process::Child;

use crate::manager::{Manager, own_address};
use crate::support::load::Load;

/// A server at systemd's socket, and where it listens.
fn at_a_socket() -> Option<(Manager, std::net::SocketAddr)> {
    let manager = Manager::boot("bind = \"fd://http\"\nworkers = 2\n", "")?;
    let address = own_address();
    let lines = format!(
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=\nListenStream={address}\n"
    );
    manager.drop_in("ferricorn.socket", "test.conf", &lines);
    manager.systemctl("start ferricorn.socket");
    assert_eq!(manager.who(address).generation, 1);
    Some((manager, address))
}

/// A reload whose worker on trial waits to be let go on.
fn begun(manager: &Manager) -> Child {
    let before = manager.log().matches("waiting in boot").count();
    manager.dir.write("control/boot-wait", "");
    let reload = manager.begin("reload ferricorn.service");
    manager.until("a worker on trial", || {
        (manager.log().matches("waiting in boot").count() > before).then_some(())
    });
    reload
}

fn go_on(manager: &Manager) {
    std::fs::remove_file(manager.dir.path("control/boot-wait")).unwrap();
}

#[test]
fn binds_come_and_go_beside_a_socket_that_systemd_holds() {
    let Some((manager, address)) = at_a_socket() else {
        return;
    };
    let load = Load::start(address, 4, "/who");
    let binds = |binds: &str| {
        let text = format!("bind = [{binds}]\nworkers = 2\n");
        manager.dir.write("ferricorn.toml", &text);
        manager.systemctl("reload ferricorn.service");
    };
    let other = own_address();
    let pid = manager.show("MainPID");
    for _ in 0..2 {
        binds(&format!("\"fd://http\", \"{other}\""));
        manager.who(other);
        binds("\"fd://http\"");
        assert!(std::net::TcpStream::connect(other).is_err());
        load.wait_good(50);
    }
    // Nor does the other way round refuse anybody: systemd has the queue.
    load.stop().assert_nobody_noticed();
    binds(&format!("\"{other}\""));
    manager.who(other);
    let waits = std::thread::spawn(move || crate::support::http::get(address, "/who").unwrap());
    binds("\"fd://http\"");
    assert_eq!(waits.join().unwrap().status, 200);
    assert_eq!(manager.show("MainPID"), pid);
    assert_eq!(manager.show("NFileDescriptorStore"), "0");
    manager.systemctl("stop ferricorn.service");
}

#[test]
fn what_is_asked_for_in_the_middle_of_a_reload_is_done() {
    let Some((manager, address)) = at_a_socket() else {
        return;
    };
    let load = Load::start(address, 4, "/who");
    let pid = manager.show("MainPID");
    // Two at once.
    let mut one = begun(&manager);
    let mut other = manager.begin("reload ferricorn.service");
    go_on(&manager);
    assert!(one.wait().unwrap().success() && other.wait().unwrap().success());
    assert_eq!(manager.show("MainPID"), pid);
    load.wait_good(50);

    // To systemd a restart is all of what a reload is, so that both have succeeded.
    let mut reload = begun(&manager);
    let mut restart = manager.begin("restart ferricorn.service");
    manager.until("the stop", || {
        manager.log().contains("stopping").then_some(())
    });
    go_on(&manager);
    assert!(restart.wait().unwrap().success() && reload.wait().unwrap().success());
    assert_ne!(manager.show("MainPID"), pid);
    load.wait_good(50);
    load.stop().assert_nothing_lost();
    // A stop is not, and is no failure of the unit.
    let mut reload = begun(&manager);
    manager.systemctl("stop ferricorn.socket ferricorn.service");
    assert!(!reload.wait().unwrap().success());
    assert_eq!(manager.show("ActiveState"), "inactive");
    assert_eq!(manager.show("Result"), "success");
    assert!(manager.masters().is_empty());
}
