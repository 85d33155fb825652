//! The values of the TLVs that RFC 8972 defines, apart from padding and code.

use super::packet::chunk;

/// Timestamp information (section 4.3): how the reflector comes by its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimestampInformation {
    pub(crate) source_in: u8,
    pub(crate) method_in: u8,
    pub(crate) source_out: u8,
    pub(crate) method_out: u8,
}

/// What keeps a clock right (section 5.4, table 7).
pub(crate) mod source {
    pub(crate) const NTP: u8 = 1;
    /// Nobody.
    pub(crate) const FREE_RUNNING: u8 = 5;
}

/// How a time was taken (section 5.5, table 9).
pub(crate) mod method {
    pub(crate) const HARDWARE: u8 = 1;
    pub(crate) const SOFTWARE: u8 = 2;
}

impl TimestampInformation {
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let [source_in, method_in, source_out, method_out] = chunk(value, 0)?;
        Some(Self { source_in, method_in, source_out, method_out })
    }

    pub(crate) const fn to_wire(self) -> [u8; 4] {
        [self.source_in, self.method_in, self.source_out, self.method_out]
    }
}

/// Class of service (section 4.4, with erratum 8199): how packets are marked on both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassOfService {
    /// What the reply shall be marked with. Six bits.
    pub(crate) wanted_dscp: u8,
    /// What the request arrived with.
    pub(crate) received_dscp: u8,
    pub(crate) received_ecn: u8,
    /// 1: the reflector may not mark the reply so, and marks it as the request was.
    pub(crate) reverse_path: u8,
}

impl ClassOfService {
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let bits = u16::from_be_bytes(chunk(value, 0)?);
        let part = |shift: u32, mask: u16| u8::try_from(bits >> shift & mask).unwrap_or_default();
        Some(Self {
            wanted_dscp: part(10, 0x3f),
            received_dscp: part(4, 0x3f),
            received_ecn: part(2, 3),
            reverse_path: part(0, 3),
        })
    }

    pub(crate) fn to_wire(self) -> [u8; 4] {
        let part = |bits: u8, mask: u8, shift: u32| u16::from(bits & mask) << shift;
        let bits = part(self.wanted_dscp, 0x3f, 10)
            | part(self.received_dscp, 0x3f, 4)
            | part(self.received_ecn, 3, 2)
            | part(self.reverse_path, 3, 0);
        let [high, low] = bits.to_be_bytes();
        [high, low, 0, 0]
    }
}

/// Direct measurement (section 4.5): packets of the session so far, these included. They wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectMeasurement {
    pub(crate) sender_sent: u32,
    pub(crate) reflector_received: u32,
    pub(crate) reflector_sent: u32,
}

impl DirectMeasurement {
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let word = |at| chunk(value, at).map(u32::from_be_bytes);
        Some(Self { sender_sent: word(0)?, reflector_received: word(4)?, reflector_sent: word(8)? })
    }

    /// The counts of a reflector; the sender's stays.
    pub(crate) fn reflector_to_wire(self) -> [u8; 8] {
        let [a, b, c, d] = self.reflector_received.to_be_bytes();
        let [e, f, g, h] = self.reflector_sent.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// Follow-up telemetry (section 4.7): when an earlier reply really left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FollowUp {
    /// The reflector's number of that reply.
    pub(crate) sequence: u32,
    /// In the format of the packet's head. 0: none is known.
    pub(crate) timestamp: u64,
    pub(crate) method: u8,
}

impl FollowUp {
    /// What is said when no time is known.
    pub(crate) const NONE: Self = Self { sequence: 0, timestamp: 0, method: 0 };

    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let [method] = chunk(value, 12)?;
        Some(Self {
            sequence: u32::from_be_bytes(chunk(value, 0)?),
            timestamp: u64::from_be_bytes(chunk(value, 4)?),
            method,
        })
    }

    pub(crate) fn to_wire(self) -> [u8; 16] {
        let bits = u128::from(self.sequence) << 96 | u128::from(self.timestamp) << 32 | u128::from(self.method) << 24;
        bits.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 8972, figures 12 to 15 and 17, octet by octet.
    #[test]
    fn to_the_bit() {
        let information = TimestampInformation { source_in: 1, method_in: 2, source_out: 5, method_out: 3 };
        assert_eq!(information.to_wire(), [1, 2, 5, 3]);
        let class =
            ClassOfService { wanted_dscp: 0b101110, received_dscp: 0b001010, received_ecn: 0b10, reverse_path: 1 };
        assert_eq!(class.to_wire(), [0b1011_1000, 0b1010_1001, 0, 0], "101110 001010 10 01: DSCP1, DSCP2, ECN, RP");
        let direct = DirectMeasurement { sender_sent: 1, reflector_received: 0x0203_0405, reflector_sent: 6 };
        assert_eq!(direct.reflector_to_wire(), [2, 3, 4, 5, 0, 0, 0, 6]);
        assert_eq!(DirectMeasurement::read(&[0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 6]), Some(direct));
        let follow_up = FollowUp { sequence: 0x0102_0304, timestamp: 0x1112_1314_2122_2324, method: 1 };
        assert_eq!(follow_up.to_wire(), [1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 1, 0, 0, 0]);
        assert_eq!(FollowUp::NONE.to_wire(), [0; 16]);
    }

    proptest! {
        #[test]
        fn reserved_bits_are_not_read(value in any::<[u8; 16]>()) {
            let mut expected = value;
            expected[13..].fill(0);
            prop_assert_eq!(FollowUp::read(&value).unwrap().to_wire(), expected);
            let class = ClassOfService::read(&value).unwrap().to_wire();
            prop_assert_eq!(class, [value[0], value[1], 0, 0]);
            prop_assert_eq!(TimestampInformation::read(&value).unwrap().to_wire(), &value[..4]);
            prop_assert_eq!(DirectMeasurement::read(&value).unwrap().reflector_to_wire(), &value[4..12]);
        }

        #[test]
        fn cut_values_are_none(value in any::<[u8; 16]>(), len in 0..16_usize) {
            prop_assert_eq!(FollowUp::read(&value[..len]).is_some(), len >= 13);
            prop_assert_eq!(ClassOfService::read(&value[..len]).is_some(), len >= 2);
            prop_assert_eq!(TimestampInformation::read(&value[..len]).is_some(), len >= 4);
            prop_assert_eq!(DirectMeasurement::read(&value[..len]).is_some(), len >= 12);
        }
    }
}
