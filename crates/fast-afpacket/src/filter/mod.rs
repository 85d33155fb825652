//! Classic BPF filters: which frames a socket receives, decided in the kernel.
//!
//! A filter is a program of at most 4096 instructions that the kernel runs on each frame. The answer is how many bytes of
//! the frame the socket gets; 0 keeps it away, and no counter shows it. A frame that the filter refuses costs no copy and
//! no wake-up, so a filter is the cheapest way to ignore traffic.
//!
//! | file | holds |
//! |---|---|
//! | `operation` | what the bits of an opcode mean |
//! | `check` | the rules that a program must follow |
//! | `run` | the interpreter |
//! | `text` | `tcpdump -ddd` and libpcap |
//! | `udp` | the filter for UDP datagrams to a port |
//! | `error` | why a program is refused |

mod check;
mod error;
mod operation;
mod run;
#[cfg(test)]
mod tests;
mod text;
mod udp;

use std::fmt;

use crate::EtherType;

pub use self::error::FilterError;
pub use self::udp::UdpDst;

use self::operation::{ABS, ANCILLARY, JEQ, JMP, LD, PROTOCOL, RET, W};

/// One instruction of a classic BPF program: `struct sock_filter`.
///
/// It prints as `tcpdump -ddd` prints it.
///
/// ```
/// use fast_afpacket::Instruction;
///
/// let load_ether_type = Instruction::new(0x28, 0, 0, 12); // ldh [12]
/// assert_eq!(load_ether_type.to_string(), "40 0 0 12");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias("sock_filter", "bpf_insn", "RawInstruction"))]
#[repr(C)]
pub struct Instruction {
    /// What to do: the opcode, with the kind of operand.
    pub code: u16,
    /// How many instructions a conditional jump skips if its test holds.
    pub jt: u8,
    /// How many instructions a conditional jump skips if its test does not hold.
    pub jf: u8,
    /// The constant: an operand, an offset in the frame, the number of a memory cell or the length of a jump.
    pub k: u32,
}

impl Instruction {
    /// `ret #0`
    const REFUSE: Self = Self::new(RET, 0, 0, 0);
    /// `ret #0xffffffff`: the whole frame, however long.
    const KEEP: Self = Self::new(RET, 0, 0, u32::MAX);

    /// The instruction with these fields.
    #[doc(alias("BPF_STMT", "BPF_JUMP"))]
    pub const fn new(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }
}

/// The form of `tcpdump -ddd`: `code jt jf k`, in decimal.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, jt, jf, k } = self;
        write!(f, "{code} {jt} {jf} {k}")
    }
}

/// A classic BPF program that the kernel accepts as a socket filter.
///
/// It is checked when it is made, by the rules of the kernel, so a mistake is named before a socket is opened. It can
/// also [run](Self::run) right here, without a socket and without privileges: to test a filter, or to apply it to frames
/// that come from elsewhere.
///
/// ```
/// use fast_afpacket::{EtherType, Filter};
///
/// let ptp = Filter::ether_type(EtherType::PTP);
///
/// let mut frame = [0; 60];
/// frame[12..14].copy_from_slice(&[0x88, 0xf7]);
/// assert!(ptp.matches(&frame));
/// assert!(!ptp.matches(&[0; 60]));
/// ```
///
/// # Kernel
///
/// A program that keeps every rule can still be too long to attach. The kernel translates each instruction into up to
/// nineteen of its own (measured on Linux 6.18: an absolute load is fourteen). If those of the filter, and of the one that
/// it replaces, take more memory than the sysctl `net.core.optmem_max` allows, the error is `ENOMEM`; if a `ja` skips more
/// than 32 767 of them, it is `EINVAL`. On Linux 6.18 programs of up to four hundred instructions are clear of both.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias("bpf_program", "sock_fprog", "SO_ATTACH_FILTER"))]
pub struct Filter {
    instructions: Box<[Instruction]>,
}

impl Filter {
    /// The filter made of these instructions.
    ///
    /// ```
    /// use fast_afpacket::{Filter, Instruction};
    ///
    /// let first_64_bytes = Filter::new([Instruction::new(0x06, 0, 0, 64)])?; // ret #64
    /// assert_eq!(first_64_bytes.run(b"any frame"), 64);
    ///
    /// let error = Filter::new([Instruction::new(0x05, 0, 0, 1), Instruction::new(0x06, 0, 0, 0)]).unwrap_err();
    /// assert_eq!(error.to_string(), "instruction 0: jumps over 1, out of the program; 0 is the most here");
    /// # Ok::<(), fast_afpacket::FilterError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first rule that the program breaks; `SO_ATTACH_FILTER` would say `EINVAL` without a reason. A program
    ///
    /// - has 1 to 4096 instructions, and the last is `ret #k` or `ret a`;
    /// - has only the opcodes of classic BPF;
    /// - divides by no constant 0, and shifts by no constant above 31;
    /// - jumps to none but its own instructions;
    /// - uses the cells `M[0]` to `M[15]`, and loads a cell only where each way from the start has stored it;
    /// - loads from an offset at or above `SKF_AD_OFF` only if it is one of the ancillary ones.
    pub fn new(instructions: impl Into<Vec<Instruction>>) -> Result<Self, FilterError> {
        let instructions = instructions.into();
        check::check(&instructions)?;
        Ok(Self { instructions: instructions.into() })
    }

    /// Refuses every frame.
    ///
    /// On a socket that only sends, it spares the kernel the work of queueing what nobody will read.
    pub fn nothing() -> Self {
        Self { instructions: [Instruction::REFUSE].into() }
    }

    /// Keeps the frames of one protocol.
    ///
    /// It asks the kernel for the protocol and reads no byte of the frame. So it serves raw and cooked sockets, and finds
    /// what follows a VLAN tag that the kernel has taken out of the frame. [`EtherType::LLC`] stands for the IEEE 802.3
    /// frames, which have a length in that place; [`EtherType::ALL`] is the type of no frame.
    pub fn ether_type(ether_type: EtherType) -> Self {
        Self {
            instructions: [
                Instruction::new(LD | W | ABS, 0, 0, ANCILLARY + PROTOCOL),
                Instruction::new(JMP | JEQ, 0, 1, ether_type.value().into()),
                Instruction::KEEP,
                Instruction::REFUSE,
            ]
            .into(),
        }
    }

    /// The instructions, as they are given to the kernel.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The instructions in the type that `setsockopt(2)` wants.
    pub(crate) fn to_raw(&self) -> Vec<libc::sock_filter> {
        let raw = |&Instruction { code, jt, jf, k }: &Instruction| libc::sock_filter { code, jt, jf, k };
        self.instructions.iter().map(raw).collect()
    }

    /// Runs the program on a frame: how many bytes of it a socket would get at most, and 0 if it is refused.
    ///
    /// The frame begins with its Ethernet header, as a raw socket receives it. The answer is the kernel's, so it can be
    /// more than the frame has. As in the kernel, reading past the end of the frame and dividing by an `X` that is 0
    /// refuse it, arithmetic wraps, and of a shift count in `X` only the five lowest bits count.
    ///
    /// A program can also ask for ancillary data, facts that are not in the bytes. `SKF_AD_PROTOCOL` is the EtherType at
    /// bytes 12 and 13, as the kernel reads it: 4 ([`EtherType::LLC`]) if a length stands there, or 1 if `ff ff` follows
    /// the length, and 0 if the frame is shorter than its header. `SKF_AD_HATYPE` is 1, Ethernet, and `SKF_AD_ALU_XOR_X`
    /// is no fact but arithmetic, `A ^ X`. All others have the fixed value 0: `SKF_AD_PKTTYPE` (a frame for this host),
    /// `SKF_AD_IFINDEX`, `SKF_AD_MARK`, `SKF_AD_QUEUE`, `SKF_AD_RXHASH`, `SKF_AD_CPU`, `SKF_AD_VLAN_TAG`,
    /// `SKF_AD_VLAN_TAG_PRESENT` and `SKF_AD_VLAN_TPID` (no tag), `SKF_AD_RANDOM`, and also `SKF_AD_PAY_OFFSET`,
    /// `SKF_AD_NLATTR` and `SKF_AD_NLATTR_NEST`, which in the kernel search the frame.
    ///
    /// ```
    /// use fast_afpacket::Filter;
    ///
    /// let length_of_ipv4_header = Filter::parse_ddd("3\n177 0 0 14\n135 0 0 0\n22 0 0 0\n")?; // ldxb, txa, ret a
    /// assert_eq!(length_of_ipv4_header.run(&[0x46; 34]), 24);
    /// assert_eq!(length_of_ipv4_header.run(&[0x46; 14]), 0);
    /// # Ok::<(), fast_afpacket::FilterError>(())
    /// ```
    #[doc(alias = "bpf_filter")]
    pub fn run(&self, frame: &[u8]) -> u32 {
        run::run(&self.instructions, frame).unwrap_or(0)
    }

    /// Whether a socket would get the frame, all or part of it: [`run`](Self::run) is not 0.
    #[doc(alias = "pcap_offline_filter")]
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.run(frame) != 0
    }
}

/// What [`Filter::parse_ddd`] reads: the number of instructions, then each on a line of its own.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.instructions.len())?;
        self.instructions.iter().try_for_each(|instruction| writeln!(f, "{instruction}"))
    }
}
