//! How programs are run: what an operator may say of it, by name and as text, or a program in values.

use ferricorn_base::conf::Takes;
use ferricorn_base::sys::spawn::Resource;

/// How programs are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Variables for their environment, beside those of the request.
    pub env: Vec<(String, String)>,
    /// Whether they are given `Authorization` (RFC 3875 section 9.2).
    pub pass_authorization: bool,
    /// How many may run at once in one worker. Default: 64.
    pub max_processes: usize,
    /// What each may take of the system.
    pub limits: Vec<(Resource, u64)>,
}

/// The options by name.
pub const OPTIONS: &[(&str, Takes)] = &[
    ("env", Takes::Pairs),
    ("pass-authorization", Takes::Switch),
    ("max-processes", Takes::Number),
    ("cpu-seconds", Takes::Number),
    ("memory", Takes::Size),
    ("open-files", Takes::Number),
    ("processes", Takes::Number),
];

impl Default for Options {
    fn default() -> Self {
        Options {
            env: Vec::new(),
            pass_authorization: false,
            max_processes: 64,
            limits: Vec::new(),
        }
    }
}

impl Options {
    /// Sets the option of this name, one of [`OPTIONS`].
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn set(&mut self, name: &str, values: &[&str]) -> Result<(), String> {
        let one = match values {
            [one] => *one,
            _ => "",
        };
        match name {
            "env" => {
                self.env = values
                    .iter()
                    .map(|text| pair(text))
                    .collect::<Result<_, _>>()?
            }
            "pass-authorization" => {
                let yes = one.parse();
                let wrong = |_| format!("expected true or false, found \"{one}\"");
                self.pass_authorization = yes.map_err(wrong)?;
            }
            "max-processes" => {
                self.max_processes = usize::try_from(number(one)?).unwrap_or(usize::MAX);
            }
            "cpu-seconds" => self.limits.push((Resource::CpuSeconds, number(one)?)),
            "memory" => self.limits.push((Resource::Memory, number(one)?)),
            "open-files" => self.limits.push((Resource::OpenFiles, number(one)?)),
            "processes" => self.limits.push((Resource::Processes, number(one)?)),
            _ => return Err(format!("there is no option \"{name}\" of programs")),
        }
        Ok(())
    }
}

/// At least one: with none, nothing could run.
fn number(value: &str) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("expected a number from 1, found \"{value}\""))
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("expected NAME=VALUE, found \"{text}\"")),
    }
}
