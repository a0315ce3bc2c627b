//! Pictures of the screen, as text: `SNAPSHOTS=write cargo test --lib top::view` draws them anew.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::model::Message;
use super::super::table::Sort;
use super::*;
use crate::control::words::{
    Answer, Command, Counters, Current, End, News, Quarantined, Queue, Reload, Scaling, Status,
    Suspended, Who, Worker,
};

const SHOWN: Palette = Palette { colours: true };

/// A server with workers of all kinds at its `n`th second.
fn status(n: u64) -> Status {
    let worker = |slot: usize, stage: &str, requests: u64| Worker {
        slot,
        pid: 4711 + slot as i32,
        generation: 2,
        stage: stage.to_owned(),
        age: 90.0 + n as f64,
        requests: requests * n,
        connections: 3 * slot as u64,
        counters: Counters {
            requests: requests * n,
            success: requests * n,
            handler_micros: requests * n * 600,
            ..Counters::default()
        },
        handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, requests * n],
        rss: Some((slot as u64 + 20) << 20),
        pss: Some((slot as u64 + 5) << 20),
        ..Worker::default()
    };
    let mut busy = worker(1, "serving", 1500);
    busy.in_flight = 2;
    busy.handling = 12.3 + n as f64;
    busy.restarts = 3;
    busy.current = vec![Current {
        id: "9f2a00000000cafe".to_owned(),
        method: "POST".to_owned(),
        target: "/reports/of/the/last/year/as/pdf/\\x1b[2J".to_owned(),
        peer: "192.0.2.7:40000".to_owned(),
        age: 12.3 + n as f64,
        streaming: false,
    }];
    busy.last_end = Some(End {
        how: "was killed by SIGSEGV".to_owned(),
        well: false,
        ago: 95.0,
    });
    Status {
        server: "1.2.3".to_owned(),
        name: Some("shop".to_owned()),
        pid: 4700,
        uptime: 7384.0 + n as f64,
        phase: "serving".to_owned(),
        generation: 2,
        listeners: vec!["http://127.0.0.1:8000".to_owned()],
        wanted: 4,
        ready: 3,
        workers: vec![
            worker(0, "serving", 40),
            busy,
            worker(2, "draining", 0),
            worker(3, "booting", 0),
        ],
        totals: Counters {
            requests: 1540 * n,
            bytes_out: 1540 * n * 2000,
            bytes_in: 1540 * n * 100,
            ..Counters::default()
        },
        handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1540 * n],
        queues: vec![Queue {
            listener: "http://127.0.0.1:8000".to_owned(),
            waiting: 7,
            room: 2048,
        }],
        ..Status::default()
    }
}

fn model() -> Model {
    let mut model = Model::new(Glyphs::Blocks, Sort::Slot);
    for n in 0..4 {
        model.heard(Message::Status(Box::new(status(n))));
    }
    let who = Who {
        slot: 1,
        pid: 4690,
        generation: 1,
    };
    for (at, news) in [
        (
            905.0,
            News::WorkerLeft {
                who,
                ending: "was killed by SIGSEGV".to_owned(),
                well: false,
                counts: None,
            },
        ),
        (999.5, News::WorkerReady { who, seconds: 0.25 }),
    ] {
        model.heard(Message::News { at, news });
    }
    model
}

fn press(model: &mut Model, code: KeyCode) {
    model.heard(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

/// The text of the screen.
fn picture(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = terminal.draw(|frame| draw(frame, model, SHOWN, 1000.0));
    let buffer = drawn.unwrap().buffer.clone();
    let lines = (0..height).map(|y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned() + "\n"
    });
    lines.collect()
}

#[track_caller]
fn looks_like(name: &str, shown: &str) {
    let file = format!("{}/src/top/view/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SNAPSHOTS").is_some() {
        std::fs::write(&file, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "{name} looks otherwise:\n{shown}");
}

#[test]
fn the_whole_server_at_80_by_24() {
    looks_like("80x24", &picture(&model(), 80, 24));
}

#[test]
fn what_matters_most_at_40_by_10() {
    looks_like("40x10", &picture(&model(), 40, 10));
}

#[test]
fn everything_at_150_by_30() {
    looks_like("150x30", &picture(&model(), 150, 30));
}

#[test]
fn a_question_and_a_worker_lie_over_the_table() {
    let mut model = model();
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Char('k'));
    looks_like("kill", &picture(&model, 80, 24));
    press(&mut model, KeyCode::Char('n'));
    press(&mut model, KeyCode::Enter);
    looks_like("worker", &picture(&model, 80, 24));
    press(&mut model, KeyCode::Esc);
    press(&mut model, KeyCode::Char('h'));
    looks_like("help", &picture(&model, 80, 24));
}

#[test]
fn what_is_wrong_stands_in_place_of_the_picture() {
    let mut model = model();
    let fourth = |model: &Model| {
        let text = picture(model, 80, 24);
        text.lines().nth(3).unwrap().to_owned()
    };
    assert!(fourth(&model).starts_with("req/s "), "{}", fourth(&model));
    let mut reloading = status(5);
    reloading.reload = Some(Reload {
        number: 3,
        step: "rolling".to_owned(),
        target: Some(3),
        ready: Some(2),
    });
    model.heard(Message::Status(Box::new(reloading)));
    assert_eq!(
        fourth(&model),
        "reload 3: 2 of 4 workers of generation 3 ready"
    );
    model.heard(Message::Lost("the server has gone".to_owned()));
    assert_eq!(fourth(&model), "the server has gone; looking for it");
    let nothing = Model::new(Glyphs::Plain, Sort::Slot);
    assert!(picture(&nothing, 80, 24).starts_with("looking for the server\n"));
}

/// A server that has decided something of itself.
fn troubled() -> Status {
    Status {
        quarantine: vec![Quarantined {
            fingerprint: "9a41c07be2d5f318".to_owned(),
            request: "GET /export".to_owned(),
            deaths: 3,
            age: 60.0,
            left: Some(540.0),
        }],
        suspended: vec![Suspended {
            slot: 2,
            seconds: 43.0,
        }],
        ignored_limits: vec!["max-memory".to_owned()],
        scaling: Some(Scaling {
            least: 2,
            most: 8,
            pinned: false,
        }),
        restarts: [("crash".to_owned(), 3), ("reload".to_owned(), 4)].into(),
        verdicts: [("ok".to_owned(), 1), ("failed".to_owned(), 0)].into(),
        ..status(5)
    }
}

#[test]
fn what_the_server_has_decided_of_itself_is_shown() {
    let mut model = model();
    model.heard(Message::Status(Box::new(troubled())));
    let text = picture(&model, 80, 24);
    let fourth = text.lines().nth(3).unwrap();
    assert_eq!(
        fourth,
        "2 more (i), in quarantine: GET /export for 9 min 0 s more, as 3 workers died of…"
    );
    press(&mut model, KeyCode::Char('i'));
    looks_like("server", &picture(&model, 80, 24));
}

#[test]
fn what_came_of_a_command_is_read_before_what_lasts_and_goes_with_the_next_key() {
    let mut model = model();
    model.heard(Message::Status(Box::new(troubled())));
    let answer = Ok(Answer {
        workers: Some(3),
        ..Answer::done()
    });
    let more = Command::Scale {
        workers: None,
        by: Some(1),
    };
    model.heard(Message::Answer(more, answer));
    let fourth = |model: &Model| picture(model, 80, 24).lines().nth(3).unwrap().to_owned();
    assert_eq!(fourth(&model), "3 workers wanted");
    press(&mut model, KeyCode::Down);
    assert!(
        fourth(&model).contains("in quarantine"),
        "{}",
        fourth(&model)
    );
}

#[test]
fn rates_are_columns_of_which_the_highest_is_full() {
    assert_eq!(sparkline(&[], 3, Glyphs::Blocks), "   ");
    assert_eq!(sparkline(&[9.0, 0.0, 1.0, 8.0], 3, Glyphs::Blocks), " ▁█");
    assert_eq!(sparkline(&[4.0, 8.0], 3, Glyphs::Plain), " =@");
}

#[test]
fn no_size_is_too_small_and_no_colour_can_do_without() {
    let mut model = model();
    press(&mut model, KeyCode::Enter);
    for width in 1..60 {
        for height in 1..20 {
            picture(&model, width, height);
        }
    }
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let plain = Palette { colours: false };
    let drawn = terminal.draw(|frame| draw(frame, &model, plain, 1000.0));
    for cell in &drawn.unwrap().buffer.content {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
}
