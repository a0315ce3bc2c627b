//! Values that are lists: names, and pairs of a name and a value, as texts or as tables.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use http::HeaderName;

use super::raw::{Given, Raw};
use crate::settings::Kind;
use crate::settings::value::quote;

/// Texts of a list, or a text of them that commas separate; none when it is empty.
pub(super) fn names(given: &Given) -> Result<Vec<&str>, ()> {
    let mut names = Vec::new();
    for item in given.items() {
        match item.raw.text().ok_or(())? {
            "" => {}
            text => names.extend(text.split(',').map(str::trim)),
        }
    }
    Ok(names)
}

/// Fields as `NAME=VALUE` texts, which commas separate, or as a table.
pub(super) fn fields(given: &Given) -> Result<Vec<(String, String)>, String> {
    let expected = Kind::Fields(|_, _| ()).expected();
    let mut fields = Vec::new();
    if let Raw::Table(entries) = &given.raw {
        for (name, value) in entries {
            let text = value.raw.text();
            let text = text.ok_or_else(|| format!("expected {expected}, found {}", value.raw))?;
            fields.push(field(name, text)?);
        }
        return Ok(fields);
    }
    let texts = names(given).map_err(|()| format!("expected {expected}, found {}", given.raw))?;
    for text in texts {
        let pair = text.split_once('=');
        let (name, value) =
            pair.ok_or_else(|| format!("expected {expected}, found {}", quote(text)))?;
        fields.push(field(name, value)?);
    }
    // As a table has them.
    fields.sort();
    Ok(fields)
}

fn field(name: &str, value: &str) -> Result<(String, String), String> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("{} is no name of a field", quote(name)));
    }
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !printable || value.is_empty() || value.trim() != value {
        return Err(format!("{name}: {} is no value of a field", quote(value)));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Variables as `NAME=VALUE` texts or as a table; `Err` with the first that is neither.
pub(super) fn pairs(given: &Given) -> Result<Vec<(OsString, OsString)>, &Raw> {
    let plain = |text: &OsStr| !text.as_bytes().contains(&0);
    let pair = |name: &OsStr, value: &OsStr| {
        let named = !name.is_empty() && !name.as_bytes().contains(&b'=');
        (named && plain(name) && plain(value)).then(|| (name.to_owned(), value.to_owned()))
    };
    if let Raw::Table(entries) = &given.raw {
        let read = |(name, value): &'_ (String, Given)| {
            value
                .raw
                .os()
                .and_then(|value| pair(OsStr::new(name), value))
        };
        return entries
            .iter()
            .map(|entry| read(entry).ok_or(&entry.1.raw))
            .collect();
    }
    let read = |item: &Given| {
        let bytes = item.raw.os()?.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=')?;
        pair(
            OsStr::from_bytes(&bytes[..at]),
            OsStr::from_bytes(&bytes[at + 1..]),
        )
    };
    given
        .items()
        .iter()
        .map(|item| read(item).ok_or(&item.raw))
        .collect()
}
