//! The settings page, `docs/SETTINGS.md`.

use crate::config::listen_keys;
use crate::settings::{self, Kind, Scope, Setting};

/// The page.
pub(super) fn settings() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         <!-- Made by `ferricorn generate settings`; edit src/settings/ instead. -->\n\n\
         Every setting has one name. It is a long option on the command line (`--keep-alive 5`), a \
         key in the file (`keep-alive = 5`) and, in capitals, a variable \
         (`FERRICORN_KEEP_ALIVE=5`). Where several say something, the higher one counts:\n\n\
         1. the command line\n\
         2. the environment\n\
         3. the configuration file\n\
         4. the default (for `bind` and `workers` the well-known variables `PORT` and \
         `WEB_CONCURRENCY` give it)\n\n\
         A list that is given replaces a lower one. An empty variable counts as unset; an empty \
         text in the file or on the command line means \"none\".\n\n\
         - `ferricorn --print-config` shows every setting with its value and where it came from, \
         as a configuration file.\n\
         - `ferricorn --check-config` reports everything that is wrong, with file, line and what \
         was expected.\n\n\
         Times are in seconds, fractions allowed, or have a unit: `500ms`, `30s`, `5m`, `1h`. \
         Sizes are in bytes or have a unit, all powers of 1024: `K` or `KiB`, `M` or `MiB`, `G` or \
         `GiB`, `T` or `TiB`.\n",
    );
    for section in settings::SECTIONS {
        text.push_str(&format!("\n## {}\n", section.title()));
        for setting in section.settings() {
            text.push_str(&entry(setting));
        }
    }
    let keys = listen_keys()
        .iter()
        .map(|setting| code(setting.name))
        .collect::<Vec<_>>();
    text.push_str(&format!(
        "\n## Tables of the file\n\n\
         `[[listen]]` is one listener. Its keys are {}; what it does not say is as at the top of \
         the file.\n\n\
         `[[mount]]` is one application under a prefix. Its keys are `prefix`, `app` and \
         `timeout`; those of `static:DIR`, and `x-sendfile`, are in \
         [FILES.md](FILES.md), those of back ends in [GATEWAYS.md](GATEWAYS.md).\n\n\
         ```toml\n{}```\n",
        keys.join(", "),
        super::man::EXAMPLE
    ));
    text
}

fn entry(setting: &Setting) -> String {
    let mut text = format!("\n### `{}`\n\n{}\n", setting.name, setting.summary());
    for paragraph in setting.paragraphs() {
        text.push_str(&format!("\n{paragraph}\n"));
    }
    text.push('\n');
    let mut line = |name: &str, value: String| text.push_str(&format!("- {name}: {value}\n"));
    line("Value", setting.kind.expected());
    line(
        "Default",
        match setting.default {
            "" => setting.default_text(),
            default => code(default),
        },
    );
    line(
        "Command line",
        match setting.kind {
            Kind::App => code("APP"),
            _ => options(setting),
        },
    );
    if let Some(variable) = setting.environment() {
        let known = setting
            .variable
            .map(|known| format!(", default from `{known}`"));
        line("Environment", code(&variable) + &known.unwrap_or_default());
    }
    line(
        "Scope",
        match setting.scope {
            Scope::Server => "server".to_owned(),
            Scope::Listener => "listener (`[[listen]]`), or all of them at the top".to_owned(),
            Scope::Mount => "mount (`[[mount]]`), or `/` at the top".to_owned(),
        },
    );
    if !setting.in_file() {
        line("File", "no".to_owned());
    } else if !setting.reload {
        line("Reload", "no; only a new start changes it".to_owned());
    }
    if let Some(theirs) = setting.gunicorn {
        line("In Gunicorn's file", code(theirs));
    }
    text
}

fn options(setting: &Setting) -> String {
    let value = match setting.kind {
        Kind::Switch(_) => String::new(),
        _ => format!(" {}", setting.kind.placeholder()),
    };
    let short = setting.short.map(|short| format!("-{short}{value}"));
    let long = std::iter::once(setting.name).chain(setting.aliases.iter().copied());
    let long = long.map(|long| format!("--{long}{value}"));
    let off = setting.off.map(|off| format!("--{off}"));
    let all = short
        .into_iter()
        .chain(long)
        .chain(off)
        .map(|option| code(&option));
    all.collect::<Vec<_>>().join(", ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
