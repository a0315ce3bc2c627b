//! The values of settings: from what was written to what is meant, and back.
//!
//! Pure functions over text and numbers. What a kind of setting expects is said here once, for the
//! error messages and for the documents.

use std::time::Duration;

use ferricorn_base::board::SEATS;

use super::Kind;
use crate::state::Share;

/// The longest time that a setting may be, a year; longer ones are slips.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The most workers that one server may have: half of the scoreboard's seats, since a reload may
/// have as many again for a while.
pub const MOST_WORKERS: usize = SEATS / 2;

impl Kind {
    /// What values it takes, to follow "expected".
    pub fn expected(&self) -> String {
        match self {
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Number { least, most, .. } => {
                format!("a whole number from {least} to {most}")
            }
            Kind::Workers(_) => format!("a whole number from 1 to {MOST_WORKERS} or \"auto\""),
            Kind::Share(_) => "a whole number or a percentage up to \"100%\"".to_owned(),
            Kind::Size { least: 0, .. } => "a size such as 4096, \"64KiB\" or \"1GiB\"".to_owned(),
            Kind::Size { least, .. } => {
                format!("a size such as 4096, \"64KiB\" or \"1GiB\", at least {least}")
            }
            Kind::Time { zero: true, .. } => {
                "seconds such as 30 or 0.5, or a time such as \"500ms\" or \"5m\", a year at most"
                    .to_owned()
            }
            Kind::Time { zero: false, .. } => {
                "seconds such as 30 or 0.5, or a time such as \"500ms\" or \"5m\", above 0 and a year \
                 at most"
                    .to_owned()
            }
            Kind::Mode(_) => "an octal mode such as \"0660\" or 0o660".to_owned(),
            Kind::Text(_) => "a text without control characters".to_owned(),
            Kind::Field(_) => "a text of printable ASCII".to_owned(),
            Kind::Format(_) => "a format such as \"%(h)s %(s)s\", or \"json\"".to_owned(),
            Kind::Choice(choices, _) => format!("one of {}", choices.join(", ")),
            Kind::Class(_) => "the name of a worker class".to_owned(),
            Kind::Path(_) | Kind::File => "a path".to_owned(),
            Kind::Paths(_) => "the path of a file or a list of paths".to_owned(),
            Kind::Directory(_) => "the path of a directory".to_owned(),
            Kind::Log(_) => "a path, \"-\", \"auto\" or \"journald\"".to_owned(),
            Kind::Syslog(_) => {
                "udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH#dgram or unix:///PATH#stream"
                    .to_owned()
            }
            Kind::Control(_) => "a path, \"auto\" or \"none\"".to_owned(),
            Kind::User(_) => "the name or number of a user".to_owned(),
            Kind::Group(_) => "the name or number of a group".to_owned(),
            Kind::Networks(_) => {
                "IP addresses and networks, separated by commas, or \"*\"".to_owned()
            }
            Kind::Names(expected, _) => (*expected).to_owned(),
            Kind::Fields(_) | Kind::Pairs(_) => {
                "a text such as \"NAME=VALUE\", a list of them, or a table".to_owned()
            }
            Kind::Binds | Kind::Addresses(_) => "an address or a list of addresses".to_owned(),
            Kind::App => "the name of an application".to_owned(),
            Kind::Mounts => {
                "a text such as \"PREFIX=APP\", a list of them, or tables [[mount]]".to_owned()
            }
        }
    }

    /// What stands for its value in a usage line.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Kind::Switch(_) => "BOOL",
            Kind::Number { .. } => "NUMBER",
            Kind::Workers(_) => "NUMBER|auto",
            Kind::Share(_) => "NUMBER|PERCENT%",
            Kind::Size { .. } => "SIZE",
            Kind::Time { .. } => "TIME",
            Kind::Mode(_) => "MODE",
            Kind::Text(_) | Kind::Field(_) => "TEXT",
            Kind::Format(_) => "FORMAT",
            Kind::Choice(..) => "WORD",
            Kind::Class(_) => "CLASS",
            Kind::Path(_) | Kind::Paths(_) | Kind::File => "FILE",
            Kind::Log(_) => "FILE|journald|auto",
            Kind::Control(_) => "FILE|auto|none",
            Kind::Directory(_) => "DIR",
            Kind::User(_) => "USER",
            Kind::Group(_) => "GROUP",
            Kind::Networks(_) => "NETWORKS",
            Kind::Names(..) => "NAMES",
            Kind::Fields(_) | Kind::Pairs(_) => "NAME=VALUE",
            Kind::Binds | Kind::Addresses(_) | Kind::Syslog(_) => "ADDRESS",
            Kind::App => "APP",
            Kind::Mounts => "PREFIX=APP",
        }
    }
}

/// Yes or no.
pub fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Digits and nothing else.
pub fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A number, or a percentage up to 100.
pub fn share(text: &str) -> Option<Share> {
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent = usize::try_from(number(percent)?).ok()?;
            (percent <= 100).then_some(Share::Percent(percent))
        }
        None => usize::try_from(number(text)?)
            .ok()
            .filter(|number| *number <= MOST_WORKERS)
            .map(Share::Number),
    }
}

/// Bytes, with an optional unit; every unit is a power of 1024.
pub fn size(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    let bytes = number(digits)?.checked_mul(1 << shift)?;
    // A length in a file is a signed 64-bit number, and so is an integer of TOML.
    (bytes <= i64::MAX as u64).then_some(bytes)
}

/// Bytes with the largest unit that divides them, as it stands in the file.
pub fn show_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units
        .iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes % (1 << shift) == 0)
    {
        Some((shift, unit)) => format!("\"{}{unit}\"", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Seconds, fractions allowed, or a number with a unit.
pub fn time(text: &str) -> Option<Duration> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = match unit.trim_start() {
        "" | "s" => Duration::from_secs(1),
        "ms" => Duration::from_millis(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    // In whole nanoseconds, so that 0.1 is 100 ms exactly.
    let whole = u128::from(number(whole)?).checked_mul(unit.as_nanos())?;
    let places = u32::try_from(fraction.len())
        .ok()
        .filter(|places| *places <= 9)?;
    let fraction = u128::from(if places == 0 { 0 } else { number(fraction)? });
    let nanos = whole.checked_add(fraction * unit.as_nanos() / 10_u128.pow(places))?;
    if nanos > LONGEST.as_nanos() {
        return None;
    }
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// Seconds as they stand in the file: whole, or with as many places as needed.
pub fn show_time(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        return time.as_secs().to_string();
    }
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    text.trim_end_matches('0').to_owned()
}

/// File permissions: octal digits, with or without 0o.
pub fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return None;
    }
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
}

/// A text as a basic string of TOML.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn switches() {
        for (text, meant) in [
            ("true", Some(true)),
            ("YES", Some(true)),
            ("on", Some(true)),
            ("1", Some(true)),
            ("false", Some(false)),
            ("No", Some(false)),
            ("off", Some(false)),
            ("0", Some(false)),
            ("", None),
            ("2", None),
            ("maybe", None),
        ] {
            assert_eq!(switch(text), meant, "{text:?}");
        }
    }

    #[test]
    fn numbers() {
        for (text, meant) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1.5", None),
            ("1_000", None),
            (" 1", None),
        ] {
            assert_eq!(number(text), meant, "{text:?}");
        }
    }

    #[test]
    fn shares() {
        for (text, meant) in [
            ("0", Some(Share::Number(0))),
            ("3", Some(Share::Number(3))),
            ("25%", Some(Share::Percent(25))),
            ("0%", Some(Share::Percent(0))),
            ("100%", Some(Share::Percent(100))),
            ("101%", None),
            ("%", None),
            ("25 %", None),
            ("4097", None),
            ("half", None),
        ] {
            assert_eq!(share(text), meant, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, meant) in [
            ("0", Some(0)),
            ("8190", Some(8190)),
            ("1b", Some(1)),
            ("1K", Some(1 << 10)),
            ("64k", Some(64 << 10)),
            ("64KiB", Some(64 << 10)),
            ("64 kib", Some(64 << 10)),
            ("2M", Some(2 << 20)),
            ("2MiB", Some(2 << 20)),
            ("1G", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("1TiB", Some(1 << 40)),
            ("1KB", None),
            ("1.5M", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999T", None),
        ] {
            assert_eq!(size(text), meant, "{text:?}");
        }
    }

    #[test]
    fn times() {
        for (text, meant) in [
            ("0", Some(Duration::ZERO)),
            ("30", Some(MILLI * 30_000)),
            ("30s", Some(MILLI * 30_000)),
            ("0.5", Some(MILLI * 500)),
            ("0.1", Some(MILLI * 100)),
            ("1.25s", Some(MILLI * 1250)),
            ("500ms", Some(MILLI * 500)),
            ("0.5ms", Some(MILLI / 2)),
            ("5m", Some(MILLI * 300_000)),
            ("1.5 h", Some(MILLI * 5_400_000)),
            ("8784h", Some(LONGEST)),
            ("8785h", None),
            ("99999999999999999999", None),
            ("", None),
            ("s", None),
            (".5", None),
            ("1.", None),
            ("1.2.3", None),
            ("1m30s", None),
            ("-1", None),
            ("1d", None),
            ("inf", None),
            ("0.0000000001", None),
        ] {
            assert_eq!(time(text), meant, "{text:?}");
        }
    }

    #[test]
    fn modes() {
        for (text, meant) in [
            ("0660", Some(0o660)),
            ("660", Some(0o660)),
            ("0o660", Some(0o660)),
            ("0", Some(0)),
            ("777", Some(0o777)),
            ("1777", None),
            ("0880", None),
            ("", None),
            ("0o", None),
            ("rw-rw----", None),
        ] {
            assert_eq!(mode(text), meant, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_means_the_same() {
        for bytes in [
            0,
            1,
            1000,
            1024,
            4094,
            65536,
            1 << 20,
            3 << 30,
            1 << 40,
            (1 << 30) + 1,
        ] {
            assert_eq!(size(show_size(bytes).trim_matches('"')), Some(bytes));
        }
        assert_eq!(show_size(65536), "\"64KiB\"");
        assert_eq!(show_size(4094), "4094");
        for text in ["0", "30", "0.5", "0.001", "1.25", "0.000000001"] {
            let meant = time(text).expect("a time");
            assert_eq!(show_time(meant), text);
        }
    }

    #[test]
    fn quoted_text_is_read_back() {
        for text in [
            "",
            "plain",
            "a \"b\" \\ c",
            "tab\tnew\nline",
            "\u{1}\u{7f}",
            "é λ",
        ] {
            let document = format!("text = {}", quote(text));
            let table = toml::de::DeTable::parse(&document).expect("a document");
            let value = table.get_ref().get("text").expect("its key");
            assert_eq!(value.get_ref().as_str(), Some(text), "{document}");
        }
    }
}
