//! What was measured: tables of contenders, with a value for each run and column.

use fast_afpacket_bench_harness::{Description, Way};
use serde::{Serialize, Serializer};

use crate::statistics::Spread;

/// How the values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// For each second, written in thousands.
    PerSecond,
    /// Seconds, written in nanoseconds.
    Nanoseconds,
    /// Seconds, written in microseconds.
    Microseconds,
    /// A part of a whole, written in percent.
    Percent,
    /// A number of things.
    Count,
}

/// What is measured of each contender.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// Whether it says something to compare it with the bare system calls, run by run.
    pub(crate) is_compared: bool,
}

impl Column {
    pub(crate) const fn new(key: &'static str, title: &'static str, unit: Unit) -> Self {
        Self { key, title, unit, is_compared: false }
    }

    pub(crate) const fn compared(self) -> Self {
        Self { is_compared: true, ..self }
    }
}

/// One value for each column; `None` where there is none.
pub(crate) type Values = Vec<Option<f64>>;

/// What a contender did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) contender: Description,
    /// For each run. `None` if it failed.
    pub(crate) runs: Vec<Option<Values>>,
    /// What there is to say: why a run failed, what is odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Row {
    pub(crate) fn new(contender: Description) -> Self {
        Self { contender, runs: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The values of a column, run by run.
    pub(crate) fn values(&self, column: usize) -> impl Iterator<Item = Option<f64>> {
        self.runs.iter().map(move |values| values.as_ref().and_then(|values| *values.get(column)?))
    }

    pub(crate) fn spread(&self, column: usize) -> Option<Spread> {
        Spread::of(self.values(column).flatten())
    }
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) key: String,
    pub(crate) title: String,
    #[serde(serialize_with = "columns")]
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

fn columns<S: Serializer>(columns: &[Column], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns)
}

impl Table {
    pub(crate) fn column(&self, key: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.key == key)
    }

    /// The row of one who goes this way; the first, if there are several.
    pub(crate) fn row(&self, who: &str, way: Way) -> Option<&Row> {
        self.rows.iter().find(|row| row.contender.who == who && row.contender.way == way)
    }

    /// The bare system calls that a row is compared with. `None` for these themselves.
    pub(crate) fn reference(&self, row: &Row) -> Option<&Row> {
        let reference = self.row(crate::bare::WHO, row.contender.way.reference())?;
        (reference.contender != row.contender).then_some(reference)
    }

    /// A row's ratio to the bare system calls, from pairs of the same run.
    pub(crate) fn ratio(&self, row: &Row, column: usize) -> Option<Spread> {
        Spread::of_ratios(row.values(column), self.reference(row)?.values(column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(who: &str, way: Way, values: &[Option<f64>]) -> Row {
        let contender = Description { who: who.to_owned(), variant: None, way, is_tool: false };
        let runs = values.iter().map(|&value| value.map(|value| vec![Some(value)])).collect();
        Row { runs, ..Row::new(contender) }
    }

    fn table() -> Table {
        let rows = vec![
            row(crate::bare::WHO, Way::Recv, &[Some(100.0), Some(200.0)]),
            row(crate::bare::WHO, Way::RecvPolled, &[Some(150.0), Some(300.0)]),
            row("other", Way::Recv, &[Some(110.0), None]),
            row("other", Way::RingByBlock, &[Some(1.0), Some(1.0)]),
        ];
        let columns = vec![Column::new("cpu", "CPU", Unit::Nanoseconds)];
        Table { key: "t".to_owned(), title: String::new(), columns, rows }
    }

    #[test]
    fn ratios_are_to_the_bare_calls_of_the_same_way() {
        let table = table();
        let ratios: Vec<_> = table.rows.iter().map(|row| table.ratio(row, 0).map(|ratio| ratio.median)).collect();
        assert_eq!(ratios, [None, Some(1.5), Some(1.1), None]);
    }

    #[test]
    fn a_failed_run_is_no_value() {
        let table = table();
        let other = table.row("other", Way::Recv).unwrap();
        assert_eq!(other.spread(0).unwrap().runs, 1);
        assert_eq!(other.spread(1), None, "there is no such column");
        assert_eq!((table.column("cpu"), table.column("rate")), (Some(0), None));
    }
}
