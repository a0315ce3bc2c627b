//! The table of workers: its columns, which of them fit, in which order the workers stand. Pure.

use std::cmp::Ordering;

use super::rates::Pace;
use super::text::{Glyphs, Tone, age, bar, bytes, count, latency, pad};
use crate::control::words::Worker;
use crate::ctl::clean;

/// A worker and what it did lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub worker: &'a Worker,
    pub pace: Pace,
}

/// By what the workers are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Slot,
    Age,
    Rate,
    Busy,
    Latency,
    Connections,
    Memory,
    Restarts,
}

impl Sort {
    /// All of them, in the order of their columns.
    pub(super) const ALL: [Sort; 8] = [
        Sort::Slot,
        Sort::Age,
        Sort::Rate,
        Sort::Busy,
        Sort::Latency,
        Sort::Connections,
        Sort::Memory,
        Sort::Restarts,
    ];

    /// The one of this name, or what is expected.
    pub(super) fn parse(name: &str) -> Result<Sort, String> {
        let found = Sort::ALL.iter().find(|sort| sort.name() == name);
        let expected = || format!("expected one of {}", Sort::ALL.map(Sort::name).join(", "));
        found.copied().ok_or_else(expected)
    }

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Sort::Slot => "slot",
            Sort::Age => "age",
            Sort::Rate => "rate",
            Sort::Busy => "busy",
            Sort::Latency => "latency",
            Sort::Connections => "connections",
            Sort::Memory => "memory",
            Sort::Restarts => "restarts",
        }
    }

    /// The head of its column.
    fn head(self) -> &'static str {
        match self {
            Sort::Slot => "SLOT",
            Sort::Age => "FOR",
            Sort::Rate => "REQ/S",
            Sort::Busy => "BUSY",
            Sort::Latency => "P99",
            Sort::Connections => "CONN",
            Sort::Memory => "MEM",
            Sort::Restarts => "ENDS",
        }
    }

    /// Who stands first: the lowest slot, else the largest number.
    pub(super) fn compare(self, one: &Row<'_>, other: &Row<'_>) -> Ordering {
        let key = |row: &Row<'_>| match self {
            Sort::Slot => 0.0,
            Sort::Age => row.worker.current.first().map_or(-1.0, |c| c.age),
            Sort::Rate => row.pace.requests,
            Sort::Busy => row.pace.busy,
            Sort::Latency => row.pace.late.unwrap_or(-1.0),
            Sort::Connections => row.worker.connections as f64,
            Sort::Memory => memory(row.worker).unwrap_or(0) as f64,
            Sort::Restarts => row.worker.restarts as f64,
        };
        let place = |row: &Row<'_>| (row.worker.slot, row.worker.pid);
        key(other)
            .total_cmp(&key(one))
            .then(place(one).cmp(&place(other)))
    }
}

/// What stands in a column, and how it is meant.
type Cell = fn(&Row<'_>, Glyphs) -> (String, Tone);

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub head: &'static str,
    /// At least.
    width: usize,
    /// It takes what the others leave.
    grows: bool,
    right: bool,
    /// Those with the highest go first when there is no room.
    rank: u8,
    cell: Cell,
}

/// The rank of a column that is always there.
const ALWAYS: u8 = 0;
/// The rank of the generation where there are several.
const MIXED: u8 = 2;

const COLUMNS: [Column; 15] = [
    number("SLOT", 4, ALWAYS, |r, _| plain(r.worker.slot)),
    number("PID", 5, 3, |r, _| plain(r.worker.pid)),
    number("GEN", 3, 11, |r, _| plain(r.worker.generation)),
    text("STATE", 8, false, ALWAYS, |r, _| {
        (r.worker.stage.clone(), tone_of(&r.worker.stage))
    }),
    number("UP", 5, 12, |r, _| plain(age(r.worker.age))),
    number("CONN", 4, 8, |r, _| {
        plain(count(r.worker.connections as f64))
    }),
    number("REQ/S", 5, 4, |r, _| (count(r.pace.requests), Tone::Strong)),
    text("BUSY", 5, false, 7, |r, glyphs| {
        (bar(r.pace.busy, 5, glyphs), busy_tone(r.pace.busy))
    }),
    number("P99", 5, 5, |r, _| match r.pace.late {
        Some(late) => plain(latency(late)),
        None => ("-".to_owned(), Tone::Dim),
    }),
    number("MEM", 4, 6, |r, _| match memory(r.worker) {
        Some(size) => plain(bytes(size as f64)),
        None => ("-".to_owned(), Tone::Dim),
    }),
    number("5XX", 4, 10, |r, _| {
        let errors = r.worker.counters.server_error;
        (count(errors as f64), alarm(errors > 0))
    }),
    number("ENDS", 4, 9, |r, _| {
        let ill = r.worker.last_end.as_ref().is_some_and(|end| !end.well);
        (count(r.worker.restarts as f64), alarm(ill))
    }),
    number("FOR", 5, 1, |r, _| match r.worker.current.first() {
        Some(request) => (age(request.age), age_tone(request.age, request.streaming)),
        None => ("-".to_owned(), Tone::Dim),
    }),
    text("REQUEST", 20, true, ALWAYS, |r, _| request(r.worker)),
    text("LAST END", 30, true, 13, |r, _| last_end(r.worker)),
];

const fn number(head: &'static str, width: usize, rank: u8, cell: Cell) -> Column {
    Column {
        head,
        width,
        grows: false,
        right: true,
        rank,
        cell,
    }
}

const fn text(head: &'static str, width: usize, grows: bool, rank: u8, cell: Cell) -> Column {
    Column {
        head,
        width,
        grows,
        right: false,
        rank,
        cell,
    }
}

fn plain(text: impl ToString) -> (String, Tone) {
    (text.to_string(), Tone::Plain)
}

fn alarm(bad: bool) -> Tone {
    if bad { Tone::Bad } else { Tone::Dim }
}

/// How the stage of a worker is meant.
pub(super) fn tone_of(stage: &str) -> Tone {
    match stage {
        "serving" => Tone::Good,
        "booting" => Tone::Moving,
        "retiring" | "draining" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// How the share of its time is meant that somebody is busy.
pub(super) fn busy_tone(share: f64) -> Tone {
    match share {
        s if s >= 0.9 => Tone::Bad,
        s if s >= 0.7 => Tone::Warning,
        _ => Tone::Good,
    }
}

fn age_tone(age: f64, streaming: bool) -> Tone {
    match age {
        _ if streaming => Tone::Plain,
        a if a >= 10.0 => Tone::Bad,
        a if a >= 1.0 => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// Its share of memory, or else all that it has.
pub(super) fn memory(worker: &Worker) -> Option<u64> {
    worker.pss.or(worker.rss)
}

fn request(worker: &Worker) -> (String, Tone) {
    let Some(oldest) = worker.current.first() else {
        return (String::new(), Tone::Plain);
    };
    let more = match worker.in_flight.saturating_sub(1) {
        0 => String::new(),
        more => format!("+{more} "),
    };
    let text = format!("{more}{} {}", oldest.method, oldest.target);
    (clean(&text), Tone::Name)
}

fn last_end(worker: &Worker) -> (String, Tone) {
    let Some(end) = &worker.last_end else {
        return (String::new(), Tone::Plain);
    };
    let text = format!("{} ago: {}", age(end.ago), end.how);
    let tone = if end.well { Tone::Dim } else { Tone::Bad };
    (clean(&text).replace('\n', " "), tone)
}

impl Column {
    /// The length of the longest cell.
    fn longest(&self, rows: &[Row<'_>], glyphs: Glyphs) -> usize {
        let cells = rows.iter().map(|row| (self.cell)(row, glyphs).0);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

/// The columns that have room side by side, each with its width.
#[derive(Clone, Debug)]
pub(super) struct Layout(Vec<(Column, usize)>);

impl Layout {
    /// As much as fits into so many columns of the terminal, and fills them; without such a bound all
    /// columns, as wide as they need to be.
    pub(super) fn fit(rows: &[Row<'_>], bound: Option<usize>, glyphs: Glyphs) -> Layout {
        // Far more than anything needs.
        let width = bound.unwrap_or(usize::MAX / 2);
        let generations = rows.iter().map(|row| row.worker.generation);
        let mixed = generations.clone().min() != generations.max();
        let mut columns = COLUMNS.to_vec();
        for column in columns.iter_mut().filter(|_| mixed) {
            if column.head == "GEN" {
                column.rank = MIXED;
            }
        }
        let used = |columns: &[Column]| columns.iter().map(|c| c.width + 1).sum::<usize>();
        while used(&columns) > width + 1 {
            let last = columns.iter().enumerate().max_by_key(|(_, c)| c.rank);
            match last {
                Some((at, column)) if column.rank > ALWAYS => columns.remove(at),
                _ => break,
            };
        }
        let mut left = (width + 1).saturating_sub(used(&columns));
        let mut sized = Vec::new();
        for column in columns {
            // Numbers that are longer than usual are shown, too.
            let wanted = column.longest(rows, glyphs).saturating_sub(column.width);
            let more = wanted.min(left);
            left -= more;
            sized.push((column, column.width + more));
        }
        // What is still left is the requests', so that what is right of them does not jump.
        let growing = sized.iter_mut().find(|(column, _)| column.grows);
        if let (Some((_, width)), Some(_)) = (growing, bound) {
            *width += left;
        }
        Layout(sized)
    }

    /// The heads; that of the sorted column is marked.
    pub(super) fn heads(&self, sort: Sort, glyphs: Glyphs) -> Vec<(String, Tone)> {
        let heads = self.0.iter().map(|(column, width)| {
            let tone = if column.head == sort.head() {
                Tone::Strong
            } else {
                Tone::Plain
            };
            (pad(column.head, *width, column.right, glyphs), tone)
        });
        heads.collect()
    }

    /// The cells of a row, each as wide as its column.
    pub(super) fn cells(&self, row: &Row<'_>, glyphs: Glyphs) -> Vec<(String, Tone)> {
        let cells = self.0.iter().map(|(column, width)| {
            let (text, tone) = (column.cell)(row, glyphs);
            (pad(&text, *width, column.right, glyphs), tone)
        });
        cells.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::words::Current;

    fn heads(width: usize, generations: [u64; 2]) -> String {
        let workers = generations.map(|generation| Worker {
            generation,
            stage: "serving".to_owned(),
            ..Worker::default()
        });
        let pace = Pace::default();
        let rows: Vec<Row<'_>> = workers.iter().map(|worker| Row { worker, pace }).collect();
        let layout = Layout::fit(&rows, Some(width), Glyphs::Blocks);
        let line: Vec<String> = layout
            .heads(Sort::Slot, Glyphs::Blocks)
            .into_iter()
            .map(|(text, _)| text)
            .collect();
        let line = line.join(" ");
        assert!(line.chars().count() <= width, "{width}: {line}");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_most_important_columns_stay_where_there_is_no_room() {
        assert_eq!(heads(40, [1, 1]), "SLOT STATE FOR REQUEST");
        assert_eq!(heads(44, [1, 2]), "SLOT GEN STATE FOR REQUEST");
        assert_eq!(
            heads(80, [1, 1]),
            "SLOT PID STATE CONN REQ/S BUSY P99 MEM ENDS FOR REQUEST"
        );
        assert_eq!(
            heads(160, [1, 1]),
            "SLOT PID GEN STATE UP CONN REQ/S BUSY P99 MEM 5XX ENDS FOR REQUEST LAST END"
        );
    }

    #[test]
    fn workers_stand_as_they_are_sorted() {
        let worker = |slot: usize, ages: &[f64]| Worker {
            slot,
            current: ages
                .iter()
                .map(|age| Current {
                    age: *age,
                    ..Current::default()
                })
                .collect(),
            ..Worker::default()
        };
        let workers = [worker(0, &[]), worker(1, &[0.5]), worker(2, &[7.0])];
        let order = |sort: Sort| {
            let pace = Pace::default();
            let mut rows: Vec<Row<'_>> =
                workers.iter().map(|worker| Row { worker, pace }).collect();
            rows.reverse();
            rows.sort_by(|one, other| sort.compare(one, other));
            rows.iter().map(|row| row.worker.slot).collect::<Vec<_>>()
        };
        assert_eq!(order(Sort::Slot), [0, 1, 2]);
        assert_eq!(order(Sort::Age), [2, 1, 0]);
        assert_eq!(order(Sort::Busy), [0, 1, 2]);
    }
}
