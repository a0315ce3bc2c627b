//! Heads one after the other through one piece of memory, as a worker reads them: what is recalled of
//! earlier ones, whoever has sent them, is what reading from nothing finds.

use super::control::Control;
use ferricorn_http::{BodyLength, Event, Head, Limits, Reader, Reject};

/// Reads what connections bring, one after the other; a NUL is between two of them.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let usual = Limits::default();
    let mut used = Head::new();
    for (number, brought) in input.split(|&byte| byte == 0).enumerate() {
        let choice = control.tune.rotate_left(number as u32);
        let limits = match choice & 1 {
            0 => &usual,
            _ => &control.limits,
        };
        let pieces = match choice & 2 {
            0 => vec![brought],
            _ => control.cut(brought),
        };
        let (mut fresh, mut again) = (Connection::default(), Connection::default());
        let mut own = Head::new();
        let mut len = 0;
        for piece in pieces {
            len += piece.len();
            let here = &brought[..len];
            loop {
                let expected = fresh.step(here, limits, &mut own);
                assert_eq!(again.step(here, limits, &mut used), expected);
                if matches!(expected.0, Err(_) | Ok(Event::NeedMore { .. })) {
                    break;
                }
                if fresh.between {
                    own = Head::new();
                }
            }
        }
        if choice & 4 != 0 {
            used.retain(|name, _| !name.starts_with(['h', 'H', 'x']));
        }
    }
}

/// One connection that is being read.
#[derive(Default)]
struct Connection {
    reader: Reader,
    /// Bytes that were consumed.
    consumed: usize,
    /// A message has just ended.
    between: bool,
}

impl Connection {
    /// What one step finds, and all that the head says then.
    fn step(
        &mut self,
        here: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> (Result<Event, Reject>, Option<String>) {
        let event = self.reader.next(&here[self.consumed..], limits, head);
        self.between = false;
        match event {
            Ok(Event::NeedMore { consumed }) => self.consumed += consumed,
            Ok(Event::Head { consumed }) => {
                self.consumed += consumed;
                self.between = head.body() == BodyLength::None;
            }
            Ok(Event::Data { skip, len }) => self.consumed += skip + len,
            Ok(Event::End { consumed }) => {
                self.consumed += consumed;
                self.between = true;
            }
            Err(_) => {}
        }
        // In content a head is left alone, whatever it is.
        let of_head = matches!(event, Ok(Event::Head { .. }) | Err(_));
        (event, of_head.then(|| told(head)))
    }
}

/// All that a head says.
fn told(head: &Head) -> String {
    let fields: Vec<_> = head.fields().collect();
    let found: Vec<_> = head.fields().map(|(name, _)| head.field(name)).collect();
    let line = (head.request_line(), head.method_and_target());
    let target = (
        head.form(),
        head.path(),
        head.query(),
        head.is_https_target(),
    );
    let means = (
        head.body(),
        head.keep_alive(),
        head.expects_continue(),
        head.version(),
    );
    let names = (head.authority(), head.upgrade(), head.initials());
    format!("{line:?} {fields:?} {found:?} {target:?} {means:?} {names:?}")
}
