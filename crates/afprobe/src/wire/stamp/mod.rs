//! STAMP, the Simple Two-way Active Measurement Protocol: RFC 8762, with the TLVs of RFC 8972 and one of our own.
//!
//! All of it is bytes in, bytes out. Both sides use it: [`request`] and [`reflected`] are the sender's, the rest is also
//! the reflector's ([`crate::reflector`]). `WIRE.md`, beside this file, says what stands where.

pub(crate) mod afprobe;
pub(crate) mod error_estimate;
pub(crate) mod integrity;
pub(crate) mod key;
pub(crate) mod packet;
pub(crate) mod reflected;
pub(crate) mod request;
pub(crate) mod standard;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod time;
pub(crate) mod tlv;

/// The UDP port of a reflector.
pub(crate) const PORT: u16 = 862;
