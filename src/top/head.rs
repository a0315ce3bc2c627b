//! What stands above the table: the server, its rates, its workers together. Pure.

use super::rates::{Rates, latency as latency_between};
use super::table::{Row, busy_tone, memory};
use super::text::{Glyphs, Piece, Tone, age, bar, bytes, count, latency};
use crate::control::words::Status;
use crate::ctl::clean;

/// Pieces that stand or fall together where there is no room.
pub(super) type Group = Vec<Piece>;

fn name(text: &str) -> Piece {
    (text.to_owned(), Tone::Dim)
}

fn strong(text: String) -> Piece {
    (text, Tone::Strong)
}

/// Who it is.
pub(super) fn server(status: &Status) -> Vec<Group> {
    let server = format!("ferricorn {}", clean(&status.server));
    let mut groups = match &status.name {
        Some(own) => vec![
            vec![(clean(own), Tone::Strong)],
            vec![(server, Tone::Plain)],
        ],
        None => vec![vec![(server, Tone::Strong)]],
    };
    groups.push(vec![name("pid "), (status.pid.to_string(), Tone::Plain)]);
    groups.push(vec![name("up "), (age(status.uptime), Tone::Plain)]);
    groups
}

/// What it is doing as a whole.
pub(super) fn phase(status: &Status) -> Group {
    let tone = match status.phase.as_str() {
        "serving" => Tone::Good,
        "starting" | "reloading" => Tone::Moving,
        _ => Tone::Warning,
    };
    let generation = format!("generation {}", status.generation);
    vec![
        (clean(&status.phase), tone),
        name(", "),
        (generation, Tone::Plain),
    ]
}

/// What it does per second; how long handlers took since `long_ago`.
pub(super) fn rates(rates: &Rates, long_ago: &Status, status: &Status) -> Vec<Group> {
    let share = |share| match latency_between(long_ago, status, share) {
        Some(seconds) => strong(latency(seconds)),
        None => ("-".to_owned(), Tone::Dim),
    };
    let errors = if rates.server_errors > 0.0 {
        Tone::Bad
    } else {
        Tone::Plain
    };
    vec![
        vec![strong(count(rates.requests)), name(" req/s")],
        vec![(count(rates.server_errors), errors), name(" 5xx/s")],
        vec![name("p50 "), share(0.5)],
        vec![name("p99 "), share(0.99)],
        vec![name("out "), strong(bytes(rates.bytes_out)), name("/s")],
        vec![name("in "), strong(bytes(rates.bytes_in)), name("/s")],
    ]
}

/// The workers together.
pub(super) fn workers(status: &Status, rows: &[Row<'_>], glyphs: Glyphs) -> Vec<Group> {
    let ready = format!("{}/{}", status.ready, status.wanted);
    let tone = match status.ready {
        0 => Tone::Bad,
        n if n < status.wanted => Tone::Warning,
        _ => Tone::Good,
    };
    let serving = rows.iter().filter(|row| row.worker.stage == "serving");
    let busy = serving.clone().map(|row| row.pace.busy).sum::<f64>();
    let busy = busy / serving.count().max(1) as f64;
    let connections: u64 = rows.iter().map(|row| row.worker.connections).sum();
    let mut groups = vec![
        vec![name("workers "), (ready, tone)],
        vec![
            name("busy "),
            (bar(busy, 8, glyphs), busy_tone(busy)),
            strong(format!("{:>4.0}%", busy * 100.0)),
        ],
        vec![name("conn "), strong(count(connections as f64))],
    ];
    let fullest = |queue: &&crate::control::words::Queue| {
        u64::from(queue.waiting) * 1_000_000 / u64::from(queue.room.max(1))
    };
    if let Some(queue) = status.queues.iter().max_by_key(fullest) {
        let tone = match queue.waiting {
            0 => Tone::Plain,
            n if n * 2 < queue.room => Tone::Warning,
            _ => Tone::Bad,
        };
        groups.push(vec![
            name("queue "),
            (format!("{}/{}", queue.waiting, queue.room), tone),
        ]);
    }
    let sizes = rows.iter().filter_map(|row| memory(row.worker));
    let memory: u64 = sizes.sum();
    if memory > 0 {
        groups.push(vec![name("mem "), strong(bytes(memory as f64))]);
    }
    groups
}

/// What is under way, or wrong so that nothing is more important.
pub(super) fn alarms(status: &Status) -> Vec<Piece> {
    let mut alarms = Vec::new();
    if let Some(seconds) = status.outage {
        let text = format!("nobody serves, for {}", age(seconds));
        alarms.push((text, Tone::Bad));
    }
    if let Some(reload) = &status.reload {
        let number = reload.number;
        let text = match (reload.target, reload.ready) {
            (Some(target), Some(ready)) => format!(
                "reload {number}: {ready} of {} workers of generation {target} ready",
                status.wanted
            ),
            _ => format!("reload {number}: trying the program on disk"),
        };
        alarms.push((text, Tone::Moving));
    }
    alarms
}

/// What is not as it should be, perhaps for long.
pub(super) fn worries(status: &Status) -> Vec<Piece> {
    let failure = status.failure.iter();
    let failure = failure.map(|failure| (format!("last failure: {failure}"), Tone::Bad));
    let held = status.quarantine.iter();
    let held = held.map(|one| (format!("in quarantine: {one}"), Tone::Bad));
    let suspended = status.suspended.iter();
    let suspended = suspended.map(|place| (format!("suspended: {place}"), Tone::Warning));
    let ignored = status.ignored_limits.iter();
    let ignored = ignored.map(|limit| {
        let text = format!("{limit} is too small, and ignored until a reload");
        (text, Tone::Warning)
    });
    let all = failure.chain(held).chain(suspended).chain(ignored);
    all.map(|(text, tone)| (clean(&text).replace('\n', " "), tone))
        .collect()
}

/// As many of the groups as fit side by side, two columns apart, in their order.
pub(super) fn line(groups: Vec<Group>, width: usize) -> Vec<Piece> {
    let mut line: Vec<Piece> = Vec::new();
    let mut used = 0;
    for group in groups {
        let wide: usize = group.iter().map(|(text, _)| text.chars().count()).sum();
        let gap = if line.is_empty() { 0 } else { 2 };
        if used + gap + wide > width {
            continue;
        }
        line.push((" ".repeat(gap), Tone::Plain));
        line.extend(group);
        used += gap + wide;
    }
    line
}
