//! What a probe is inside its UDP datagram: one file for each format.

pub(crate) mod seed;
