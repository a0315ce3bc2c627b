//! Documents made from the table of settings: manual pages, the settings page, completions.
//!
//! What belongs to a setting comes from its entry; what does not (signals, files, exit status,
//! examples) is written here. The manual pages and the settings page are kept in the repository,
//! and a test says when they are out of date.
#![forbid(unsafe_code)]

mod man;
mod page;

use clap_complete::Shell;

#[cfg(test)]
pub(crate) use self::man::EXAMPLE;

use crate::cli;
use crate::config::Known;

/// What `generate` can print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Artifact {
    /// The manual page of the program.
    Man,
    /// The manual page of the configuration file.
    ManToml,
    /// The settings page, Markdown.
    Settings,
    /// Completions for a shell.
    Completions(Shell),
}

impl Artifact {
    /// The names on the command line.
    pub(crate) const NAMES: [&str; 6] = [
        "man",
        "man-toml",
        "settings",
        "completions-bash",
        "completions-zsh",
        "completions-fish",
    ];

    /// The artifact of a name.
    pub(crate) fn named(name: &str) -> Option<Artifact> {
        Some(match name {
            "man" => Artifact::Man,
            "man-toml" => Artifact::ManToml,
            "settings" => Artifact::Settings,
            "completions-bash" => Artifact::Completions(Shell::Bash),
            "completions-zsh" => Artifact::Completions(Shell::Zsh),
            "completions-fish" => Artifact::Completions(Shell::Fish),
            _ => return None,
        })
    }
}

/// The text of an artifact, for a program called `name`.
pub(crate) fn text(artifact: Artifact, name: &str, known: &Known<'_>) -> String {
    match artifact {
        Artifact::Man => man::program(),
        Artifact::ManToml => man::file(),
        Artifact::Settings => page::settings(),
        Artifact::Completions(shell) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut cli::command(name, known), name, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    const KNOWN: Known<'_> = Known {
        apps: &["welcome", "hello", "echo"],
        classes: &["sync", "custom"],
        defaults: &[],
    };

    #[test]
    fn what_is_checked_in_is_current() {
        for (path, command, kept) in [
            ("man/ferricorn.1", "man", include_str!("../man/ferricorn.1")),
            (
                "man/ferricorn.toml.5",
                "man-toml",
                include_str!("../man/ferricorn.toml.5"),
            ),
            (
                "docs/SETTINGS.md",
                "settings",
                include_str!("../docs/SETTINGS.md"),
            ),
        ] {
            let artifact = Artifact::named(command).expect("an artifact");
            let current = text(artifact, "ferricorn", &KNOWN) == kept;
            assert!(
                current,
                "{path} is out of date: ferricorn generate {command} > {path}"
            );
        }
    }

    #[test]
    fn every_name_is_an_artifact() {
        for name in Artifact::NAMES {
            assert!(Artifact::named(name).is_some(), "{name}");
        }
        assert_eq!(Artifact::named("manual"), None);
    }

    #[test]
    fn every_setting_is_in_every_document() {
        for name in Artifact::NAMES {
            let artifact = Artifact::named(name).expect("an artifact");
            let text = text(artifact, "ferricorn", &KNOWN).replace("\\-", "-");
            for setting in settings::all() {
                let in_file_only = artifact == Artifact::ManToml && !setting.in_file();
                let positional = setting.name == "app";
                if !in_file_only && !positional {
                    assert!(
                        text.contains(setting.name),
                        "{} is not in {name}",
                        setting.name
                    );
                }
            }
        }
    }

    #[test]
    fn completions_know_the_choices() {
        for name in ["completions-bash", "completions-zsh", "completions-fish"] {
            let text = text(
                Artifact::named(name).expect("an artifact"),
                "ferricorn",
                &KNOWN,
            );
            // clap_complete gives fish no values of arguments, only of options.
            let app = if name == "completions-fish" {
                "check"
            } else {
                "welcome"
            };
            for word in ["warning", "custom", app, "no-sendfile", "generate"] {
                assert!(text.contains(word), "{word} is not in {name}");
            }
        }
    }

    /// A line that starts with a full stop or an apostrophe is a request of roff; each must be one
    /// that the pages mean.
    #[test]
    fn manual_pages_have_only_known_requests() {
        for page in [man::program(), man::file()] {
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                let request = line.split(' ').next().unwrap_or_default();
                let known = [
                    ".\\\"", ".TH", ".SH", ".SS", ".TP", ".PP", ".IP", ".RS", ".RE", ".EX", ".EE",
                ];
                assert!(known.contains(&request), "{line}");
            }
        }
    }
}
