//! The text in which Prometheus reads metrics: families of samples, in one of two formats.
//!
//! The [text format] 0.0.4 is what every collector reads; [OpenMetrics] 1.0 is given to whoever asks for it.
//! They differ in how a counter's family is called, in the type of what only informs, and in the last
//! line. Pure.
//!
//! [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
//! [OpenMetrics]: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md

use std::fmt::{Display, Write};

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus, version 0.0.4.
    Text,
    /// Version 1.0.0.
    OpenMetrics,
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows; the name of its samples ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Its value is 1, its labels inform; the name of its sample ends in `_info`.
    Info,
}

/// A text that is being written.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    format: Format,
}

/// A family whose samples are being written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: String,
}

/// Bounds of the buckets that are written: from 2^6 µs to 2^26 µs, which is 64 µs to 67 s.
const BOUNDS: std::ops::RangeInclusive<usize> = 6..=26;

impl Format {
    /// The one that a client wants whose Accept fields are these: OpenMetrics where it says so and does
    /// not like the other one better.
    pub(super) fn wanted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Format {
        let (mut text, mut open) = (0.0_f32, 0.0_f32);
        for range in accept.into_iter().flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let best = match (&*kind, version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => &mut open,
                ("text/plain", None | Some("0.0.4")) => &mut text,
                _ => continue,
            };
            *best = quality.max(*best);
        }
        match open > 0.0 && open >= text {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }

    /// Its name.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    pub(super) fn new(format: Format) -> Exposition {
        Exposition {
            text: String::with_capacity(32 << 10),
            format,
        }
    }

    /// A family. `name` is without the ending that its kind demands.
    pub(super) fn family(&mut self, kind: Kind, name: &str, help: &str) -> Family<'_> {
        let (ending, kind) = match (kind, self.format) {
            (Kind::Counter, _) => ("_total", "counter"),
            (Kind::Gauge, _) => ("", "gauge"),
            (Kind::Info, Format::Text) => ("_info", "gauge"),
            (Kind::Info, Format::OpenMetrics) => ("_info", "info"),
        };
        let sample = format!("{name}{ending}");
        let family = match self.format {
            Format::Text => &sample,
            Format::OpenMetrics => name,
        };
        self.head(family, kind, help);
        Family {
            text: &mut self.text,
            name: sample,
        }
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    /// A histogram in seconds of times that the scoreboard counts in µs, and their sum.
    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[u64], sum_us: u64) {
        self.head(name, "histogram", help);
        let mut family = Family {
            text: &mut self.text,
            name: format!("{name}_bucket"),
        };
        let mut count = 0_u64;
        for (n, bucket) in buckets.iter().enumerate() {
            count = count.saturating_add(*bucket);
            // What is in it is below 2^n µs, and a whole number of them.
            if BOUNDS.contains(&n) {
                family.sample(&[("le", &seconds(1 << n))], count);
            }
        }
        family.sample(&[("le", "+Inf")], count);
        family.name = format!("{name}_sum");
        family.sample(&[], seconds(sum_us));
        family.name = format!("{name}_count");
        family.sample(&[], count);
    }

    /// All of it.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // A help text is ours, and of one line.
        let help = help.replace('\\', "\\\\");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

impl Family<'_> {
    /// A sample. Label values may hold anything.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.text.push_str(&self.name);
        let mut opening = '{';
        for (name, value) in labels {
            let _ = write!(self.text, "{opening}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            opening = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// µs as seconds, exactly.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_openmetrics_gets_it() {
        for (accept, open) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=1.0.0", true),
            ("application/openmetrics-text; version=2.0.0", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("text/plain, application/openmetrics-text;q=0.5", false),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,\
                 application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
            ("text/plain;version=0.0.4;q=0.6,*/*;q=0.2", false),
        ] {
            let format = Format::wanted([accept]);
            assert_eq!(format == Format::OpenMetrics, open, "{accept}");
        }
        let fields = ["text/plain;q=0.2", "Application/OpenMetrics-Text ; Q=0.3"];
        assert_eq!(Format::wanted(fields), Format::OpenMetrics);
    }

    #[test]
    fn labels_are_escaped_and_counters_named_as_each_format_wants() {
        let write = |format| {
            let mut text = Exposition::new(format);
            text.family(Kind::Counter, "a_requests", r"Back\slash.")
                .sample(&[("path", "a\"b\\c\nd"), ("x", "é")], 1)
                .sample(&[], 2);
            text.family(Kind::Info, "a_build", "B.").sample(&[], 1);
            text.finish()
        };
        assert_eq!(
            write(Format::Text),
            "# HELP a_requests_total Back\\\\slash.\n# TYPE a_requests_total counter\n\
             a_requests_total{path=\"a\\\"b\\\\c\\nd\",x=\"é\"} 1\na_requests_total 2\n\
             # HELP a_build_info B.\n# TYPE a_build_info gauge\na_build_info 1\n"
        );
        let open = write(Format::OpenMetrics);
        assert!(open.starts_with("# HELP a_requests Back\\\\slash.\n# TYPE a_requests counter\n"));
        assert!(open.contains("\na_requests_total 2\n# HELP a_build B.\n# TYPE a_build info\n"));
        assert!(open.ends_with("a_build_info 1\n# EOF\n"));
    }

    #[test]
    fn a_histogram_is_cumulative_and_keeps_what_is_beyond_its_bounds() {
        let mut buckets = [0; 40];
        for (n, count) in [(0, 1), (3, 2), (6, 4), (7, 8), (26, 16), (27, 32), (39, 64)] {
            buckets[n] = count;
        }
        let mut text = Exposition::new(Format::Text);
        text.histogram("a_seconds", "A.", &buckets, 12_345_678);
        let text = text.finish();
        for line in [
            "a_seconds_bucket{le=\"0.000064\"} 7",
            "a_seconds_bucket{le=\"0.000128\"} 15",
            "a_seconds_bucket{le=\"33.554432\"} 15",
            "a_seconds_bucket{le=\"67.108864\"} 31",
            "a_seconds_bucket{le=\"+Inf\"} 127",
            "a_seconds_sum 12.345678",
            "a_seconds_count 127",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}:\n{text}");
        }
        assert_eq!(text.lines().count(), 2 + 21 + 3);
    }
}
