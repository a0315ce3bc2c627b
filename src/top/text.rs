//! Short texts and small pictures, as they fit into the columns of a terminal. Pure.

use crate::control::words::human;

/// How something is meant; which colour that is, the screen knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// What a thing is called.
    Name,
    /// A number that one looks for.
    Strong,
    /// As it should be.
    Good,
    /// It is on its way.
    Moving,
    /// Look at it.
    Warning,
    /// Something is wrong.
    Bad,
}

/// A piece of a line.
pub(super) type Piece = (String, Tone);

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glyphs {
    /// Blocks of eighths.
    Blocks,
    /// ASCII only.
    Plain,
}

impl Glyphs {
    /// Those of this terminal, as its user says.
    pub(super) fn here() -> Glyphs {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let values = names.iter().filter_map(|name| std::env::var(name).ok());
        let locale = values.into_iter().find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_lowercase();
        match locale.contains("utf-8") || locale.contains("utf8") {
            true => Glyphs::Blocks,
            false => Glyphs::Plain,
        }
    }
}

/// "850us", "8.2ms", "1.2s".
pub(super) fn latency(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => human::latency(s).replace(' ', "").replace('µ', "u"),
        s => age(s),
    }
}

/// "0.4s", "12.3s", "3m02s", "3h02m", "2d03h": six columns at most for a hundred days.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds:.1}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

/// "812B", "3.4K", "120M".
pub(super) fn bytes(bytes: f64) -> String {
    human::bytes(bytes).replace(' ', "").replace("iB", "")
}

/// "812", "3.4k", "12M".
pub(super) fn count(count: f64) -> String {
    human::count(count).replace(' ', "")
}

/// A bar that is filled to a share from 0 to 1.
pub(super) fn bar(share: f64, width: usize, glyphs: Glyphs) -> String {
    let share = if share.is_nan() { 0.0 } else { share };
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let (full, part) = (eighths / 8, eighths % 8);
    let mut text = String::new();
    match glyphs {
        Glyphs::Blocks => {
            text.extend(std::iter::repeat_n('█', full));
            text.extend(" ▏▎▍▌▋▊▉".chars().nth(part).filter(|_| part > 0));
        }
        Glyphs::Plain => text.extend(std::iter::repeat_n('#', (eighths + 4) / 8)),
    }
    let used = text.chars().count();
    let rest = match glyphs {
        Glyphs::Blocks => '░',
        Glyphs::Plain => '.',
    };
    text.extend(std::iter::repeat_n(rest, width.saturating_sub(used)));
    text
}

/// The text in so many columns, which an ellipsis shows to be cut. What is shown is ASCII, or one column
/// per character.
pub(super) fn cut(text: &str, width: usize, glyphs: Glyphs) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let end = match glyphs {
        Glyphs::Blocks => "…",
        Glyphs::Plain => "~",
    };
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { kept + end }
}

/// The text in exactly so many columns.
pub(super) fn pad(text: &str, width: usize, right: bool, glyphs: Glyphs) -> String {
    let text = cut(text, width, glyphs);
    if right {
        format!("{text:>width$}")
    } else {
        format!("{text:<width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_six_columns() {
        for (seconds, text) in [
            (0.04, "0.0s"),
            (59.94, "59.9s"),
            (62.0, "1m02s"),
            (3725.0, "1h02m"),
            (270_000.0, "3d03h"),
            (-3.0, "0.0s"),
        ] {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(latency(0.000_85), "850us");
        assert_eq!(bytes(3.4 * 1024.0), "3.4K");
        assert_eq!(count(12_345.0), "12k");
    }

    #[test]
    fn bars_have_their_width() {
        for (share, blocks, plain) in [
            (0.0, "░░░░", "...."),
            (0.5, "██░░", "##.."),
            (0.53, "██▏░", "##.."),
            (0.99, "████", "####"),
            (7.0, "████", "####"),
            (f64::NAN, "░░░░", "...."),
        ] {
            assert_eq!(bar(share, 4, Glyphs::Blocks), blocks);
            assert_eq!(bar(share, 4, Glyphs::Plain), plain);
        }
        assert_eq!(cut("abcdef", 4, Glyphs::Blocks), "abc…");
        assert_eq!(cut("abcdef", 0, Glyphs::Plain), "");
        assert_eq!(pad("7", 3, true, Glyphs::Plain), "  7");
    }
}
