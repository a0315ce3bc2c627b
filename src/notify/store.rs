//! What the service manager keeps for us: listeners, by name. Pure: what it has, what it is to have,
//! the next datagram.

/// One change of the store.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// It is to forget the one at this place of those that it has.
    Forget(usize),
    /// It is to keep the listener at this place.
    Keep(usize),
}

/// The next change from the names `stored` to the names of `listeners`; `None` when they agree.
pub fn next<'a>(
    stored: &[String],
    listeners: impl Iterator<Item = &'a str> + Clone,
) -> Option<Change> {
    let is_gone = |name: &String| !listeners.clone().any(|listener| listener == name);
    let gone = stored.iter().position(is_gone).map(Change::Forget);
    let is_new = |name: &str| !stored.iter().any(|stored| stored == name);
    let new = || listeners.clone().position(is_new).map(Change::Keep);
    gone.or_else(new)
}

/// The datagram with which a descriptor goes along.
pub fn keep(name: &str) -> String {
    // Unless it is told not to, the manager watches it, and each connection would wake it up.
    format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}")
}

/// The datagram for what it has of this name.
pub fn forget(name: &str) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_becomes_what_it_should_be_one_by_one() {
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&[], &[], &[]),
            (&[], &["a", "b"], &["+a", "+b"]),
            (&["a", "b"], &["b", "a"], &[]),
            (&["a", "b", "c"], &["b", "d"], &["-a", "-c", "+d"]),
            (&["a"], &[], &["-a"]),
        ];
        for (stored, wanted, expected) in cases {
            let mut stored: Vec<String> = stored.iter().map(|name| (*name).to_owned()).collect();
            let mut changes = Vec::new();
            while let Some(change) = next(&stored, wanted.iter().copied()) {
                match change {
                    Change::Forget(place) => changes.push(format!("-{}", stored.remove(place))),
                    Change::Keep(place) => {
                        changes.push(format!("+{}", wanted[place]));
                        stored.push(wanted[place].to_owned());
                    }
                }
                assert!(changes.len() < 9, "{changes:?}");
            }
            assert_eq!(changes, expected, "{wanted:?}");
        }
    }
}
