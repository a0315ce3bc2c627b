//! `--once`: what the screen shows, as text, for pipes and tickets.

use std::io::{self, IsTerminal, Write};
use std::thread;

use super::link::Link;
use super::rates::{Pace, Rates, is_after};
use super::table::{Layout, Row, Sort};
use super::text::{Glyphs, Piece};
use super::{Call, head};
use crate::control::words::Status;

/// Looks twice, an interval apart, and prints.
///
/// # Errors
/// There is no server, or it has gone; standard output is closed.
pub(super) fn print(call: &Call) -> Result<(), String> {
    let mut link = Link::open(call)?;
    let earlier = link.status()?;
    thread::sleep(call.interval);
    let later = link.status()?;
    if !is_after(&earlier, &later) {
        return Err("the server was started anew meanwhile".to_owned());
    }
    let mut out = io::stdout().lock();
    let glyphs = match out.is_terminal() {
        true => Glyphs::here(),
        false => Glyphs::Plain,
    };
    let text = table(&earlier, &later, call.sort, glyphs);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn table(earlier: &Status, later: &Status, sort: Sort, glyphs: Glyphs) -> String {
    let pace = |worker| Pace::between(earlier, later, worker);
    let mut rows: Vec<Row<'_>> = later
        .workers
        .iter()
        .map(|worker| Row {
            worker,
            pace: pace(worker),
        })
        .collect();
    rows.sort_by(|one, other| sort.compare(one, other));
    let wide = usize::MAX;
    let rates = Rates::between(earlier, later);
    let mut who = head::server(later);
    who.push(head::phase(later));
    let mut lines = vec![
        head::line(who, wide),
        head::line(head::rates(&rates, earlier, later), wide),
        head::line(head::workers(later, &rows, glyphs), wide),
    ];
    let wrong = head::alarms(later).into_iter().chain(head::worries(later));
    lines.extend(wrong.map(|piece| vec![piece]));
    lines.push(Vec::new());
    let layout = Layout::fit(&rows, None, glyphs);
    let spaced = |cells: Vec<Piece>| {
        let gap = || (" ".to_owned(), super::text::Tone::Plain);
        cells.into_iter().flat_map(|cell| [cell, gap()]).collect()
    };
    lines.push(spaced(layout.heads(sort, glyphs)));
    lines.extend(rows.iter().map(|row| spaced(layout.cells(row, glyphs))));
    let text = |line: &Vec<Piece>| {
        let line: String = line.iter().map(|(text, _)| text.as_str()).collect();
        line.trim_end().to_owned() + "\n"
    };
    lines.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::words::{Counters, Current, End, Worker};

    #[test]
    fn a_table_for_a_ticket() {
        let busy = |requests: u64| Worker {
            pid: 4711,
            generation: 2,
            stage: "serving".to_owned(),
            age: 90.0,
            requests,
            connections: 3,
            in_flight: 1,
            current: vec![Current {
                method: "GET".to_owned(),
                target: "/a/long/way/to/go".to_owned(),
                age: 12.34,
                ..Current::default()
            }],
            handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, requests],
            rss: Some(5 << 20),
            restarts: 3,
            last_end: Some(End {
                how: "was killed by SIGSEGV\x1b[2J".to_owned(),
                well: false,
                ago: 95.0,
            }),
            ..Worker::default()
        };
        let look = |uptime: f64, requests: u64| Status {
            server: "1.2.3".to_owned(),
            pid: 4700,
            uptime,
            phase: "serving".to_owned(),
            generation: 2,
            wanted: 1,
            ready: 1,
            totals: Counters {
                requests,
                bytes_out: requests * 2048,
                ..Counters::default()
            },
            workers: vec![busy(requests)],
            failure: Some("no\nway".to_owned()),
            ..Status::default()
        };
        let looks = (look(90.0, 100), look(92.0, 300));
        let text = table(&looks.0, &looks.1, Sort::Slot, Glyphs::Plain);
        let expected = "\
ferricorn 1.2.3  pid 4700  up 1m32s  serving, generation 2
100 req/s  0 5xx/s  p50 -  p99 -  out 200K/s  in 0B/s
workers 1/1  busy ........   0%  conn 3  mem 5.0M
last failure: no way

SLOT   PID GEN STATE       UP CONN REQ/S BUSY    P99  MEM  5XX ENDS   FOR REQUEST               LAST END
   0  4711   2 serving  1m30s    3   100 ..... 1.0ms 5.0M    0    3 12.3s GET /a/long/way/to/go 1m35s ago: was killed by SIGSEGV\\u{1b}[2J
";
        assert_eq!(text, expected);
    }
}
