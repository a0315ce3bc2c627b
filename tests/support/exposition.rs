//! A strict reader of the text that Prometheus reads, in both formats: it panics at whatever a collector
//! or `promtool check metrics` would complain of. For the tests of what writes it, here and in the crate of
//! the aide.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test needs all of it, and a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, by name.
type Labels = BTreeMap<String, String>;

/// What was read.
#[derive(Debug)]
pub struct Parsed {
    samples: BTreeMap<(String, Labels), f64>,
    /// The type of each family.
    pub types: BTreeMap<String, String>,
}

impl Parsed {
    /// Reads all of it.
    pub fn strictly(text: &str, is_open_metrics: bool) -> Parsed {
        let mut lines = text.lines().peekable();
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'));
        let mut parsed = Parsed {
            samples: BTreeMap::new(),
            types: BTreeMap::new(),
        };
        while let Some(line) = lines.next() {
            if is_open_metrics && line == "# EOF" {
                assert_eq!(lines.next(), None, "after the end");
                return parsed;
            }
            let help = line.strip_prefix("# HELP ").expect(line);
            let (family, help) = help.split_once(' ').expect(line);
            assert!(help.ends_with('.') && help.len() > 1, "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (name, kind) = kind.and_then(|line| line.split_once(' ')).expect(line);
            assert_eq!(name, family);
            lint(family, kind, is_open_metrics);
            let before = parsed.types.insert(family.to_owned(), kind.to_owned());
            assert_eq!(before, None, "{family} is told of twice");
            let mut seen = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (name, labels, value) = sample(line);
                check_name(&name, family, kind, is_open_metrics);
                assert!(value.is_finite(), "{line}");
                assert!(value >= 0.0, "{line}");
                let twice = parsed.samples.insert((name.clone(), labels.clone()), value);
                assert_eq!(twice, None, "{line} comes twice");
                seen.push((name, labels, value));
            }
            if kind == "histogram" {
                check_histogram(family, &seen);
            }
        }
        assert!(!is_open_metrics, "it has no end");
        parsed
    }

    /// The value of a series, which there is.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }

    /// The value of a series, if there is one.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let owned = labels
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let key = (name.to_owned(), owned.collect());
        self.samples.get(&key).copied()
    }

    /// The sum of all series of this name.
    pub fn sum(&self, name: &str) -> f64 {
        let samples = self.samples.iter();
        samples
            .filter(|((other, _), _)| other == name)
            .map(|(_, value)| value)
            .sum()
    }

    /// Panics when anything that only grows has shrunk or gone since `earlier`.
    pub fn follows(&self, earlier: &Parsed) {
        for ((name, labels), before) in &earlier.samples {
            let histogram = ["_bucket", "_count", "_sum"]
                .iter()
                .filter_map(|ending| name.strip_suffix(ending))
                .any(|family| self.types.get(family).is_some_and(|t| t == "histogram"));
            if name.ends_with("_total") || histogram {
                let now = self.samples.get(&(name.clone(), labels.clone()));
                assert!(
                    now.is_some_and(|now| now >= before),
                    "{name} {labels:?} was {before} and is {now:?}"
                );
            }
        }
    }
}

/// What `promtool check metrics` says of names.
fn lint(family: &str, kind: &str, is_open_metrics: bool) {
    assert!(is_name(family, ":"), "{family}");
    assert!(family.starts_with("ferricorn_"), "{family}");
    let kinds = ["counter", "gauge", "histogram"];
    assert!(
        kinds.contains(&kind) || is_open_metrics && kind == "info",
        "{kind}"
    );
    assert_eq!(
        family.ends_with("_total"),
        kind == "counter" && !is_open_metrics,
        "{family} is a {kind}"
    );
    for ending in [
        "_bucket",
        "_count",
        "_sum",
        "_counter",
        "_gauge",
        "_histogram",
    ] {
        assert!(!family.ends_with(ending), "{family}");
    }
    let base = [
        "ms",
        "milliseconds",
        "microseconds",
        "minutes",
        "kilobytes",
        "mib",
        "percent",
    ];
    let words: Vec<&str> = family.split('_').collect();
    assert!(!words.iter().any(|word| base.contains(word)), "{family}");
    assert_eq!(family, family.to_lowercase());
    for unit in ["seconds", "bytes"] {
        if let Some(at) = words.iter().position(|word| *word == unit) {
            let last = words.len() - 1 - usize::from(words.ends_with(&["total"]));
            assert_eq!(at, last, "the unit of {family} comes last");
        }
    }
}

fn is_name(name: &str, more: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    name.chars().all(allowed) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn check_name(name: &str, family: &str, kind: &str, is_open_metrics: bool) {
    let endings: &[&str] = match kind {
        "histogram" => &["_bucket", "_sum", "_count"],
        "counter" if is_open_metrics => &["_total"],
        "info" => &["_info"],
        _ => &[""],
    };
    let is_of_it = endings
        .iter()
        .any(|ending| format!("{family}{ending}") == name);
    assert!(is_of_it, "{name} is no sample of {family}");
}

fn check_histogram(family: &str, samples: &[(String, Labels, f64)]) {
    let buckets = samples
        .iter()
        .filter(|(name, ..)| name.ends_with("_bucket"));
    let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
    for (_, labels, value) in buckets {
        let le = &labels["le"];
        let next = if le == "+Inf" {
            f64::INFINITY
        } else {
            le.parse().unwrap()
        };
        assert!(next > bound && *value >= count, "{family} {le}");
        assert!(
            le == "+Inf" || le.contains('.'),
            "{family}: {le} is no number of OpenMetrics"
        );
        (bound, count) = (next, *value);
    }
    assert_eq!(bound, f64::INFINITY, "{family}");
    let of = |ending: &str| {
        let name = format!("{family}{ending}");
        let found = samples.iter().find(|(other, ..)| *other == name);
        found.map(|(.., value)| *value).expect(&name)
    };
    assert_eq!(of("_count"), count, "{family}");
    assert!((of("_sum") > 0.0) <= (count > 0.0), "{family}");
}

/// `name{label="value",...} value`
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, rest) = line.split_at(end);
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Labels::new();
    let mut names = BTreeSet::new();
    let value = match rest.strip_prefix('{') {
        None => rest,
        Some(mut rest) => loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label, "") && names.insert(label), "{line}");
            let (text, after) = quoted(after, line);
            labels.insert(label.to_owned(), text);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => break after.strip_prefix('}').expect(line),
            }
        },
    };
    let value = value.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

/// A label value to its closing quote, and what comes after that.
fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => panic!("{line}: an escape that there is not"),
            }),
            c => value.push(c),
        }
    }
    panic!("{line}: a label value without an end")
}
