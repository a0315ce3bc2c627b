//! A second master, as systemd sees it: which process is the main one, and when it is another.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::manager::{Manager, ask};

const CONFIGURATION: &str = "bind = \"127.0.0.1:0\"\nworkers = 1\n";

fn tell(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// USR2 to the main process, until another one is that.
fn upgrade(manager: &Manager) -> String {
    let first = manager.show("MainPID");
    manager.signal("USR2");
    manager.until("another main process", || {
        let main = manager.show("MainPID");
        (main != first).then_some(main)
    })
}

#[test]
fn an_upgrade_and_a_roll_back_are_no_restart() {
    let Some(manager) = Manager::boot(CONFIGURATION, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let (address, first) = (manager.address(), manager.show("MainPID"));
    let [outside] = manager.masters()[..] else {
        panic!("{:?}", manager.masters())
    };
    let steady = || {
        assert_eq!(manager.show("ActiveState"), "active");
        assert_eq!(manager.show("NRestarts"), "0");
        manager.who(address);
    };
    // The one that is told to reload is the main one, and it goes.
    upgrade(&manager);
    manager.systemctl("reload ferricorn.service");
    steady();
    manager.signal("TERM");
    manager.until("the main process of before", || {
        (manager.show("MainPID") == first).then_some(())
    });
    manager.until("one master", || {
        (manager.masters() == [outside]).then_some(())
    });
    steady();

    let second = upgrade(&manager);
    tell(outside, Signal::SIGTERM);
    manager.until("one master", || {
        (manager.masters().len() == 1).then_some(())
    });
    steady();
    assert_eq!(manager.show("MainPID"), second);
    manager.systemctl("reload ferricorn.service");
    steady();
    assert_ne!(manager.masters(), [outside]);
    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.show("Result"), "success");
    assert_eq!(manager.processes(), 0);
}

/// A main process that systemd has not started itself it would kill right after the signal.
#[test]
fn a_stop_after_an_upgrade_finishes_what_is_under_way() {
    let Some(manager) = Manager::boot(CONFIGURATION, "") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let [first] = manager.masters()[..] else {
        panic!("{:?}", manager.masters())
    };
    upgrade(&manager);
    tell(first, Signal::SIGTERM);
    manager.until("one master", || {
        (manager.masters().len() == 1).then_some(())
    });
    let mut slow = ask(manager.address(), "/hang/1500");
    manager.until("the request", || {
        let log = manager.log();
        log.contains("in the handler of /hang/1500").then_some(())
    });
    manager.systemctl("stop ferricorn.service");
    assert_eq!(slow.answer().unwrap().status, 200);
    assert_eq!(manager.show("Result"), "success");
    assert_eq!(manager.processes(), 0);
}

/// It cannot say who leads now; the first one can where systemd listens to it.
#[test]
fn a_second_master_that_is_killed_leaves_the_first_one_main_where_it_is_heard() {
    let Some(manager) = Manager::boot(CONFIGURATION, "NotifyAccess=all\n") else {
        return;
    };
    manager.systemctl("start ferricorn.service");
    let first = manager.show("MainPID");
    upgrade(&manager);
    manager.signal("KILL");
    manager.until("the main process of before", || {
        (manager.show("MainPID") == first).then_some(())
    });
    assert_eq!(manager.show("ActiveState"), "active");
    assert_eq!(manager.show("NRestarts"), "0");
    manager.systemctl("stop ferricorn.service");
    assert_eq!(manager.processes(), 0);
}
