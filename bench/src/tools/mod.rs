//! Programs from Debian.

mod netsniff_ng;
mod tcpreplay;
mod trafgen;

use std::env;
use std::path::PathBuf;
use std::process::{self, Output};
use std::{fs, io};

use anyhow::{Context, ensure};
use fast_afpacket_bench_harness::{Contender, Way};
use nix::sys::resource::{UsageWho, getrusage};

/// All of them.
pub(crate) fn contenders() -> Vec<Contender> {
    vec![
        Contender::tool("tcpreplay", Way::Send, tcpreplay::run),
        Contender::tool("trafgen", Way::TxRing, |job, signals| trafgen::run(job, signals, true)),
        Contender::tool("trafgen", Way::TxRingBypass, |job, signals| trafgen::run(job, signals, false)),
        Contender::tool("netsniff-ng", Way::RingByBlock, netsniff_ng::run),
    ]
}

/// The processor time of all child processes that have ended, in seconds.
fn children_cpu() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        let micros = u32::try_from(time.tv_usec()).map(f64::from);
        Ok::<_, std::num::TryFromIntError>(f64::from(u32::try_from(time.tv_sec())?) + micros? / 1e6)
    };
    Ok(seconds(usage.user_time())? + seconds(usage.system_time())?)
}

/// What a program printed, if it did its work.
fn printed(output: &Output) -> anyhow::Result<String> {
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "{}: {}", output.status, text.trim());
    Ok(text)
}

/// The number in front of these words.
fn number_before(text: &str, words: &str) -> Option<f64> {
    let at = text.find(words)?;
    text.get(..at)?.split_whitespace().last()?.parse().ok()
}

/// A file that a program reads, removed in the end.
struct Input(PathBuf);

impl Input {
    fn new(content: &[u8]) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("fast-afpacket-bench-{}", process::id()));
        fs::write(&path, content)?;
        Ok(Self(path))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The number in front of these words, which must be there.
fn number(text: &str, words: &str) -> anyhow::Result<f64> {
    number_before(text, words).with_context(|| format!("no number of {words:?} in: {text}"))
}

/// A number that a program printed, as a count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are positive and far below 2^52")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_their_words() {
        let text = "  1200 packets outgoing\n 0 sec, 1540 usec on CPU0 (1200 packets)\n";
        assert_eq!(number_before(text, "packets outgoing"), Some(1200.0));
        assert_eq!(number_before(text, "usec on"), Some(1540.0));
        assert_eq!(number_before(text, "bytes"), None);
        assert!(number(text, "bytes").is_err());
    }
}
