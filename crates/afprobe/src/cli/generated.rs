//! The manual pages in `man/` and the shell completions in `completions/` are what this makes of the command line's
//! definition: packages install the files, and need to run nothing.
//!
//! `AFPROBE_BLESS=1 cargo test -p afprobe --bin afprobe generated` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;

/// A generated file: where it is, and what is in it.
type Generated = (PathBuf, Vec<u8>);

#[test]
fn generated_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<Generated> = pages();
    files.extend(completions());
    if std::env::var_os("AFPROBE_BLESS").is_some() {
        for (path, bytes) in &files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), bytes).unwrap();
        }
    }
    for (path, bytes) in &files {
        let found = fs::read(root.join(path)).unwrap_or_default();
        let how = "AFPROBE_BLESS=1 cargo test -p afprobe --bin afprobe generated";
        assert!(found == *bytes, "{} is not what the command line says: {how}", path.display());
    }
    // And nothing of a command that is gone.
    let mut generated: Vec<_> = files.into_iter().map(|(path, _)| root.join(path)).collect();
    let listed = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = listed("man").chain(listed("completions")).collect();
    generated.sort();
    found.sort();
    assert_eq!(found, generated);
}

fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn completions() -> Vec<Generated> {
    [(Shell::Bash, "afprobe.bash"), (Shell::Zsh, "_afprobe"), (Shell::Fish, "afprobe.fish")]
        .map(|(shell, name)| {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut command(), "afprobe", &mut bytes);
            (Path::new("completions").join(name), bytes)
        })
        .into()
}

/// A page for the command, and one for each of its subcommands.
fn pages() -> Vec<Generated> {
    let no_help = |command: Command| command.disable_help_subcommand(true);
    let mut command = no_help(Cli::command()).mut_subcommands(no_help);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages);
    pages
}

fn add_pages(command: &Command, pages: &mut Vec<Generated>) {
    command.get_subcommands().for_each(|sub| add_pages(sub, pages));
    let man = Man::new(command.clone());
    let file = man.get_filename();
    // Without a date, which would be that of no change.
    let title = file.trim_end_matches(".1");
    let mut page =
        format!(".TH {title} 1 \"\" \"afprobe {}\" \"User Commands\"\n", env!("CARGO_PKG_VERSION")).into_bytes();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    page.extend(sections(&help).to_roff().into_bytes());
    page.extend(see_also(command).to_roff().into_bytes());
    pages.push((Path::new("man").join(file), page));
}

/// The sections of [`super::help`].
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let said = line.trim_start();
        match (line.len() - said.len(), said.split_once("  ")) {
            (0, _) => roff.control("SH", [said.trim_end_matches(':').to_uppercase().as_str()]),
            (2, Some((term, meaning))) => roff.control("TP", []).text([bold(term)]).text([roman(meaning.trim_start())]),
            (2, None) => roff.control("PP", []).text([roman(said)]),
            (4, _) => {
                roff.control("RS", ["4"]).control("nf", []).text([bold(said)]).control("fi", []).control("RE", [])
            }
            _ => panic!("{line:?} is indented as nothing is"),
        };
    }
    roff
}

fn see_also(command: &Command) -> Roff {
    let is_top = command.get_name() == "afprobe";
    let own: &[&str] = if is_top { &[] } else { &["afprobe(1)"] };
    let others = ["packet(7)", "capabilities(7)", "network_namespaces(7)", "ethtool(8)", "tcpdump(8)"];
    let names: Vec<_> = own.iter().copied().chain(others).collect();
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(names.join(", "))]);
    roff
}
