//! Drawing the model: text and colours into the cells of a terminal of any size. Pure.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::details::{self, Fact};
use super::head;
use super::model::{Model, Over};
use super::table::{Layout, Row};
use super::text::{Glyphs, Piece, Tone, age, count, cut};
use crate::control::words::Status;
use crate::ctl::clean;

/// Lines of the screen from which on there is room for the events.
const ROOMY: u16 = 16;
/// Lines and columns below which nothing sensible can be shown.
const TINY: (u16, u16) = (5, 24);

/// The keys, as the last line and the help name them.
const KEYS: [(&str, &str, &str); 12] = [
    ("q", "quit", "quit"),
    ("h", "help", "this"),
    (
        "d",
        "drain",
        "recycle the worker: a new one first, then it finishes and goes",
    ),
    ("k", "kill", "kill it, after a question; it is replaced"),
    ("r", "reload", "reload configuration, code and binary"),
    ("+", "more", "one worker more"),
    ("-", "less", "one worker less"),
    ("s", "sort", "sort by the next column"),
    ("p", "pause", "hold the picture"),
    ("Enter", "worker", "one worker in full"),
    ("i", "info", "the server in full"),
    (
        "Up, Down",
        "",
        "select a worker; also PgUp, PgDn, Home, End",
    ),
];

/// How a terminal is to show what is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// The 16 colours of the terminal; else bold and reverse alone.
    pub colours: bool,
}

impl Palette {
    fn style(self, tone: Tone) -> Style {
        let style = Style::default();
        let colour = match tone {
            Tone::Plain => return style,
            Tone::Strong => return style.add_modifier(Modifier::BOLD),
            Tone::Dim if !self.colours => return style,
            Tone::Bad if !self.colours => return style.add_modifier(Modifier::BOLD),
            _ if !self.colours => return style,
            // DarkGray is unseen on some terminals, faint text is not.
            Tone::Dim => return style.add_modifier(Modifier::DIM),
            Tone::Name => Color::Cyan,
            Tone::Good => Color::Green,
            Tone::Moving => Color::Blue,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        style.fg(colour)
    }

    fn line(self, pieces: impl IntoIterator<Item = Piece>) -> Line<'static> {
        let pieces = pieces.into_iter();
        let spans: Vec<Span<'static>> = pieces
            .map(|(text, tone)| Span::styled(text, self.style(tone)))
            .collect();
        Line::from(spans)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette, now: f64) {
    let area = frame.area();
    if area.height < TINY.0 || area.width < TINY.1 {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let width = usize::from(area.width);
    let rows = model.rows();
    let mut top = header(model, &rows, palette, width);
    if area.height < ROOMY {
        top.truncate(3);
    }
    let used = top.len() as u16;
    let row = |y: u16, height: u16| Rect::new(area.x, area.y + y, area.width, height);
    frame.render_widget(Paragraph::new(top), row(0, used));
    let left = area.height - used - 1;
    // The table has what it needs, the events what is left, but a third at least.
    let wanted = rows.len() as u16 + 1;
    let table = match area.height {
        h if h < ROOMY => left,
        _ => wanted.clamp(4, left - left / 3),
    };
    draw_table(frame, model, &rows, palette, row(used, table));
    if left > table {
        draw_events(frame, model, palette, now, row(used + table, left - table));
    }
    let keys = footer(model, palette, width);
    frame.render_widget(Paragraph::new(keys), row(area.height - 1, 1));
    draw_over(frame, model, &rows, palette);
}

fn header(model: &Model, rows: &[Row<'_>], palette: Palette, width: usize) -> Vec<Line<'static>> {
    let lost = model.lost.as_ref().map(|reason| {
        let text = format!("{}; looking for it", clean(reason).replace('\n', " "));
        (cut(&text, width, model.glyphs), Tone::Bad)
    });
    let Some(status) = model.status() else {
        let text = lost.unwrap_or(("looking for the server".to_owned(), Tone::Dim));
        return vec![palette.line([text])];
    };
    let phase = head::phase(status);
    let wide: usize = phase.iter().map(|(text, _)| text.chars().count()).sum();
    let mut first = head::line(head::server(status), width.saturating_sub(wide + 2));
    let used: usize = first.iter().map(|(text, _)| text.chars().count()).sum();
    let gap = width.saturating_sub(used + wide);
    first.push((" ".repeat(gap), Tone::Plain));
    first.extend(phase);
    let long_ago = model.long_ago().unwrap_or(status);
    let mut lines = vec![
        palette.line(first),
        palette.line(head::line(
            head::rates(&model.rate(), long_ago, status),
            width,
        )),
        palette.line(head::line(head::workers(status, rows, model.glyphs), width)),
    ];
    // One line: what is under way or very wrong, else what came of a command, else what else is wrong,
    // else the picture.
    let alarm = lost.or_else(|| head::alarms(status).into_iter().next());
    let said = alarm
        .or_else(|| model.notice.clone())
        .or_else(|| worry(status))
        .map(|(text, tone)| (cut(&text, width, model.glyphs), tone));
    lines.push(match said {
        Some(piece) => palette.line([piece]),
        None => {
            let most = model.rates.iter().copied().fold(0.0, f64::max);
            let most = format!(" {} most", count(most));
            let room = width.saturating_sub(most.len() + 6);
            let picture = sparkline(&model.rates, room, model.glyphs);
            palette.line([
                ("req/s ".to_owned(), Tone::Dim),
                (picture, Tone::Name),
                (most, Tone::Dim),
            ])
        }
    });
    lines
}

/// The first thing that is wrong, and how many there are.
fn worry(status: &Status) -> Option<Piece> {
    let worries = head::worries(status);
    let more = worries.len().saturating_sub(1);
    let (text, tone) = worries.into_iter().next()?;
    match more {
        0 => Some((text, tone)),
        more => Some((format!("{more} more (i), {text}"), tone)),
    }
}

fn draw_table(
    frame: &mut Frame<'_>,
    model: &Model,
    rows: &[Row<'_>],
    palette: Palette,
    area: Rect,
) {
    let glyphs = model.glyphs;
    let layout = Layout::fit(rows, Some(usize::from(area.width)), glyphs);
    let spaced = |cells: Vec<Piece>| -> Vec<Piece> {
        let gap = || (" ".to_owned(), Tone::Plain);
        cells.into_iter().flat_map(|cell| [cell, gap()]).collect()
    };
    let heads = spaced(layout.heads(model.sort, glyphs));
    let mut lines = vec![palette.line(heads).style(Modifier::REVERSED)];
    let room = usize::from(area.height.saturating_sub(1));
    let selected = model.selected(rows);
    let first = (selected + 1).saturating_sub(room);
    for (n, row) in rows.iter().enumerate().skip(first).take(room) {
        let line = palette.line(spaced(layout.cells(row, glyphs)));
        lines.push(match n == selected {
            true => line.style(Modifier::BOLD | Modifier::UNDERLINED),
            false => line,
        });
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_events(frame: &mut Frame<'_>, model: &Model, palette: Palette, now: f64, area: Rect) {
    let title = palette.line([(" events ".to_owned(), Tone::Dim)]);
    let block = Block::new()
        .borders(ratatui::widgets::Borders::TOP)
        .title(title);
    let block = block.border_style(palette.style(Tone::Dim));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let room = usize::from(inside.height);
    let width = usize::from(inside.width).saturating_sub(8);
    let lines = model.events.iter().rev().take(room).rev();
    let lines: Vec<Line<'static>> = lines
        .map(|(at, text, tone)| {
            palette.line([
                (format!("{:>6}  ", age(now - at)), Tone::Dim),
                (cut(text, width, model.glyphs), *tone),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inside);
}

fn footer(model: &Model, palette: Palette, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    if model.paused {
        spans.push(Span::styled(
            " paused ",
            palette
                .style(Tone::Warning)
                .add_modifier(Modifier::REVERSED),
        ));
        used += 8;
    }
    for (key, name, _) in KEYS.iter().filter(|(_, name, _)| !name.is_empty()) {
        let wide = key.len() + name.len() + 3;
        if used + wide > width {
            continue;
        }
        used += wide;
        spans.push(Span::styled(format!(" {key} "), Modifier::REVERSED));
        spans.push(Span::raw(format!("{name} ")));
    }
    Line::from(spans)
}

fn draw_over(frame: &mut Frame<'_>, model: &Model, rows: &[Row<'_>], palette: Palette) {
    let area = frame.area();
    let (title, lines) = match &model.over {
        Over::Nothing => return,
        Over::Help => (" keys ".to_owned(), help(palette)),
        Over::Kill { pid, slot } => (
            " kill ".to_owned(),
            vec![
                palette.line([(format!("Kill worker {slot} (pid {pid})?"), Tone::Strong)]),
                palette.line([(
                    "What it is doing is cut; it is replaced.".to_owned(),
                    Tone::Plain,
                )]),
                palette.line([(
                    "y kills it, any other key does not.".to_owned(),
                    Tone::Plain,
                )]),
            ],
        ),
        Over::Worker => match rows.get(model.selected(rows)) {
            Some(row) => (
                format!(" worker {} ", row.worker.slot),
                sheet(details::worker(row), palette),
            ),
            None => return,
        },
        Over::Server => match model.status() {
            Some(status) => (
                " server ".to_owned(),
                sheet(details::server(status), palette),
            ),
            None => return,
        },
    };
    let wide = lines
        .iter()
        .map(Line::width)
        .max()
        .unwrap_or(0)
        .max(title.len());
    let width = (wide as u16 + 4).min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let left = area.x + (area.width - width) / 2;
    let top = area.y + (area.height - height) / 2;
    let place = Rect::new(left, top, width, height);
    let block = Block::bordered()
        .title(title)
        .title_alignment(Alignment::Center);
    let block = block.padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn help(palette: Palette) -> Vec<Line<'static>> {
    let keys = KEYS.iter().map(|(key, _, what)| {
        palette.line([
            (format!("{key:>8}  "), Tone::Strong),
            ((*what).to_owned(), Tone::Plain),
        ])
    });
    let notes = [
        "",
        "Rates are those since the last look, latencies of the last ten.",
        "FOR is the age of the oldest request, BUSY the time in handlers,",
        "ENDS how many workers the place has lost: red, if the last died.",
    ];
    let notes = notes
        .iter()
        .map(|note| palette.line([((*note).to_owned(), Tone::Dim)]));
    keys.chain(notes).collect()
}

/// The last values as columns of a height, the newest at the right; the highest is full.
fn sparkline(values: &[f64], width: usize, glyphs: Glyphs) -> String {
    let values = &values[values.len().saturating_sub(width)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let levels: Vec<char> = match glyphs {
        Glyphs::Blocks => " ▁▂▃▄▅▆▇█".chars().collect(),
        Glyphs::Plain => " .:-=+*#@".chars().collect(),
    };
    let column = |value: &f64| {
        let share = if most > 0.0 { value / most } else { 0.0 };
        // Whatever is there is seen.
        let level = (share * 8.0).ceil().clamp(0.0, 8.0) as usize;
        levels[level]
    };
    let text: String = values.iter().map(column).collect();
    let missing = width - values.len();
    " ".repeat(missing) + &text
}

/// Names and what is to be said under them.
fn sheet(facts: Vec<Fact>, palette: Palette) -> Vec<Line<'static>> {
    let wide = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, text): Fact| {
        palette.line([
            (format!("{name:>wide$}  "), Tone::Dim),
            (clean(&text).replace('\n', " "), Tone::Plain),
        ])
    };
    facts.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
