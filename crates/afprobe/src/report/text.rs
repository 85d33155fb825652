//! Numbers for people to read.

/// A time span of that many nanoseconds, in four digits and a unit: 847 ns, 83.11 µs, -1.500 ms, 250.1 ms.
pub(super) fn span(nanos: i64) -> String {
    const MICRO: u64 = 1_000;
    const MILLI: u64 = 1_000_000;
    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600 * SECOND;
    const DAY: u64 = 24 * HOUR;
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let units = [(MICRO, "µs", MILLI), (MILLI, "ms", SECOND), (SECOND, "s", 10_000 * SECOND), (HOUR, "h", 100 * HOUR)];
    if magnitude < MICRO {
        return format!("{sign}{magnitude} ns");
    }
    // What would be rounded up to the next unit's first number is of that unit.
    let fits = |&&(unit, _, end): &&(u64, &str, u64)| magnitude + unit / 20 < end;
    let (unit, name, _) = *units.iter().find(fits).unwrap_or(&(DAY, "days", u64::MAX));
    let decimals = [(10, 3), (100, 2), (1_000, 1)].into_iter().find_map(|(end, decimals)| {
        let half_a_digit = unit / 10_u64.pow(decimals) / 2;
        (magnitude + half_a_digit < end * unit).then_some(decimals)
    });
    let Some(decimals) = decimals else { return format!("{sign}{} {name}", (magnitude + unit / 2) / unit) };
    let scale = 10_u64.pow(decimals);
    let scaled = (u128::from(magnitude) * u128::from(scale) + u128::from(unit / 2)) / u128::from(unit);
    let (whole, fraction) = (scaled / u128::from(scale), scaled % u128::from(scale));
    let digits = usize::try_from(decimals).unwrap_or(0);
    format!("{sign}{whole}.{fraction:0digits$} {name}")
}

/// A count with its thousands apart: 1,234,567.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let grouped = digits.bytes().enumerate().flat_map(|(at, digit)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([char::from(digit)])
    });
    grouped.collect()
}

/// A count and what it is a count of: 1 probe, 2 probes, 2 replies.
pub(super) fn number_of(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{} {stem}ies", count(number)),
        (_, None) => format!("{} {thing}s", count(number)),
    }
}

/// A share in percent, rounded to a hundredth; never 0.00 of something, never 100.00 of not all.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let hundredths = (u128::from(part) * 10_000 + u128::from(whole) / 2) / u128::from(whole);
    match (hundredths, part) {
        (_, 0) => "0 %".to_owned(),
        (0, _) => "<0.01 %".to_owned(),
        (10_000.., _) if part < whole => ">99.99 %".to_owned(),
        (10_000.., _) => "100 %".to_owned(),
        (hundredths, _) => format!("{}.{:02} %", hundredths / 100, hundredths % 100),
    }
}

/// Text in lines of at most this many characters, the first after `first`, the others as far in.
pub(super) fn wrapped(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let mut lines = String::from(first);
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent {
            if column + 1 + len > width {
                lines.push('\n');
                lines.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                lines.push(' ');
                column += 1;
            }
        }
        lines.push_str(word);
        column += len;
    }
    lines
}

/// A bar from `start` to `end` of `whole`, in `width` characters; to an eighth of a character.
pub(super) fn bar(start: u64, end: u64, whole: u64, width: u64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = |at: u64| {
        let scaled = u128::from(at) * u128::from(width) * 8 / u128::from(whole.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX).min(width * 8)
    };
    let (start, end) = (eighths(start), eighths(end));
    // A block fills its place from the left: a bar begins at a whole place, and is as long as it is.
    let first = (start / 8).min(width.saturating_sub(1));
    let len = (end - start.min(end)).min((width - first) * 8);
    let mut bar = String::new();
    bar.extend(std::iter::repeat_n(' ', usize::try_from(first).unwrap_or(0)));
    bar.extend(std::iter::repeat_n('█', usize::try_from(len / 8).unwrap_or(0)));
    let rest = usize::try_from(len % 8).ok().and_then(|rest| EIGHTHS.get(rest));
    bar.extend(rest.filter(|&&block| block != ' '));
    if len == 0 {
        bar.push('▏');
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_four_digits() {
        for (nanos, text) in [
            (0, "0 ns"),
            (-7, "-7 ns"),
            (999, "999 ns"),
            (1_000, "1.000 µs"),
            (9_999, "9.999 µs"),
            (10_004, "10.00 µs"),
            (10_005, "10.01 µs"),
            (83_114, "83.11 µs"),
            (99_996, "100.0 µs"),
            (999_949, "999.9 µs"),
            (999_950, "1.000 ms"),
            (-1_500_000, "-1.500 ms"),
            (250_060_000, "250.1 ms"),
            (999_999_999, "1.000 s"),
            (59_999_000_000, "60.00 s"),
            (3_599_960_000_000, "3600 s"),
            (9_999_000_000_000, "9999 s"),
            (36_000_000_000_000, "10.00 h"),
            (86_400_000_000_000 * 43_449, "43449 days"),
            (i64::MIN, "-106752 days"),
        ] {
            assert_eq!(span(nanos), text, "{nanos}");
        }
    }

    #[test]
    fn counts_and_shares() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, thing, text) in
            [(1, "probe", "1 probe"), (2_000, "probe", "2,000 probes"), (0, "reply", "0 replies")]
        {
            assert_eq!(number_of(number, thing), text);
        }
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 5, "0 %"),
            (5, 5, "100 %"),
            (1, 3, "33.33 %"),
            (1, 1_000_000, "<0.01 %"),
            (999_999, 1_000_000, ">99.99 %"),
            (u64::MAX, u64::MAX, "100 %"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn long_text_is_wrapped() {
        assert_eq!(wrapped("note  ", "one two three four", 16), "note  one two\n      three four");
        assert_eq!(wrapped("", "unbreakable", 4), "unbreakable");
        assert_eq!(wrapped("- ", "", 4), "- ");
    }

    #[test]
    fn bars_are_in_eighths() {
        for (start, end, text) in [
            (0, 100, "██████████"),
            (0, 50, "█████"),
            (50, 100, "     █████"),
            (0, 2, "▏"),
            (20, 25, "  ▌"),
            (100, 100, "         ▏"),
            (0, 0, "▏"),
            (90, 200, "         █"),
        ] {
            assert_eq!(bar(start, end, 100, 10), text, "{start} to {end}");
        }
        assert_eq!(bar(1, 1, 0, 10).chars().count(), 10, "of nothing");
    }
}
