//! HMAC-SHA-256, cut to 128 bits: how STAMP packets and their TLVs are authenticated (RFC 8762, section 4.4).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Octets of a code in a packet.
pub(crate) const CODE_LEN: usize = 16;

/// A secret that both sides know, with the hash prepared.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    /// Any number of octets; RFC 2104 wants no fewer than the hash has, 32. `None` if there are none: nobody's secret.
    pub(crate) fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().filter(|_| !secret.is_empty()).map(Self)
    }

    /// The code of these parts, one behind the other.
    pub(crate) fn code(&self, parts: &[&[u8]]) -> [u8; CODE_LEN] {
        let whole = self.over(parts).finalize().into_bytes();
        let mut code = [0; CODE_LEN];
        for (to, from) in code.iter_mut().zip(whole) {
            *to = from;
        }
        code
    }

    /// Whether this is their code. How long the answer takes does not depend on where it differs.
    pub(crate) fn is_code(&self, code: &[u8; CODE_LEN], parts: &[&[u8]]) -> bool {
        self.over(parts).verify_truncated_left(code).is_ok()
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        parts.iter().fold(self.0.clone(), |hash, part| hash.chain_update(part))
    }
}

/// The secret is not shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1, 2 and 6 (a key longer than a block): their first 128 bits.
    #[test]
    fn codes_of_rfc_4231() {
        let code = |secret: &[u8], text: &[u8]| Key::new(secret).unwrap().code(&[text]);
        assert_eq!(code(&[0x0b; 20], b"Hi There"), 0xb034_4c61_d8db_3853_5ca8_afce_af0b_f12b_u128.to_be_bytes());
        assert_eq!(
            code(b"Jefe", b"what do ya want for nothing?"),
            0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7_u128.to_be_bytes()
        );
        assert_eq!(
            code(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            0x60e4_3159_1ee0_b67f_0d8a_26aa_cbf5_b77f_u128.to_be_bytes()
        );
    }

    #[test]
    fn every_bit_counts() {
        let key = Key::new(b"between us").unwrap();
        let text = [7; 40];
        let code = key.code(&[&text[..13], &text[13..]]);
        assert_eq!(code, key.code(&[&text]), "how it is cut into parts does not matter");
        assert!(key.is_code(&code, &[&text]));
        assert!(!Key::new(b"between uS").unwrap().is_code(&code, &[&text]));
        for bit in 0..128 {
            let forged = u128::from_be_bytes(code) ^ 1 << bit;
            assert!(!key.is_code(&forged.to_be_bytes(), &[&text]));
        }
        for bit in 0..text.len() * 8 {
            let mut forged = text;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.is_code(&code, &[&forged]));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Key::new(b"secret").unwrap()), "Key");
        assert!(Key::new(b"").is_none());
    }
}
