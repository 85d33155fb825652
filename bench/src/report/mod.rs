//! The report: text for people, JSON with every run, a chart for each table.

mod chart;
pub(crate) mod text;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::machine::Machine;
use crate::programs::Absent;
use crate::sections::Findings;
use crate::targets::Verdict;

/// All that was found.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) runs: usize,
    pub(crate) is_quick: bool,
    pub(crate) sections: Vec<Findings>,
    pub(crate) absent: Vec<Absent>,
    pub(crate) targets: Vec<Verdict>,
}

impl Report {
    /// Writes `report.md`, `runs.json` and the charts into a directory, which is made.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let context = || format!("cannot write into {}", directory.display());
        fs::create_dir_all(directory).with_context(context)?;
        let put = |name: &str, content: String| fs::write(directory.join(name), content).with_context(context);
        put("report.md", text::write(self))?;
        put("runs.json", serde_json::to_string_pretty(self)? + "\n")?;
        for table in self.sections.iter().flat_map(|section| &section.tables) {
            if let Some(chart) = chart::draw(table) {
                put(&chart_name(&table.key), chart)?;
            }
        }
        Ok(())
    }
}

fn chart_name(key: &str) -> String {
    format!("{key}.svg")
}
