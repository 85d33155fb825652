//! Why a program is not a filter, and where in it the fault is.

use std::fmt;

/// The program, its text or the expression is not a filter that the kernel would accept.
///
/// The message names the place, what is wrong there and what would be right.
///
/// ```
/// use fast_afpacket::Filter;
///
/// // `ldh [12]` and nothing else: the program runs off its end.
/// let error = Filter::parse_ddd("1\n40 0 0 12\n").unwrap_err();
/// assert_eq!(error.to_string(), "line 2, instruction 0: a program ends with `ret #k` or `ret a`, this is 40 0 0 12");
/// assert_eq!((error.line(), error.instruction()), (Some(2), Some(0)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    pub(super) line: Option<usize>,
    pub(super) instruction: Option<usize>,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Empty,
    TooLong(usize),
    Opcode(u16),
    DivisionByZero,
    Shift(u32),
    Cell(u32),
    UnsetCell(u32),
    Jump {
        skip: u32,
        following: usize,
    },
    Ancillary(u32),
    NoReturn(super::Instruction),
    NoText,
    Count(Box<str>),
    Number {
        field: &'static str,
        max: u32,
        found: Box<str>,
    },
    Fields(Box<str>),
    Counted {
        said: usize,
        found: usize,
    },
    #[cfg(feature = "pcap")]
    Expression(Box<str>),
}

impl FilterError {
    pub(super) const fn at_instruction(index: usize, reason: Reason) -> Self {
        Self { line: None, instruction: Some(index), reason }
    }

    pub(super) const fn at_line(line: usize, reason: Reason) -> Self {
        Self { line: Some(line), instruction: None, reason }
    }

    /// The line of the text at fault, counted from 1, if the filter was read from text.
    pub const fn line(&self) -> Option<usize> {
        self.line
    }

    /// The instruction at fault, counted from 0 as `tcpdump -d` does; `None` if it is not a single one.
    pub const fn instruction(&self) -> Option<usize> {
        self.instruction
    }
}

impl From<Reason> for FilterError {
    fn from(reason: Reason) -> Self {
        Self { line: None, instruction: None, reason }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, instruction, reason } = self;
        match (line, instruction) {
            (Some(line), Some(index)) => write!(f, "line {line}, instruction {index}: ")?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            (None, Some(index)) => write!(f, "instruction {index}: ")?,
            (None, None) => {}
        }
        reason.fmt(f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a program has at least one instruction, this one has none"),
            Self::TooLong(len) => {
                write!(f, "a program has at most {} instructions, this one has {len}", super::check::MAX_LEN)
            }
            Self::Opcode(code) => write!(f, "{code} ({code:#06x}) is not an opcode of classic BPF"),
            Self::DivisionByZero => f.write_str("the divisor k is 0; any other number would do"),
            Self::Shift(k) => write!(f, "shifts 32 bits by {k}; 31 is the most"),
            Self::Cell(k) => write!(f, "there is no cell M[{k}]; the last is M[15]"),
            Self::UnsetCell(k) => write!(f, "loads M[{k}], which must have been stored on each way to here"),
            Self::Jump { following: 0, .. } => f.write_str("jumps, but no instruction follows"),
            Self::Jump { skip, following } => {
                write!(f, "jumps over {skip}, out of the program; {} is the most here", following - 1)
            }
            Self::Ancillary(k) => write!(
                f,
                "{k} (SKF_AD_OFF + {}) is not a known ancillary offset; these are SKF_AD_OFF + 0, 4, … 60",
                k.wrapping_sub(super::operation::ANCILLARY)
            ),
            Self::NoReturn(last) => write!(f, "a program ends with `ret #k` or `ret a`, this is {last}"),
            Self::NoText => f.write_str("the text is empty; the number of instructions is expected, then one a line"),
            Self::Count(found) => write!(f, "the number of instructions is expected, found {found:?}"),
            Self::Number { field, max, found } => {
                write!(f, "`{field}` is a decimal number from 0 to {max}, found {found:?}")
            }
            Self::Fields(found) => write!(f, "four numbers are expected, `code jt jf k`, found {found:?}"),
            Self::Counted { said, found } => {
                write!(f, "the first line announces {said} instructions, but there are {found}")
            }
            #[cfg(feature = "pcap")]
            Self::Expression(why) => write!(f, "libpcap cannot compile the expression: {why}"),
        }
    }
}

impl std::error::Error for FilterError {}
