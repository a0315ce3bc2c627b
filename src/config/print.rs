//! The effective configuration as text: `--print-config`.
//!
//! What is printed is a configuration file that means the same, each value with a remark that says
//! where it came from.

use super::{Config, Origin};
use crate::settings::{self, Kind, Setting};

/// A setting as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    /// Its value in TOML.
    pub(crate) literal: String,
    pub(crate) origin: Origin,
    /// What the value comes to here, when the value itself does not say.
    pub(crate) note: Option<String>,
}

impl Shown {
    /// A setting that nobody gave and that has no default.
    pub(super) fn absent(setting: &Setting) -> Shown {
        let literal = match setting.kind {
            Kind::Addresses(_) | Kind::Pairs(_) | Kind::Fields(_) | Kind::Paths(_) => "[]",
            _ => "\"\"",
        };
        let note = Some(setting.default_doc.to_owned());
        Shown {
            note,
            ..Shown::new(setting.name, literal.to_owned(), &Origin::Default)
        }
    }

    pub(super) fn new(name: &'static str, literal: String, origin: &Origin) -> Shown {
        Shown {
            name,
            literal,
            origin: origin.clone(),
            note: None,
        }
    }

    fn line(&self) -> String {
        let origin = match &self.origin {
            Origin::Default => "default".to_owned(),
            Origin::File(path, line) => format!("from file {}:{line}", path.display()),
            Origin::Environment(name) => format!("from variable {name}"),
            Origin::CommandLine(name) => format!("from command line {name}"),
        };
        let note = self
            .note
            .as_ref()
            .map(|note| format!(": {note}"))
            .unwrap_or_default();
        let line = format!("{} = {}  # {origin}{note}\n", self.name, self.literal);
        // A path may have any character; a remark may not.
        line.replace(|c: char| c.is_control() && c != '\n', "?")
    }
}

impl Config {
    /// Every setting with its effective value and its origin, as a configuration file.
    pub fn print(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mut text = format!("# The effective configuration, as ferricorn {version} sees it.\n");
        for section in settings::SECTIONS {
            text.push_str(&format!("\n# {}\n", section.title()));
            for setting in section.settings() {
                let shown = self.shown.iter().filter(|shown| shown.name == setting.name);
                for shown in shown {
                    // What only the command line takes would be refused in a file.
                    text.push_str(if setting.in_file() { "" } else { "# " });
                    text.push_str(&shown.line());
                }
            }
        }
        for (name, tables) in [("listen", &self.listens), ("mount", &self.mounts)] {
            for table in tables {
                text.push_str(&format!("\n[[{name}]]\n"));
                table.iter().for_each(|shown| text.push_str(&shown.line()));
            }
        }
        text
    }
}
