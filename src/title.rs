//! What ps and top show: "ferricorn: master [name]", "ferricorn: worker 0 [name]".
//!
//! Best effort: where the kernel does not let us, the name stays. The real arguments stay where
//! `std::env::args` finds them.

use std::ffi::CString;
use std::sync::OnceLock;

use crate::sys::{self, MemoryMap};

/// Names this process. The first 15 bytes also become the thread's name.
pub fn set(title: &str) {
    let Ok(title) = CString::new(title) else {
        return;
    };
    let _ = nix::sys::prctl::set_name(&title);
    if let Some(map) = memory_map() {
        // It stays as long as the process: the kernel keeps its address. A process is named once
        // or twice in its life.
        let title: &'static [u8] = Box::leak(title.into_bytes_with_nul().into_boxed_slice());
        let _ = sys::set_command_line(title, map);
    }
}

/// The fields of /proc/self/stat (proc(5)) that the kernel wants to be told again. A process that is forked has
/// those of its parent.
fn memory_map() -> Option<MemoryMap> {
    static MAP: OnceLock<Option<MemoryMap>> = OnceLock::new();
    *MAP.get_or_init(|| parse(&std::fs::read_to_string("/proc/self/stat").ok()?))
}

fn parse(stat: &str) -> Option<MemoryMap> {
    // The name in parentheses may hold anything; fields are counted from behind it, the first of
    // them being number 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        env_start: field(50)?,
        env_end: field(51)?,
        ..MemoryMap::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let map = parse(&format!("1 (a) b (c) S {}\n", fields.join(" "))).unwrap();
        assert_eq!(
            (map.start_code, map.end_code, map.start_stack),
            (26, 27, 28)
        );
        assert_eq!((map.start_data, map.end_data, map.start_brk), (45, 46, 47));
        assert_eq!((map.env_start, map.env_end), (50, 51));
    }

    #[test]
    fn this_process_has_all_the_fields() {
        assert!(memory_map().is_some_and(|map| map.start_stack > 0));
    }

    #[test]
    fn too_few_fields_are_no_map() {
        assert!(parse("1 (a) S 2 3").is_none());
        assert!(parse("").is_none());
    }
}
