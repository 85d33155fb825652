//! A bar for each contender, with the range of its runs.

use std::fmt::Write;

use super::text;
use crate::table::{Column, Row, Table};
use crate::{bare, ours};

const LABELS: f64 = 330.0;
const BARS: f64 = 420.0;
const VALUES: f64 = 190.0;
const LINE: f64 = 20.0;
const TOP: f64 = 40.0;

/// Draws the first column of a table as SVG. `None` if there is nothing to draw.
pub(super) fn draw(table: &Table) -> Option<String> {
    let column = table.columns.first()?;
    let bars: Vec<_> = table.rows.iter().filter_map(|row| Some((row, row.spread(0)?))).collect();
    let longest = bars.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let scale = BARS / longest;
    let height = TOP + LINE * line_number(bars.len()) + 10.0;
    let width = LABELS + BARS + VALUES;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}: {}</text>\n",
        escaped(&table.title),
        escaped(column.title)
    );
    for (number, (row, spread)) in bars.iter().enumerate() {
        let y = TOP + LINE * line_number(number);
        let (middle, baseline) = (y + LINE / 2.0, y + 14.0);
        let (start, end) = (LABELS + spread.min * scale, LABELS + spread.max * scale);
        let length = (spread.median * scale).max(0.0);
        // A String takes all that is written to it.
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{baseline:.0}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS:.0}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"14\" fill=\"{}\"/>\n\
             <path d=\"M{start:.1} {middle:.0}H{end:.1}M{start:.1} {:.0}v8M{end:.1} {:.0}v8\" stroke=\"black\"/>\n\
             <text x=\"{:.1}\" y=\"{baseline:.0}\">{}</text>",
            LABELS - 8.0,
            escaped(&row.contender.name()),
            y + 3.0,
            color(row),
            middle - 4.0,
            middle - 4.0,
            end.max(LABELS + length) + 6.0,
            escaped(&value(column, *spread)),
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn value(column: &Column, spread: crate::statistics::Spread) -> String {
    text::cell(spread, column.unit)
}

fn color(row: &Row) -> &'static str {
    match &*row.contender.who {
        bare::WHO => "#9aa5b1",
        ours::WHO => "#d1495b",
        _ => "#6c9bd2",
    }
}

fn line_number(number: usize) -> f64 {
    u32::try_from(number).map_or(0.0, f64::from)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use fast_afpacket_bench_harness::{Description, Way};

    use super::*;
    use crate::table::Unit;

    #[test]
    fn each_contender_with_values_has_a_bar() {
        let description =
            |who: &str| Description { who: who.to_owned(), variant: None, way: Way::Send, is_tool: false };
        let row = |who, values: &[f64]| Row {
            runs: values.iter().map(|&value| Some(vec![Some(value)])).collect(),
            ..Row::new(description(who))
        };
        let rows = vec![row(bare::WHO, &[2e6, 1e6, 3e6]), row("a<b", &[1.5e6]), row("absent", &[])];
        let columns = vec![Column::new("rate", "frames/s", Unit::PerSecond)];
        let mut table = Table { key: String::new(), title: "Sending".to_owned(), columns, rows };
        let svg = draw(&table).unwrap();
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(svg.contains("a&lt;b: send") && svg.contains("2000 k [1000 k–3000 k]"), "{svg}");
        // The longest run of all, 3 million, ends where the bars do.
        assert!(svg.contains(&format!("H{:.1}", LABELS + BARS)), "{svg}");
        table.rows.clear();
        assert_eq!(draw(&table), None);
    }
}
