//! The code of the TLVs, a TLV itself: RFC 8972, section 4.8.
//!
//! The code of an authenticated packet covers its fixed part alone. That of the TLVs covers the packet's number, so that
//! they belong to it, and all TLVs in front of itself. Only padding may follow.

use super::key::{CODE_LEN, Key};
use super::packet::Layout;
use super::tlv::{Place, Walk, kind};
use crate::wire::write_at;

/// The secrets of one side. What they are for decides which form its packets have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    /// Of the authenticated form; without it packets are plain.
    pub(crate) packet: Option<Key>,
    /// Of the TLVs.
    pub(crate) tlvs: Option<Key>,
}

impl Keys {
    /// No secrets: packets and TLVs are plain.
    pub(crate) const NONE: Self = Self { packet: None, tlvs: None };

    /// The authenticated form, where TLVs must be authenticated, too.
    pub(crate) fn authenticated(key: Key) -> Self {
        Self { packet: Some(key.clone()), tlvs: Some(key) }
    }

    /// Plain packets, of which only the TLVs are authenticated.
    pub(crate) const fn of_tlvs(key: Key) -> Self {
        Self { packet: None, tlvs: Some(key) }
    }

    pub(crate) const fn layout(&self) -> Layout {
        Layout::of(self.packet.as_ref())
    }
}

/// Whether the TLVs are what their sender wrote, as far as somebody who has this key, or none, can want that.
///
/// A code that cannot be verified is as good as a wrong one, and so is one in the wrong place. With a key, TLVs without a
/// code are none that can be trusted, unless they are nothing but padding.
pub(crate) fn are_authentic(packet: &[u8], layout: &Layout, key: Option<&Key>) -> bool {
    let mut code: Option<Place> = None;
    let mut only_padding = true;
    for place in Walk::new(packet, layout.len) {
        let is_padding = place.kind == kind::EXTRA_PADDING;
        if code.is_some() && !is_padding {
            return false;
        }
        if place.kind == kind::HMAC && !place.is_malformed {
            code = Some(place);
        }
        only_padding &= is_padding;
    }
    match (code, key) {
        (Some(place), Some(key)) => {
            let value = place.value(packet).first_chunk::<CODE_LEN>();
            value.is_some_and(|code| key.is_code(code, &text(packet, layout, place)))
        }
        (Some(_), None) => false,
        (None, Some(_)) => only_padding,
        (None, None) => true,
    }
}

/// Writes the code, where there is a TLV for it, when all in front of it is final.
pub(crate) fn authenticate(packet: &mut [u8], layout: &Layout, key: Option<&Key>) {
    let place = Walk::new(packet, layout.len).find(|place| place.kind == kind::HMAC && !place.is_malformed);
    if let (Some(place), Some(key)) = (place, key) {
        let code = key.code(&text(packet, layout, place));
        write_at(place.value_mut(packet), 0, &code);
    }
}

/// What the code is of.
fn text<'a>(packet: &'a [u8], layout: &Layout, code: Place) -> [&'a [u8]; 2] {
    let sequence = packet.get(layout.sequence..layout.sequence + 4);
    [sequence.unwrap_or_default(), packet.get(layout.len..code.at).unwrap_or_default()]
}
