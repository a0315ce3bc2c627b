//! How a back end is asked: what an operator may say of it, by name and as text, or a program in values.

use std::time::Duration;

use ferricorn_base::conf::Takes;

/// How a back end is asked. The default is what `fastcgi:ADDR` and the others do without a word more.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of scripts, as the back end sees it: what PHP wants. `None`: the back end is one
    /// application, whose SCRIPT_NAME is the prefix of its mount.
    pub root: Option<String>,
    /// The script of a path that ends with a slash.
    pub index: String,
    /// What the name of a script ends with; what follows it in a path is PATH_INFO.
    pub split: String,
    /// The script for paths that name none; else they are not found.
    pub fallback: Option<String>,
    /// More variables, each in the place of one of its name.
    pub env: Vec<(String, String)>,
    /// How many connections each worker keeps for the next request. `None`: as the protocol is used, none of
    /// FastCGI, 8 of HTTP.
    pub pool: Option<usize>,
    /// For how long.
    pub pool_time: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the back end may take until its answer begins, and between two pieces of it. Zero: for ever.
    /// Of a mount, its `timeout`.
    pub timeout: Duration,
}

/// The options by name.
pub const OPTIONS: &[(&str, Takes)] = &[
    ("root", Takes::Word),
    ("index", Takes::Word),
    ("split", Takes::Word),
    ("fallback", Takes::Word),
    ("env", Takes::Pairs),
    ("pool", Takes::Number),
    ("pool-time", Takes::Time),
    ("connect-timeout", Takes::Time),
];

impl Default for Options {
    fn default() -> Self {
        Options {
            root: None,
            index: "index.php".to_owned(),
            split: ".php".to_owned(),
            fallback: None,
            env: Vec::new(),
            pool: None,
            pool_time: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
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
            "root" => {
                if !one.starts_with('/') || one.contains('\0') {
                    return Err(format!("expected a path from the root, found \"{one}\""));
                }
                self.root = Some(one.trim_end_matches('/').to_owned());
            }
            "index" => {
                if one.is_empty() || one.contains(['/', '\0']) {
                    return Err(format!("expected the name of a file, found \"{one}\""));
                }
                self.index = one.to_owned();
            }
            "split" => {
                if one.is_empty() || one.contains(['/', '\0']) {
                    return Err(format!(
                        "expected an ending such as \".php\", found \"{one}\""
                    ));
                }
                self.split = one.to_owned();
            }
            "fallback" => {
                if !one.starts_with('/') || one.contains('\0') {
                    return Err(format!(
                        "expected a path such as \"/index.php\", found \"{one}\""
                    ));
                }
                self.fallback = Some(one.to_owned());
            }
            "env" => self.env = values.iter().map(variable).collect::<Result<_, _>>()?,
            "pool" => {
                let number = one.parse().ok().filter(|number| *number <= 1024);
                self.pool = Some(number.ok_or("expected a number up to 1024")?);
            }
            "pool-time" => self.pool_time = time(one)?,
            "connect-timeout" => {
                self.connect_timeout = time(one)?;
                if self.connect_timeout.is_zero() {
                    return Err("expected a time, which is not 0".to_owned());
                }
            }
            _ => return Err(format!("there is no option {name}")),
        }
        Ok(())
    }
}

/// `NAME=VALUE`
fn variable(text: &&str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && name.bytes().all(plain) && !value.contains('\0')
    });
    let (name, value) = pair.ok_or_else(|| format!("expected NAME=VALUE, found \"{text}\""))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn time(millis: &str) -> Result<Duration, String> {
    let millis = millis.parse().map_err(|_| "expected a time".to_owned())?;
    Ok(Duration::from_millis(millis))
}
