//! The public API of `fast-afpacket` as text, so that a change of it is seen in review and never made by accident.
//!
//! ```text
//! cargo run --manifest-path api/Cargo.toml              compare with api/fast-afpacket.txt; exit 1 if it differs
//! cargo run --manifest-path api/Cargo.toml -- --bless   write api/fast-afpacket.txt
//! ```
//!
//! One line for every public item, all features on (so libpcap's header is needed, as for the feature `pcap`). Derived
//! and automatic impls are left out: they say nothing that the types do not.
//!
//! The text must also name no other crate than the standard library: a foreign type in a signature would tie our
//! version to that crate's.
//!
//! The text is made of rustdoc's JSON, which is unstable: `RUSTC_BOOTSTRAP=1` makes the stable toolchain write it, and
//! the version of the crate `public-api` has to fit the toolchain (see Cargo.toml).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use public_api::Builder;
use similar::TextDiff;

const USAGE: &str = "usage: cargo run --manifest-path api/Cargo.toml [-- --bless]";
const BLESS: &str = "cargo run --manifest-path api/Cargo.toml -- --bless";

/// What the paths in a signature may begin with: crates, and primitive types (`pub fn u16::from(…)` of an impl).
const OWN_AND_STD: &str = "fast_afpacket core alloc std \
    bool char str u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64";

/// The lines with which `bitflags!` names its own crate in every type that it makes (`{}`). Nobody can write such a
/// type without them, and they are for generic code over flags; everything else of bitflags in a signature is refused.
const OF_BITFLAGS: [&str; 6] = [
    "impl bitflags::traits::Flags for {}",
    "impl bitflags::traits::PublicFlags for {}",
    "pub const {}::FLAGS: &'static [bitflags::traits::Flag<{}>]",
    "pub type {}::IntoIter = bitflags::iter::Iter<{}>",
    "pub const fn {}::iter(&self) -> bitflags::iter::Iter<{}>",
    "pub const fn {}::iter_names(&self) -> bitflags::iter::IterNames<{}>",
];

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let bless = match arguments.as_slice() {
        [] => false,
        [only] if only == "--bless" => true,
        _ => bail!(USAGE),
    };
    // Of the run, not of the build: a target directory may be shared by several checkouts.
    let api = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context(USAGE)?);
    let workspace = api.parent().context("api/ lies in no workspace")?;

    let text = public_api(&rustdoc_json(workspace)?)?;
    let foreign = foreign_lines(&text);
    if !foreign.is_empty() {
        let lines = foreign.join("\n  ");
        eprintln!("the public API of fast-afpacket names other crates; wrap these types in own ones:\n  {lines}");
        return Ok(ExitCode::FAILURE);
    }

    let blessed = api.join("fast-afpacket.txt");
    if bless {
        fs::write(&blessed, text).with_context(|| format!("cannot write {}", blessed.display()))?;
        println!("wrote {}", blessed.display());
        return Ok(ExitCode::SUCCESS);
    }
    let expected = fs::read_to_string(&blessed)
        .with_context(|| format!("cannot read {}; to make it: {BLESS}", blessed.display()))?;
    if text == expected {
        println!("the public API is that of api/fast-afpacket.txt: {} lines", text.lines().count());
        return Ok(ExitCode::SUCCESS);
    }
    let diff = TextDiff::from_lines(&expected, &text);
    print!("{}", diff.unified_diff().header("api/fast-afpacket.txt", "the public API"));
    eprintln!("the public API has changed; if that is meant: {BLESS}");
    Ok(ExitCode::FAILURE)
}

/// Lets rustdoc describe the library; returns the file.
fn rustdoc_json(workspace: &Path) -> Result<PathBuf> {
    // A directory of its own: with RUSTC_BOOTSTRAP cargo builds what depends on the compiler anew.
    let target = workspace.join("target/api");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["rustdoc", "--package", "fast-afpacket", "--lib", "--all-features", "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo rustdoc failed ({status}): its errors are above");
    Ok(target.join("doc/fast_afpacket.json"))
}

/// One line for every public item.
fn public_api(json: &Path) -> Result<String> {
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| {
            format!("cannot read {}; does public-api fit this rustc? See api/Cargo.toml", json.display())
        })?;
    Ok(api.to_string())
}

/// The lines that name another crate.
fn foreign_lines(text: &str) -> Vec<&str> {
    let structs = text.lines().filter_map(|line| line.strip_prefix("pub struct ")?.strip_suffix("(_)"));
    let of_bitflags: HashSet<String> =
        structs.flat_map(|name| OF_BITFLAGS.map(|line| line.replace("{}", name))).collect();
    text.lines().filter(|line| names_other_crate(line) && !of_bitflags.contains(*line)).collect()
}

fn names_other_crate(line: &str) -> bool {
    let paths = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let mut roots = paths.filter_map(|path| path.split_once("::")).map(|(root, _)| root);
    // A capital begins a type, as in `Self::Item`. And public-api lists what we re-export of our own in its place: what
    // is left as `use` is somebody else's.
    roots.any(|root| root.starts_with(char::is_lowercase) && !OWN_AND_STD.split(' ').any(|own| own == root))
        || line.starts_with("pub use ")
}
