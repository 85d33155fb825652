//! That no call is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::hooks::HOOKED;

/// Those that are left alone: they cannot fail where the library calls them, or free what there is. `read` and `write` are of
/// an event or a timer that never blocks. For what `clock_getres` says there is a substitute, once for each process. What is asked
/// of `clock_gettime` the standard library asks too, and panics.
const SPARED: [&str; 7] = ["clock_getres", "clock_gettime", "if_freenameindex", "munmap", "read", "sysconf", "write"];

/// Defined beside the others. (So is `fcntl`, which the standard library calls for ours.)
const SPECIAL: [&str; 1] = ["syscall"];

/// Every function of the C library that `src` calls has a version here that fails.
pub(crate) fn every_call_of_the_library_is_tried() {
    let mut called = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut called);
    assert!(called.len() > 20, "{called:?}");
    let tried: BTreeSet<_> = HOOKED.iter().chain(&SPARED).chain(&SPECIAL).map(ToString::to_string).collect();
    assert_eq!(called.difference(&tried).collect::<Vec<_>>(), [] as [&String; 0], "these are not tried");
    assert_eq!(tried.difference(&called).collect::<Vec<_>>(), [] as [&String; 0], "these are called no more");
}

/// All `libc::name(` in these files.
fn collect(directory: &Path, called: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, called);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            for rest in text.split("libc::").skip(1) {
                let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let is_call =
                    rest[name.len()..].starts_with('(') && !name.starts_with(|c: char| c.is_ascii_uppercase());
                if is_call {
                    called.insert(name);
                }
            }
        }
    }
}
