//! How the server stands, as `ctl status` tells people: what matters for all first, then a line for
//! each worker, then what they are doing.

use std::fmt::Write;

use crate::control::words::human::{bytes, count, latency, quantile, time};
use crate::control::words::{Counters, Current, Status, Worker};

/// All of it. What it has from others still has to be cleaned for a terminal.
pub(super) fn status(status: &Status) -> String {
    let mut text = head(status);
    text.push('\n');
    text.push_str(&table(status));
    under_way(&mut text, status);
    text
}

fn head(status: &Status) -> String {
    let mut text = String::new();
    let name = status.name.as_deref().unwrap_or("ferricorn");
    let _ = writeln!(
        text,
        "{name} (ferricorn {}), pid {}, up {}: {}, generation {}",
        status.server,
        status.pid,
        time(status.uptime),
        status.phase,
        status.generation
    );
    let _ = writeln!(text, "listeners: {}", status.listeners.join(", "));
    for queue in status.queues.iter().filter(|queue| queue.waiting > 0) {
        let _ = writeln!(
            text,
            "waiting at {}: {} connections (room for {})",
            queue.listener, queue.waiting, queue.room
        );
    }
    let _ = writeln!(text, "workers: {} of {} ready", status.ready, status.wanted);
    if let Some(seconds) = status.outage {
        let _ = writeln!(text, "nobody serves: for {}", time(seconds));
    }
    if let Some(scaling) = status.scaling {
        let _ = writeln!(text, "scaling: {scaling}");
    }
    for place in &status.suspended {
        let _ = writeln!(text, "suspended: {place}");
    }
    for limit in &status.ignored_limits {
        let _ = writeln!(text, "too small, and ignored until a reload: {limit}");
    }
    let _ = writeln!(text, "served: {}", served(status));
    for (what, counts) in [
        ("workers that have ended", &status.restarts),
        ("reloads", &status.verdicts),
    ] {
        let counts = counts.iter().filter(|(_, n)| **n > 0);
        let counts: Vec<String> = counts.map(|(name, n)| format!("{n} {name}")).collect();
        if !counts.is_empty() {
            let _ = writeln!(text, "{what}: {}", counts.join(", "));
        }
    }
    if let Some(reload) = &status.reload {
        let _ = match (reload.target, reload.ready) {
            (Some(target), Some(ready)) => writeln!(
                text,
                "reload {}: replacing the workers, {ready} of generation {target} ready",
                reload.number
            ),
            _ => writeln!(text, "reload {}: trying the program on disk", reload.number),
        };
    }
    for one in &status.quarantine {
        let _ = writeln!(text, "in quarantine: {one}");
    }
    if let Some(failure) = &status.failure {
        let _ = writeln!(text, "last failure: {failure}");
    }
    text
}

/// "1234 requests (1200 2xx, 30 4xx, 4 5xx), 1.2 GiB; half within 1.1 ms, 99 % within 35 ms".
fn served(status: &Status) -> String {
    let Counters {
        requests,
        informational,
        success,
        redirection,
        client_error,
        server_error,
        bytes_out,
        ..
    } = status.totals;
    let classes = [
        (informational, "1xx"),
        (success, "2xx"),
        (redirection, "3xx"),
        (client_error, "4xx"),
        (server_error, "5xx"),
    ];
    let classes = classes.into_iter().filter(|(number, _)| *number > 0);
    let classes: Vec<String> = classes.map(|(n, class)| format!("{n} {class}")).collect();
    let mut text = format!("{requests} requests");
    if !classes.is_empty() {
        let _ = write!(text, " ({})", classes.join(", "));
    }
    let _ = write!(text, ", {}", bytes(bytes_out as f64));
    let share = |share| quantile(&status.handler_times, share).map(latency);
    if let (Some(half), Some(most)) = (share(0.5), share(0.99)) {
        let _ = write!(text, "; half within {half}, 99 % within {most}");
    }
    text
}

/// A column: its head, what stands in it, whether it is a number.
type Column = (&'static str, fn(&Worker) -> String, bool);

const COLUMNS: [Column; 12] = [
    ("SLOT", |w| w.slot.to_string(), true),
    ("PID", |w| w.pid.to_string(), true),
    ("GENERATION", |w| w.generation.to_string(), true),
    ("STAGE", |w| w.stage.clone(), false),
    ("AGE", |w| time(w.age), true),
    ("REQUESTS", |w| w.requests.to_string(), true),
    ("5XX", |w| w.counters.server_error.to_string(), true),
    ("MEDIAN", |w| share(w, 0.5), true),
    ("99 %", |w| share(w, 0.99), true),
    ("CONNECTIONS", |w| w.connections.to_string(), true),
    ("MEMORY", memory, true),
    ("RESTARTS", |w| w.restarts.to_string(), true),
];

fn share(worker: &Worker, share: f64) -> String {
    quantile(&worker.handler_times, share).map_or("-".to_owned(), latency)
}

fn memory(worker: &Worker) -> String {
    let size = worker.pss.or(worker.rss);
    size.map_or("-".to_owned(), |size| bytes(size as f64))
}

fn table(status: &Status) -> String {
    let heads = COLUMNS.map(|(head, _, _)| head.to_owned());
    let rows = status.workers.iter();
    let rows = rows.map(|worker| COLUMNS.map(|(_, cell, _)| cell(worker)));
    let rows: Vec<[String; COLUMNS.len()]> = std::iter::once(heads).chain(rows).collect();
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS.len()).filter_map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), (_, _, number)) in row.iter().zip(&widths).zip(COLUMNS) {
            let _ = match number {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The requests that are under way, and how workers have ended badly.
fn under_way(text: &mut String, status: &Status) {
    let busy = status.workers.iter().filter(|w| !w.current.is_empty());
    for (n, worker) in busy.enumerate() {
        if n == 0 {
            text.push_str("\nunder way:\n");
        }
        for request in &worker.current {
            let _ = writeln!(text, "  worker {}: {}", worker.slot, described(request));
        }
        if worker.in_flight > worker.current.len() {
            let more = count((worker.in_flight - worker.current.len()) as f64);
            let _ = writeln!(text, "  worker {}: {more} more", worker.slot);
        }
        if worker.waiting > 0 {
            let _ = writeln!(
                text,
                "  worker {}: {} wait for a thread",
                worker.slot,
                count(worker.waiting as f64)
            );
        }
    }
    let ends = status.workers.iter().filter_map(|worker| {
        let end = worker.last_end.as_ref().filter(|end| !end.well)?;
        Some((worker.slot, end))
    });
    for (n, (slot, end)) in ends.enumerate() {
        if n == 0 {
            text.push_str("\nlast ends:\n");
        }
        let ago = time(end.ago);
        let _ = writeln!(text, "  worker {slot}, {ago} ago: {}", end.how);
    }
}

fn described(request: &Current) -> String {
    let Current {
        id,
        method,
        target,
        peer,
        age,
        streaming,
    } = request;
    let stream = if *streaming { " (streaming)" } else { "" };
    format!(
        "{method} {target} from {peer} for {}{stream} (id {id})",
        time(*age)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::words::{End, Queue};

    #[test]
    fn a_table_for_all_and_lines_for_what_is_under_way() {
        let busy = Worker {
            slot: 0,
            pid: 4711,
            generation: 2,
            stage: "serving".to_owned(),
            age: 90.0,
            requests: 7,
            connections: 3,
            in_flight: 9,
            waiting: 5,
            current: vec![Current {
                id: "ab12".to_owned(),
                method: "GET".to_owned(),
                target: "/slow".to_owned(),
                peer: "192.0.2.7:40000".to_owned(),
                age: 12.34,
                streaming: false,
            }],
            counters: Counters {
                server_error: 1,
                ..Counters::default()
            },
            handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            pss: Some(5 << 20),
            restarts: 3,
            last_end: Some(End {
                how: "was killed by SIGSEGV".to_owned(),
                well: false,
                ago: 95.0,
            }),
            ..Worker::default()
        };
        let fresh = Worker {
            slot: 10,
            pid: 4720,
            stage: "booting".to_owned(),
            ..Worker::default()
        };
        let shown = status(&Status {
            server: "1.2.3".to_owned(),
            name: Some("shop".to_owned()),
            pid: 4700,
            uptime: 7384.0,
            phase: "serving".to_owned(),
            generation: 2,
            listeners: vec!["http://127.0.0.1:8000".to_owned()],
            wanted: 2,
            ready: 1,
            workers: vec![busy, fresh],
            totals: Counters {
                requests: 10,
                success: 9,
                server_error: 1,
                bytes_out: 2048,
                ..Counters::default()
            },
            handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
            restarts: [
                ("crash-signal".to_owned(), 2),
                ("max-requests".to_owned(), 1),
            ]
            .into(),
            verdicts: [("failed".to_owned(), 0), ("ok".to_owned(), 1)].into(),
            queues: vec![Queue {
                listener: "http://127.0.0.1:8000".to_owned(),
                waiting: 4,
                room: 2048,
            }],
            ..Status::default()
        });
        let expected = "\
shop (ferricorn 1.2.3), pid 4700, up 2 h 3 min: serving, generation 2
listeners: http://127.0.0.1:8000
waiting at http://127.0.0.1:8000: 4 connections (room for 2048)
workers: 1 of 2 ready
served: 10 requests (9 2xx, 1 5xx), 2.0 KiB; half within 768 µs, 99 % within 1.0 ms
workers that have ended: 2 crash-signal, 1 max-requests
reloads: 1 ok

SLOT   PID  GENERATION  STAGE           AGE  REQUESTS  5XX  MEDIAN    99 %  CONNECTIONS   MEMORY  RESTARTS
   0  4711           2  serving  1 min 30 s         7    1  768 µs  1.0 ms            3  5.0 MiB         3
  10  4720           0  booting       0.0 s         0    0       -       -            0        -         0

under way:
  worker 0: GET /slow from 192.0.2.7:40000 for 12.3 s (id ab12)
  worker 0: 8 more
  worker 0: 5 wait for a thread

last ends:
  worker 0, 1 min 35 s ago: was killed by SIGSEGV
";
        assert_eq!(shown, expected);
    }
}
