//! The ring of a worker with several requests in handlers at once.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn begin(page: &mut Page, line: &str, now_us: u64) -> Cell {
    page.begin(line.as_bytes(), &Peer::Unix, RequestId::Made(1), now_us)
}

fn lines(cells: &[RequestView]) -> Vec<String> {
    let text = |cell: &RequestView| String::from_utf8(cell.line.clone()).unwrap();
    cells.iter().map(text).collect()
}

/// Numbers that look random and are the same each time (SplitMix64).
fn dice(seed: &mut u64, sides: usize) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *seed;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) % sides as u64) as usize
}

#[test]
fn who_is_in_flight_keeps_its_cell_while_others_come_and_go() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    page.set_threads(4);
    let slow = ["GET /1", "GET /2", "GET /3"];
    let cells = slow.map(|line| begin(&mut page, line, 5));
    for n in 0..100 {
        let cell = begin(&mut page, &format!("GET /fast/{n}"), 10 + n);
        assert!(!cells.contains(&cell), "{n}");
        page.end(cell, 200, 11 + n);
    }
    let view = board.view(0);
    assert_eq!(lines(&view.in_flight), slow);
    assert_eq!(view.recent.len(), RECENT);
    assert_eq!(lines(&view.recent)[0], "GET /fast/99");
    assert!(cells.iter().all(|cell| page.end(*cell, 200, 1_000) == 995));
    assert!(board.view(0).in_flight.is_empty());
}

#[test]
fn any_order_of_begins_and_ends_shows_what_is_in_flight_and_nothing_twice() {
    for (seed, threads) in (0..).zip([1, 2, 3, 17, THREADS]) {
        let mut board = Board::create().unwrap();
        let mut page = board.take_seat(0, 0, 0).unwrap();
        page.set_threads(threads);
        let mut flying: BTreeMap<String, Cell> = BTreeMap::new();
        let mut ended: BTreeSet<String> = BTreeSet::new();
        let mut seed = seed;
        for now in 2..20_000 {
            let full = flying.len() == threads;
            if !full && (flying.is_empty() || dice(&mut seed, 2) == 0) {
                let line = format!("GET /{now}");
                let cell = begin(&mut page, &line, now);
                assert!(!flying.values().any(|other| *other == cell), "{line}");
                flying.insert(line, cell);
            } else {
                let which = dice(&mut seed, flying.len());
                let line = flying.keys().nth(which).unwrap().clone();
                let cell = flying.remove(&line).unwrap();
                if dice(&mut seed, 8) == 0 {
                    page.cancel(cell);
                } else {
                    page.end(cell, 200, now);
                    ended.insert(line);
                }
            }
            if now % 97 == 0 {
                let view = board.view(0);
                let mut shown = lines(&view.in_flight);
                shown.sort();
                assert!(shown.iter().eq(flying.keys()), "{shown:?}");
                // The ring is in the order of the beginnings.
                assert!(lines(&view.recent).iter().all(|line| ended.contains(line)));
            }
        }
    }
}

#[test]
fn what_a_predecessor_with_more_threads_has_left_is_not_seen() {
    let board = Board::create().unwrap();
    let mut page = occupant(&board, 0);
    page.set_threads(THREADS);
    let cells: Vec<Cell> = (0..THREADS)
        .map(|n| begin(&mut page, "GET /", n as u64))
        .collect();
    assert_eq!(board.view(0).in_flight.len(), THREADS);
    page.end(cells[THREADS - 1], 200, 500);
    for threads in [1, 8, THREADS] {
        let mut page = occupant(&board, 0);
        assert!(board.view(0).in_flight.is_empty(), "{threads}");
        page.set_threads(threads);
        let view = board.view(0);
        assert!(
            view.in_flight.is_empty() && view.recent.is_empty(),
            "{threads}"
        );
    }
}

#[test]
fn a_ring_that_is_full_by_mistake_goes_on() {
    let mut board = Board::create().unwrap();
    let mut page = board.take_seat(0, 0, 0).unwrap();
    for n in 0..3 * RECENT {
        begin(&mut page, "GET /", n as u64);
    }
    assert_eq!(board.view(0).in_flight.len(), RECENT);
}

#[test]
fn a_worker_without_threads_takes_no_memory_for_theirs() {
    let blocks = |threads: usize| {
        let mut board = Board::create().unwrap();
        let mut page = board.take_seat(0, 0, 1).unwrap();
        page.set_threads(threads);
        for n in 0..1000 {
            let cell = begin(&mut page, "GET /", n);
            page.end(cell, 200, n);
        }
        let _ = board.view(0);
        nix::sys::stat::fstat(board.fd()).unwrap().st_blocks
    };
    assert!(blocks(1) + 2 * 50 < blocks(THREADS));
}
