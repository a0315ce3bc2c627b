//! A master that is killed while others keep its listeners open for it, and a worker that stands still.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::http::{self, Client};
use crate::support::load::Load;
use crate::support::{Server, Start, proc, testapp};
use crate::turn;

/// The server with a socket from a store of descriptors, as systemd(1) gives it: FileDescriptorStoreMax=.
fn with_stored(listener: &TcpListener) -> Start {
    let listener = listener.try_clone().unwrap();
    let shell = "export LISTEN_FDS=1 LISTEN_PID=$$";
    let start = testapp().no_bind().args("--workers 2");
    start.inherit(listener, 3, shell)
}

/// Who connects meanwhile waits in the queue, which belongs to the socket and not to the master.
#[test]
fn a_master_that_is_killed_leaves_its_queue_to_the_next() {
    let _turn = turn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = with_stored(&listener).ready();
    let load = Load::one_shot(address, 4, "/who");
    for _ in 0..5 {
        load.wait_good(100);
        // As after any reload.
        server.take_over();
        load.wait_good(20);
        let workers = server.workers();
        server.signal(Signal::SIGKILL);
        server.wait_exit();
        server.until("its workers to end", || {
            let ended = workers.iter().all(|pid| !proc::is_alive(*pid));
            ended.then_some(())
        });
        // Nobody serves now; who comes waits.
        let mut waiting: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Client::connect(address).unwrap();
                let who = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
                client.send(who).unwrap();
                client
            })
            .collect();
        server = with_stored(&listener).ready();
        for client in &mut waiting {
            assert_eq!(client.answer().unwrap().who().generation, 1);
        }
    }
    load.wait_good(100);
    load.stop().assert_nothing_lost();
    server.stop();
}

/// Of those who wait for a connection only one is woken; it must not be the one that cannot act.
#[test]
fn a_worker_that_stands_still_keeps_no_connection_waiting() {
    let _turn = turn();
    let server = testapp().args("--workers 3").ready();
    let workers = server.wait_workers(3);
    let waits = |server: &Server| {
        let mut waits: Vec<Duration> = (0..1000)
            .map(|_| {
                let begun = Instant::now();
                let answer = http::get(server.address(), "/who").unwrap();
                assert_eq!(answer.status, 200);
                begun.elapsed()
            })
            .collect();
        waits.sort();
        (waits[500], waits[999])
    };
    println!("half of them, and the longest: {:?}", waits(&server));
    for pid in workers {
        server.kill_worker(pid, Signal::SIGSTOP);
        server.until("it to stand still", || {
            proc::stat(pid).filter(|stat| stat.state == 'T')
        });
        // These stay, so that it would be the turn of the one that has fewer.
        let mut kept: Vec<_> = (0..20)
            .map(|_| Client::connect(server.address()).unwrap())
            .collect();
        for client in &mut kept {
            assert_ne!(client.get("/who").unwrap().who().pid, pid);
        }
        let (half, longest) = waits(&server);
        println!("with worker {pid} stopped: {half:?}, {longest:?}");
        server.kill_worker(pid, Signal::SIGCONT);
        // What is asserted of a quiet machine is 50 ms.
        assert!(longest < Duration::from_millis(250));
    }
    server.stop();
}
