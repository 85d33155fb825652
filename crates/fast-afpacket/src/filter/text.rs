//! Programs as text: the decimal form that `tcpdump -ddd` prints, and filter expressions through libpcap.

use std::str::FromStr;

use super::error::{FilterError, Reason};
use super::{Filter, Instruction};

impl Filter {
    /// Reads what `tcpdump -ddd` prints: the number of instructions, then each on a line of its own, `code jt jf k`.
    ///
    /// Tell tcpdump the link type of the socket: `-y EN10MB` for a raw socket on Ethernet. Blank lines and spaces around
    /// the numbers do not matter. [`Filter`] prints itself in the same form.
    ///
    /// ```
    /// use fast_afpacket::Filter;
    ///
    /// // tcpdump -y EN10MB -ddd arp
    /// let arp = Filter::parse_ddd("4\n40 0 0 12\n21 0 1 2054\n6 0 0 262144\n6 0 0 0\n")?;
    /// assert_eq!(arp.instructions().len(), 4);
    /// # Ok::<(), fast_afpacket::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The line that is not as it should be, or, once the text is read, what [`Filter::new`] would say, with the line.
    #[doc(alias = "bpf_dump")]
    pub fn parse_ddd(text: &str) -> Result<Self, FilterError> {
        let mut lines = numbered(text);
        let (count_line, count) = lines.next().ok_or(Reason::NoText)?;
        let said: usize = number(count).ok_or_else(|| FilterError::at_line(count_line, Reason::Count(count.into())))?;
        // Not `with_capacity(said)`: the text may announce anything.
        let instructions = lines
            .map(|(line, text)| instruction(text).map_err(|reason| FilterError::at_line(line, reason)))
            .collect::<Result<Vec<_>, _>>()?;
        let found = instructions.len();
        if said != found {
            return Err(FilterError::at_line(count_line, Reason::Counted { said, found }));
        }
        Self::new(instructions).map_err(|error| {
            let line = error.instruction.and_then(|index| numbered(text).nth(index + 1)).map(|(line, _)| line);
            FilterError { line, ..error }
        })
    }

    /// Compiles a filter expression such as `udp and dst port 61000` with libpcap.
    ///
    /// The program is for Ethernet frames, so for a raw socket: a cooked one delivers no Ethernet header, and every
    /// offset would be off by 14 bytes. It keeps at most 65 535 bytes of a frame.
    ///
    /// On receive the kernel has moved the outermost VLAN tag out of the frame before the filter sees it. The keyword
    /// `vlan`, compiled as here without a live socket, looks for the tag in the bytes and misses it; a filter on the tag
    /// reads the ancillary data `SKF_AD_VLAN_TAG_PRESENT` and `SKF_AD_VLAN_TAG`.
    ///
    /// ```
    /// use fast_afpacket::Filter;
    ///
    /// let filter = Filter::compile("udp and dst port 61000")?;
    /// assert!(!filter.matches(&[0; 60]));
    /// # Ok::<(), fast_afpacket::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What libpcap says against the expression.
    #[cfg(feature = "pcap")]
    #[doc(alias("pcap_compile", "CompileBPFFilter"))]
    pub fn compile(expression: &str) -> Result<Self, FilterError> {
        let refused = |error: pcap::Error| Reason::Expression(error.to_string().into());
        let handle = pcap::Capture::dead(pcap::Linktype::ETHERNET).map_err(refused)?;
        let program = handle.compile(expression, true).map_err(refused)?;
        // The fields of the instructions are private; the text of each is public.
        let instructions = program.get_instructions().iter().map(|each| instruction(&each.to_string()));
        Self::new(instructions.collect::<Result<Vec<_>, _>>()?)
    }
}

/// The lines that are not blank, numbered from 1, without the space around them.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty())
}

/// Reads `code jt jf k`.
fn instruction(text: &str) -> Result<Instruction, Reason> {
    let mut words = text.split_whitespace();
    let (Some(code), Some(jt), Some(jf), Some(k), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Reason::Fields(text.into()));
    };
    Ok(Instruction {
        code: field("code", code, u16::MAX)?,
        jt: field("jt", jt, u8::MAX)?,
        jf: field("jf", jf, u8::MAX)?,
        k: field("k", k, u32::MAX)?,
    })
}

fn field<T: FromStr + Into<u32>>(field: &'static str, text: &str, max: T) -> Result<T, Reason> {
    number(text).ok_or_else(|| Reason::Number { field, max: max.into(), found: text.into() })
}

/// Reads decimal digits and nothing else; `FromStr` would also take a plus sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tcpdump -y EN10MB -ddd 'udp and dst port 319 and src portrange 49152-65535 and dst host 192.0.2.1'`
    const PTP_EVENT: &str = "\
16
40 0 0 12
21 0 13 2048
48 0 0 23
21 0 11 17
40 0 0 20
69 9 0 8191
177 0 0 14
72 0 0 16
21 0 6 319
72 0 0 14
53 0 4 49152
37 3 0 65535
32 0 0 30
21 0 1 3221225985
6 0 0 262144
6 0 0 0
";

    #[test]
    fn reads_what_tcpdump_prints_and_prints_it_again() {
        let filter = Filter::parse_ddd(PTP_EVENT).expect("tcpdump knows the form");
        assert_eq!(filter.instructions()[0], Instruction::new(0x28, 0, 0, 12));
        assert_eq!(filter.to_string(), PTP_EVENT);
    }

    #[test]
    fn space_around_numbers_and_lines_does_not_matter() {
        let expected = Filter::nothing();
        for text in ["1\n6 0 0 0", "\r\n\r\n1\r\n6 0 0 0\r\n\r\n", " 1 \n\n\t6  0\t0 0 \n"] {
            assert_eq!(Filter::parse_ddd(text), Ok(expected.clone()), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expected) in [
            ("", "the text is empty; the number of instructions is expected, then one a line"),
            (" \r\n", "the text is empty; the number of instructions is expected, then one a line"),
            ("\n6 0 0 0\n", "line 2: the number of instructions is expected, found \"6 0 0 0\""),
            ("-1\n", "line 1: the number of instructions is expected, found \"-1\""),
            ("2\n6 0 0 0\n", "line 1: the first line announces 2 instructions, but there are 1"),
            ("0\n6 0 0 0\n", "line 1: the first line announces 0 instructions, but there are 1"),
            ("0\n", "a program has at least one instruction, this one has none"),
            ("1\n6 0 0\n", "line 2: four numbers are expected, `code jt jf k`, found \"6 0 0\""),
            ("1\n6 0 0 0 0\n", "line 2: four numbers are expected, `code jt jf k`, found \"6 0 0 0 0\""),
            ("1\n65536 0 0 0\n", "line 2: `code` is a decimal number from 0 to 65535, found \"65536\""),
            ("1\n6 256 0 0\n", "line 2: `jt` is a decimal number from 0 to 255, found \"256\""),
            ("1\n6 0 +1 0\n", "line 2: `jf` is a decimal number from 0 to 255, found \"+1\""),
            ("1\n\n6 0 0 4294967296\n", "line 3: `k` is a decimal number from 0 to 4294967295, found \"4294967296\""),
            ("2\n\n5 0 0 1\n6 0 0 0", "line 3, instruction 0: jumps over 1, out of the program; 0 is the most here"),
        ] {
            let error = Filter::parse_ddd(text).expect_err(text);
            assert_eq!(error.to_string(), expected, "{text:?}");
        }
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn libpcap_compiles_and_says_why_not() {
        let frame = [[0; 12].as_slice(), &[0x08, 0x06], &[0; 46]].concat();
        assert!(Filter::compile("arp").expect("an expression").matches(&frame));
        let error = Filter::compile("no such keyword").expect_err("not an expression").to_string();
        assert!(error.starts_with("libpcap cannot compile the expression: "), "{error}");
        assert!(Filter::compile("ip\0").is_err());
    }
}
