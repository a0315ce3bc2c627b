//! What the scoreboard promises.

mod ring;

use std::net::IpAddr;
use std::sync::Arc;

use super::layout::*;
use super::*;
use crate::peer::Peer;
use crate::request::RequestId;

#[test]
fn a_request_is_in_flight_until_it_ends_and_then_recent() {
    let mut board = Board::create().unwrap();
    let peer = Peer::Tcp("[2001:db8::1]:443".parse().unwrap());
    let mut page = board.take_seat(3, 1, 7).unwrap();
    let cell = page.begin(b"GET /a?b=c", &peer, RequestId::Made(1), 1_000);
    let view = board.view(3);
    assert_eq!((view.slot, view.generation), (1, 7));
    assert_eq!(view.in_flight[0].line, b"GET /a?b=c");
    assert_eq!(view.in_flight[0].peer, peer);
    page.end(cell, 200, 3_000);
    let view = board.view(3);
    assert!(view.in_flight.is_empty());
    assert_eq!(
        (view.recent[0].status, view.recent[0].ended_us),
        (200, 3_000)
    );
    assert_eq!(view.handler_times[11], 1, "2000 µs lie below 2^11");
}

#[test]
fn a_long_line_is_cut_and_a_short_one_after_it_is_whole() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    let peer = Peer::Tcp("127.0.0.1:1".parse().unwrap());
    for _ in 0..RECENT {
        let line = format!("GET {}", "x".repeat(5000));
        let name = "y".repeat(128);
        let cell = page.begin(line.as_bytes(), &peer, RequestId::Given(&name), 1);
        page.end(cell, 200, 1);
    }
    page.begin(b"PUT /y", &peer, RequestId::Given("me"), 5);
    let view = board.view(0);
    assert_eq!(view.in_flight[0].line, b"PUT /y");
    assert_eq!(view.in_flight[0].id, "me");
    assert!(view.recent.iter().all(|cell| cell.id.len() == ID_MAX));
    assert!(view.recent.iter().all(|cell| cell.line.len() == LINE_MAX));
}

#[test]
fn a_streaming_request_keeps_its_cell_while_the_ring_turns() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    let cell = page.begin(b"GET /events", &Peer::Unix, RequestId::Made(2), 1);
    let stream = page.stream(cell).unwrap();
    page.end(cell, 200, 2);
    for _ in 0..2 * RECENT {
        let cell = page.begin(b"GET /", &Peer::Unix, RequestId::Made(3), 3);
        page.end(cell, 200, 4);
    }
    let view = board.view(0);
    assert_eq!(view.in_flight.len(), 1);
    assert!(view.in_flight[0].streaming);
    assert_eq!(view.in_flight[0].line, b"GET /events");
    assert_eq!(view.in_flight[0].id, RequestId::Made(2).to_string());
    page.end_stream(stream, 200, 9);
    assert!(board.view(0).in_flight.is_empty());
}

#[test]
fn the_board_can_neither_shrink_nor_grow() {
    let board = Board::create().unwrap();
    assert!(nix::unistd::ftruncate(board.fd(), 4096).is_err());
    assert!(nix::unistd::ftruncate(board.fd(), 1 << 30).is_err());
}

#[test]
fn a_board_can_be_attached_to_and_nothing_else_can() {
    let board = Board::create().unwrap();
    board.set_alive(2, true);
    let mut other = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    assert!(other.is_alive(2));
    let page = other.take_seat(2, 0, 0).unwrap();
    page.set_connections(7);
    assert_eq!(board.connections(2), 7);
    other.set_alive(2, false);
    assert!(board.is_alive(2), "only the master says so");
    let foreign = std::fs::File::open("/dev/null").unwrap();
    let error = Board::attach(foreign.into()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn alive_seats_are_the_masters_to_say() {
    let mut board = Board::create().unwrap();
    board.set_alive(4, true);
    assert!(board.is_alive(4) && board.high() == 5);
    let _page = board.take_seat(4, 0, 0).unwrap();
    board.set_alive(4, false);
    assert!(board.is_alive(4), "a worker cannot say it");
    assert!(!board.is_alive(SEATS + 9));
}

#[test]
fn who_serves_accepts_unless_it_says_otherwise() {
    let mut board = Board::create().unwrap();
    board.set_alive(1, true);
    let mut own = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let page = own.take_seat(1, 0, 0).unwrap();
    let says = |board: &Board| (board.is_serving(1), board.is_accepting(1));
    assert_eq!(says(&board), (false, false), "it boots");
    page.set_state(State::Serving);
    assert_eq!(says(&board), (true, true));
    page.set_accepting(false);
    assert_eq!(says(&board), (true, false));
    // Its successor on the seat starts anew.
    let page = board.take_seat(1, 0, 1).unwrap();
    page.set_state(State::Serving);
    assert_eq!(says(&board), (true, true));
    page.set_accepting(false);
    page.set_accepting(true);
    assert!(board.is_accepting(1));
}

#[test]
fn a_loop_is_held_up_by_the_handler_that_it_runs() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    page.turn(1_000);
    assert_eq!(board.held_up_since(0), None);
    let quick = page.begin(b"GET /", &Peer::Unix, RequestId::Made(1), 1_000);
    page.end(quick, 200, 1_500);
    let slow = page.begin(b"GET /slow", &Peer::Unix, RequestId::Made(2), 1_500);
    assert_eq!(board.held_up_since(0), Some(1_500));
    // Another thread has the loop now.
    page.turn(2_000);
    assert_eq!(board.held_up_since(0), None);
    let other = page.begin(b"GET /too", &Peer::Unix, RequestId::Made(3), 2_000);
    assert_eq!(board.held_up_since(0), Some(2_000));
    // Its body is to come first.
    page.cancel(other);
    page.end(slow, 200, 3_000);
    assert_eq!(board.held_up_since(0), None);
}

#[test]
fn garbage_in_a_cell_is_bounded() {
    let mut board = Board::create().unwrap();
    let page = board.take_seat(0, 0, 0).unwrap();
    for n in 0..AREA_WORDS {
        page.store(n, u64::MAX - 1);
    }
    let view = board.view(0);
    assert!(view.recent.iter().all(|cell| cell.line.len() <= LINE_MAX));
}

/// A worker on `seat` that counts peers.
fn serving(board: &Board, seat: usize) -> (Page, Peers) {
    board.set_alive(seat, true);
    let mut own = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let page = own.take_seat(seat, seat, 1).unwrap();
    let peers = Peers::new(Arc::new(own), seat, &page).unwrap();
    page.set_state(State::Serving);
    (page, peers)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_a_peer_has_is_the_sum_over_the_workers_that_serve() {
    let board = Board::create().unwrap();
    let (_page, mut first) = serving(&board, 0);
    let (page, mut second) = serving(&board, 7);
    let key = first.key(ip("192.0.2.1"));
    assert_eq!(key, second.key(ip("192.0.2.1")), "all workers use one key");
    let other = first.key(ip("192.0.2.2"));
    for (n, peers) in [(3, &mut first), (4, &mut second)] {
        for _ in 0..n {
            peers.connected(key, 5_000_000);
            peers.requested(key, 5_000_000);
        }
    }
    for peers in [&first, &second] {
        assert_eq!((peers.connections(key), peers.connections(other)), (7, 0));
        for rate in [Rate::Connections, Rate::Requests] {
            assert!(!peers.is_below(rate, key, 7, 5_900_000), "{rate:?}");
            assert!(peers.is_below(rate, key, 8, 5_900_000), "{rate:?}");
            assert!(peers.is_below(rate, key, 4, 6_500_000), "{rate:?}");
        }
    }
    second.disconnected(key);
    assert_eq!(first.connections(key), 6);
    // One that drains has left, and so has one that died.
    page.set_state(State::Draining);
    assert_eq!((first.connections(key), second.connections(key)), (3, 6));
    page.set_state(State::Serving);
    board.set_alive(7, false);
    assert_eq!(first.connections(key), 3);
    // Who comes after it begins anew, with a table or without.
    board.set_alive(7, true);
    let mut own = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let successor = own.take_seat(7, 7, 2).unwrap();
    successor.set_state(State::Serving);
    assert_eq!(first.connections(key), 3);
    let _third = serving(&board, 7);
    assert_eq!(first.connections(key), 3);
}

#[test]
fn a_client_of_ipv6_is_its_network_and_of_ipv4_its_address() {
    let board = Board::create().unwrap();
    let (_page, peers) = serving(&board, 0);
    let key = |text: &str| peers.key(ip(text));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("::ffff:192.0.2.1"), key("::ffff:192.0.2.2"));
    // Another server cannot be asked which addresses collide.
    let other = Board::create().unwrap();
    assert_ne!(key("192.0.2.1"), serving(&other, 0).1.key(ip("192.0.2.1")));
}

#[test]
fn a_full_table_remembers_those_with_many_connections() {
    let board = Board::create().unwrap();
    let (_page, mut peers) = serving(&board, 0);
    let heavy: Vec<_> = (0..8)
        .map(|n| peers.key(ip(&format!("192.0.2.{n}"))))
        .collect();
    for _ in 0..5 {
        heavy.iter().for_each(|key| peers.connected(*key, 0));
    }
    for n in 0..20 * PEERS as u32 {
        let key = peers.key(std::net::Ipv4Addr::from(n).into());
        peers.connected(key, 0);
    }
    for key in heavy {
        assert_eq!(peers.connections(key), 5);
    }
    // Whom it has forgotten is no trouble when it goes.
    for n in 0..20 * PEERS as u32 {
        let key = peers.key(std::net::Ipv4Addr::from(n).into());
        peers.disconnected(key);
    }
}

#[test]
fn tables_that_nobody_uses_take_no_memory() {
    let board = Board::create().unwrap();
    board.set_alive(0, true);
    let mut own = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let page = own.take_seat(0, 0, 1).unwrap();
    page.set_state(State::Serving);
    // The header and the area of the worker, at most.
    let blocks = nix::sys::stat::fstat(board.fd()).unwrap().st_blocks;
    assert!(blocks * 512 <= 2 * (64 << 10), "{blocks} blocks");
}

#[test]
fn garbage_in_a_table_overflows_nothing() {
    let board = Board::create().unwrap();
    let (_page, first) = serving(&board, 0);
    let (_page, second) = serving(&board, 1);
    let key = first.key(ip("192.0.2.1"));
    for peers in [&first, &second] {
        peers.fill(key, u64::MAX);
    }
    assert_eq!(first.connections(key), u64::MAX);
    assert!(!first.is_below(Rate::Requests, key, 65_535, 0));
}

/// A worker on `seat` that is there, as a process of its own would be.
fn occupant(board: &Board, seat: usize) -> Page {
    let mut own = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let page = own.take_seat(seat, seat, 1).unwrap();
    board.set_alive(seat, true);
    page
}

#[test]
fn the_dead_are_counted_once_and_on() {
    let board = Board::create().unwrap();
    let pages = [0, 3].map(|seat| occupant(&board, seat));
    let mut count = 0;
    for (n, page) in (1..).zip(&pages) {
        page.add(Counter::Requests, n);
        page.queued(1_000);
        page.set_connections(2);
        count += n;
    }
    let totals = |count: u64| {
        let totals = board.totals();
        assert_eq!(totals.get(Counter::Requests), count);
        totals
    };
    assert_eq!(totals(count).connections, 4);
    // One that drains is not alive, and counts on.
    board.set_alive(3, false);
    pages[1].add(Counter::Requests, 1);
    assert_eq!(totals(count + 1).queue_times[10], 2);
    for _ in 0..2 {
        board.bury(3);
        assert_eq!(totals(count + 1).connections, 2);
    }
    // A successor that dies before it has taken the seat has done nothing.
    board.set_alive(3, true);
    board.bury(3);
    totals(count + 1);
    let successor = occupant(&board, 3);
    totals(count + 1);
    successor.add(Counter::Requests, 5);
    totals(count + 6);
    // The master itself counts, too.
    board.count(&[(Counter::LogErrors, 2), (Counter::LogWarnings, 1)]);
    assert_eq!(totals(count + 6).get(Counter::LogErrors), 2);
    // Another image of the master goes on where this one was.
    let next = Board::adopt(board.fd().try_clone_to_owned().unwrap()).unwrap();
    next.bury(0);
    next.bury(3);
    next.count(&[(Counter::LogErrors, 3)]);
    let all = totals(count + 6);
    let logged = [Counter::LogErrors, Counter::LogWarnings].map(|counter| all.get(counter));
    assert_eq!(logged, [5, 1]);
    assert_eq!(all, next.totals());
    assert_eq!((all.queue_times[10], all.connections), (2, 0));
    assert_eq!(all.get(Counter::QueueMicros), 2_000);
    assert_eq!(all.since(&all).get(Counter::Requests), 0);
}

#[test]
fn no_sum_goes_backwards_whoever_dies_while_it_is_read() {
    const SEATS_USED: usize = 3;
    const ROUNDS: u64 = 2_000;
    let board = Board::create().unwrap();
    let reader = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut last = reader.totals();
        let mut looks = 0_u64;
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            let totals = reader.totals();
            for (counter, (before, now)) in last.counters.iter().zip(&totals.counters).enumerate() {
                assert!(before <= now, "counter {counter}: {before} > {now}");
            }
            let pairs = last.handler_times.iter().zip(&totals.handler_times);
            assert!(pairs.clone().all(|(before, now)| before <= now));
            last = totals;
            looks += 1;
        }
        (last, looks)
    });
    let mut pages: Vec<Page> = (0..SEATS_USED).map(|seat| occupant(&board, seat)).collect();
    let mut sum = 0;
    for round in 0..ROUNDS {
        for page in &mut pages {
            page.add(Counter::Requests, 1 + round % 7);
            let cell = page.begin(b"GET /", &Peer::Unix, RequestId::Made(4), 0);
            page.end(cell, 200, round);
            sum += 1 + round % 7;
        }
        let seat = round as usize % SEATS_USED;
        board.bury(seat);
        if round % 3 == 0 {
            board.bury(seat);
        }
        pages[seat] = occupant(&board, seat);
    }
    drop(stop);
    let (last, looks) = watcher.join().unwrap();
    assert!(looks > 100, "{looks}");
    let totals = board.totals();
    assert_eq!(totals.get(Counter::Requests), sum);
    assert_eq!(totals.handler_times.iter().sum::<u64>(), 3 * ROUNDS);
    assert_eq!(
        totals.get(Counter::HandlerMicros),
        3 * (0..ROUNDS).sum::<u64>()
    );
    assert!(last.get(Counter::Requests) <= sum);
}

#[test]
fn a_fold_that_is_half_written_changes_nothing() {
    let board = Board::create().unwrap();
    occupant(&board, 0).add(Counter::Requests, 3);
    occupant(&board, 1).add(Counter::Requests, 4);
    board.bury(0);
    board.bury(1);
    // As the master left it, had it been stopped before the last word of the second.
    board.header.as_ref().unwrap().words()[FOLDS_AT].store(1, Ordering::Release);
    assert_eq!(board.totals().get(Counter::Requests), 7);
}

#[test]
fn responses_are_counted_by_code_and_shown_by_class() {
    let board = Board::create().unwrap();
    let page = occupant(&board, 0);
    for status in [101, 200, 204, 301, 404, 404, 499, 503, 599, 700, 0] {
        page.count_status(status);
    }
    let totals = board.totals();
    for (counters, who) in [
        (board.view(0).counters, "view"),
        (totals.counters, "totals"),
    ] {
        let class = |counter: Counter| counters[counter as usize];
        assert_eq!(class(Counter::Informational), 2, "{who}");
        assert_eq!(class(Counter::Success), 2, "{who}");
        assert_eq!(class(Counter::Redirection), 1, "{who}");
        assert_eq!(class(Counter::ClientError), 3, "{who}");
        assert_eq!(class(Counter::ServerError), 3, "{who}");
        assert_eq!(class(Counter::Requests), 11, "{who}");
    }
    assert_eq!(
        (totals.codes[304], totals.codes[499], totals.codes[0]),
        (2, 2, 1)
    );
    board.bury(0);
    assert_eq!(board.totals(), totals);
}
