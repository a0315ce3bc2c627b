//! What the scoreboard promises.

use super::layout::*;
use super::*;
use crate::peer::Peer;

#[test]
fn a_request_is_in_flight_until_it_ends_and_then_recent() {
    let mut board = Board::create().unwrap();
    let peer = Peer::Tcp("[2001:db8::1]:443".parse().unwrap());
    let mut page = board.take_seat(3, 1, 7).unwrap();
    let cell = page.begin("GET /a?b=c", &peer, 1_000);
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
    assert_eq!(view.histogram[11], 1, "2000 µs lie below 2^11");
}

#[test]
fn a_long_line_is_cut_and_a_short_one_after_it_is_whole() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    let peer = Peer::Tcp("127.0.0.1:1".parse().unwrap());
    for _ in 0..RECENT {
        let cell = page.begin(&format!("GET {}", "x".repeat(5000)), &peer, 1);
        page.end(cell, 200, 1);
    }
    page.begin("PUT /y", &peer, 5);
    let view = board.view(0);
    assert_eq!(view.in_flight[0].line, b"PUT /y");
    assert!(view.recent.iter().all(|cell| cell.line.len() == LINE_MAX));
}

#[test]
fn a_streaming_request_keeps_its_cell_while_the_ring_turns() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    let cell = page.begin("GET /events", &Peer::Unix, 1);
    let stream = page.stream(cell).unwrap();
    page.end(cell, 200, 2);
    for _ in 0..2 * RECENT {
        let cell = page.begin("GET /", &Peer::Unix, 3);
        page.end(cell, 200, 4);
    }
    let view = board.view(0);
    assert_eq!(view.in_flight.len(), 1);
    assert!(view.in_flight[0].streaming);
    assert_eq!(view.in_flight[0].line, b"GET /events");
    page.end(stream, 200, 9);
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
fn garbage_in_a_cell_is_bounded() {
    let mut board = Board::create().unwrap();
    let page = board.take_seat(0, 0, 0).unwrap();
    for n in 0..AREA_WORDS {
        page.store(n, u64::MAX - 1);
    }
    page.store(RECENT_AT + CELL_STATE, 1);
    let view = board.view(0);
    assert!(view.recent.iter().all(|cell| cell.line.len() <= LINE_MAX));
}
