//! Why a packet is not answered, and how many there were.

/// Why a packet is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// From or to a group, or from port 0.
    NotUnicast,
    /// The sender's address is not on the list of those that are allowed.
    NotAllowed,
    /// No request is so short.
    TooShort,
    /// A request, but shorter than a reply has to be: the answer would be more than the question.
    ShorterThanReply,
    /// A plain packet, where only authenticated ones are answered.
    Plain,
    /// The code is not that of our key.
    Forged,
    /// An error estimate that the standard forbids.
    Corrupt,
    /// A reply, of this reflector or another one: whoever answers replies never ends.
    LooksLikeReply,
    /// An authenticated packet that was answered before, or that is so late that nobody knows.
    Replayed,
    /// More than this sender may have.
    TooMany,
}

impl Refusal {
    /// All of them, in the order of the checks.
    pub(crate) const ALL: [Self; 10] = [
        Self::NotUnicast,
        Self::NotAllowed,
        Self::TooShort,
        Self::ShorterThanReply,
        Self::Plain,
        Self::Forged,
        Self::Corrupt,
        Self::LooksLikeReply,
        Self::Replayed,
        Self::TooMany,
    ];

    /// A word for the output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotUnicast => "not_unicast",
            Self::NotAllowed => "not_allowed",
            Self::TooShort => "too_short",
            Self::ShorterThanReply => "shorter_than_reply",
            Self::Plain => "plain",
            Self::Forged => "forged",
            Self::Corrupt => "corrupt",
            Self::LooksLikeReply => "looks_like_reply",
            Self::Replayed => "replayed",
            Self::TooMany => "too_many",
        }
    }
}

/// What became of all packets. Each is in `answered` or in one of `refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Replies, those to questions included.
    pub(crate) answered: u64,
    /// Of these, to packets that were no probes and only asked.
    pub(crate) questions: u64,
    /// Of these, that the kernel did not take.
    pub(crate) not_sent: u64,
    /// Sessions that were forgotten for want of room.
    pub(crate) forgotten: u64,
    refused: [u64; Refusal::ALL.len()],
}

impl Tally {
    pub(crate) fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(place(why)).copied().unwrap_or(0)
    }

    pub(super) fn refuse(&mut self, why: Refusal) {
        if let Some(count) = self.refused.get_mut(place(why)) {
            *count += 1;
        }
    }
}

fn place(why: Refusal) -> usize {
    Refusal::ALL.iter().position(|&each| each == why).unwrap_or(usize::MAX)
}
