//! What a relay is to do, and to which probes.

use std::collections::HashMap;
use std::time::Duration;

/// From the host that measures to the reflector, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Forward,
    Backward,
}

impl Way {
    /// The relay's interfaces towards the host that measures, and towards the reflector.
    pub(super) const ENDS: [&'static str; 2] = ["near", "far"];

    pub(super) const fn from(self) -> &'static str {
        Self::ENDS[self as usize]
    }

    pub(super) const fn to(self) -> &'static str {
        Self::ENDS[1 - self as usize]
    }
}

/// What is done to a probe, or to the first reply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Lose,
    Duplicate,
    /// It is sent on right after the next one.
    LetPass,
    /// It is held for so long, and overtaken by others.
    Hold(Duration),
    /// It is sent on with this traffic class, DSCP and ECN, as a router may do.
    Mark(u8),
}

/// What is to be done on both ways.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// By the number of the probe.
    deeds: [HashMap<u32, Deed>; 2],
    delays: [Duration; 2],
    pub(super) is_stamped: bool,
}

impl Plan {
    /// Does this to these probes, or to the replies to them.
    pub(crate) fn doing(mut self, way: Way, deed: Deed, probes: impl IntoIterator<Item = u32>) -> Self {
        let deeds = &mut self.deeds[way as usize];
        for probe in probes {
            assert_eq!(deeds.insert(probe, deed), None, "one thing is done to {probe} on the same way");
        }
        self
    }

    /// Holds all frames of this way for so long.
    pub(crate) fn delaying(mut self, way: Way, delay: Duration) -> Self {
        self.delays[way as usize] = delay;
        self
    }

    /// Has the kernel's stamp of each departure in the ledger.
    pub(crate) fn stamped(mut self) -> Self {
        self.is_stamped = true;
        self
    }

    pub(super) fn deed(&self, way: Way, probe: u32) -> Option<Deed> {
        self.deeds[way as usize].get(&probe).copied()
    }

    pub(super) fn delay(&self, way: Way) -> Duration {
        self.delays[way as usize]
    }
}
