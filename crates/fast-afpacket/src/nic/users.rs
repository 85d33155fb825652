//! Who else uses a NIC's clock, and so relies on its stamps: PTP daemons have it open for as long as they run.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::interface::Interface;

/// Another process that has the PTP hardware clock of an interface open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockUser {
    process: u32,
    name: String,
}

impl ClockUser {
    /// The process id.
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// The name of its program, up to 15 bytes: `ptp4l`, `phc2sys`, `chronyd`.
    #[doc(alias = "comm")]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Interface {
    /// The other processes that have the NIC's clock open: who may rely on its timestamp setting. Only those that this
    /// process may look into, all of them for root; empty for an interface without such a clock.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the interface is gone.
    pub fn clock_users(&self) -> Result<Vec<ClockUser>, Error> {
        Ok(self.capabilities()?.phc().map(others_with_clock_open).unwrap_or_default())
    }
}

pub(super) fn others_with_clock_open(phc: u32) -> Vec<ClockUser> {
    let device = format!("/dev/ptp{phc}");
    others_with_file_open(Path::new(&device))
}

/// Looks through `/proc`. Processes that end meanwhile are not there.
fn others_with_file_open(device: &Path) -> Vec<ClockUser> {
    let has_it_open = |process: &Path| {
        let mut files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|target| target == device))
    };
    let number = |process: &Path| process.file_name()?.to_str()?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let others = processes.filter_map(|path| {
        let process = number(&path).filter(|&id| id != std::process::id() && has_it_open(&path))?;
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim_end().to_owned();
        Some(ClockUser { process, name })
    });
    others.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn another_process_is_found_and_this_one_is_not() {
        let path = std::env::temp_dir().join(format!("fast-afpacket-clock-{}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        assert_eq!(others_with_file_open(&path), []);
        let mut child = Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let found = others_with_file_open(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&path).unwrap();
        // Until the child has become another program, it has the name of this one.
        assert_eq!(found.iter().map(ClockUser::process).collect::<Vec<_>>(), [child.id()]);
    }
}
