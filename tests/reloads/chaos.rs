//! All that an operator may do without losing anything, in no order, one upon the other.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::load::Load;
use crate::support::{proc, testapp};
use crate::turn;

#[test]
fn whatever_an_operator_does_closes_no_connection() {
    let _turn = turn();
    let server = testapp()
        .args("--max-requests 500 --max-requests-jitter 100")
        .file("workers = 2\n")
        .ready();
    let kept = Load::keep_alive(server.address(), 8, "/who");
    let slow = Load::keep_alive(server.address(), 4, "/sleep/3");
    let new = Load::one_shot(server.address(), 2, "/who");
    let mut random = Random(1);
    for _ in 0..400 {
        match random.below(10) {
            0..4 => server.signal(Signal::SIGHUP),
            4 => server.signal(Signal::SIGTTIN),
            5 => server.signal(Signal::SIGTTOU),
            6 => server.signal(Signal::SIGUSR1),
            7 => {
                let text = format!("workers = {}\n", 1 + random.below(4));
                server.dir.write("ferricorn.toml", &text);
            }
            8 => server.control("boot-fail", &random.below(4).to_string()),
            _ => {
                let _ = std::fs::remove_file(server.dir.path("control/boot-fail"));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(40)));
    }
    let _ = std::fs::remove_file(server.dir.path("control/boot-fail"));
    server.dir.write("ferricorn.toml", "workers = 3\n");
    server.until("the last reload to be over", || {
        let log = server.log.text();
        let (_, last) = log.rsplit_once("Trying ")?;
        let over = last.contains("Reload complete") || last.contains("reload failed");
        over.then_some(())
    });
    server.take_over();
    for load in [kept, slow] {
        load.wait_good(50);
        let report = load.stop();
        println!("{} requests", report.good);
        report.assert_nobody_noticed();
    }
    new.wait_good(50);
    new.stop().assert_nothing_lost();
    assert!(proc::zombies(server.pid).is_empty());
    println!("{} reloads", server.log.count(0, "Reload complete"));
    server.stop();
}

/// Whoever got through is answered, also by workers that were told to go while they booted.
#[test]
fn a_stop_at_any_moment_of_a_reload_loses_nothing() {
    let _turn = turn();
    for round in 0..12 {
        let mut server = testapp().args("--workers 2").ready();
        let load = Load::start(server.address(), 6, "/who");
        load.wait_good(20);
        server.signal(Signal::SIGHUP);
        // The trial, the exec, the roll, and what drains after it.
        std::thread::sleep(Duration::from_millis(7 * round));
        load.may_end();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit().code(), Some(0));
        let report = load.stop();
        assert!(report.bad.is_empty(), "round {round}: {report:?}");
    }
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
