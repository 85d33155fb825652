//! Where an interface went that is gone: the kernel says so once, to those who listen at that moment.
//!
//! To a packet socket a removed interface and one that was moved to another network namespace are the same. The difference
//! is in a message of rtnetlink(7), `RTM_DELLINK`: of an interface that was moved it has an attribute that names the
//! namespace. Listening takes a socket. One beside every packet socket, for as long as that lives, would be dear; one while
//! the link is down is not, and an interface that goes away always goes down first. Who reads that it went down begins to
//! listen. Between the two the kernel waits for all processors, some milliseconds: a call that waits for a frame is there in
//! time as a rule, one that comes later is not, and then it is not known.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::link_state::Departure;
use crate::sys::{netns, rtnetlink};

/// What is known of where an interface went.
#[derive(Default)]
pub(crate) struct Witness(Mutex<State>);

#[derive(Default)]
struct State {
    ear: Option<OwnedFd>,
    heard: Option<Departure>,
}

impl Witness {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen, if this thread is in the socket's network namespace. Without a descriptor for it, or before Linux
    /// 5.14, which tells namespaces apart, it will not be known.
    pub(crate) fn listen(&self, packet_socket: BorrowedFd<'_>) {
        let mut state = self.lock();
        if state.ear.is_none() {
            let is_here = |ear: &OwnedFd| {
                let namespaces = (netns::cookie(ear.as_fd()), netns::cookie(packet_socket));
                matches!(namespaces, (Ok(ours), Ok(theirs)) if ours == theirs)
            };
            state.ear = rtnetlink::listen_for_removals().ok().filter(is_here);
        }
    }

    /// The interface is there: what was heard is over.
    pub(crate) fn forget(&self) {
        *self.lock() = State::default();
    }

    /// Where the interface with this index, which is gone, went.
    pub(crate) fn departure_of(&self, index: i32) -> Departure {
        let mut state = self.lock();
        let State { ear, heard } = &mut *state;
        if let Some(ear) = ear {
            // What was lost may have been about this one: then nothing is heard, and it stays unknown.
            rtnetlink::read_all(ear.as_fd(), |message| *heard = heard.or_else(|| departure_in(message, index)));
        }
        heard.unwrap_or(Departure::Unknown)
    }
}

/// What a message says of the departure of the interface with this index, if it is about that.
///
/// `struct nlmsghdr` (length u32, type u16, 10 bytes), `struct ifinfomsg` (family u8, 3 bytes, index i32, 8 bytes),
/// attributes (length u16, type u16, data, padded to four bytes).
fn departure_in(message: &[u8], index: i32) -> Option<Departure> {
    const HEADERS: usize = 32;
    let (headers, mut attributes) = message.split_at_checked(HEADERS)?;
    let [l0, l1, l2, l3, t0, t1, _, _, _, _, _, _, _, _, _, _, family, _, _, _, i0, i1, i2, i3, ..] = *headers else {
        return None;
    };
    let is_about = u16::from_ne_bytes([t0, t1]) == libc::RTM_DELLINK
        // A port that leaves a bridge is announced in the same way.
        && i32::from(family) == libc::AF_UNSPEC
        && i32::from_ne_bytes([i0, i1, i2, i3]) == index;
    let is_whole = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).is_ok_and(|len| len <= message.len());
    if !is_about || !is_whole {
        return None;
    }
    while let [l0, l1, k0, k1, ..] = *attributes {
        if u16::from_ne_bytes([k0, k1]) == libc::IFLA_NEW_NETNSID {
            return Some(Departure::Moved);
        }
        let len = usize::from(u16::from_ne_bytes([l0, l1])).max(4).next_multiple_of(4);
        attributes = attributes.get(len..).unwrap_or_default();
    }
    Some(Departure::Removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, family: u8, index: i32, attributes: &[u16]) -> Vec<u8> {
        let mut message = vec![0; 32];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[16] = family;
        message[20..24].copy_from_slice(&index.to_ne_bytes());
        for kind in attributes {
            // Five bytes of data, and three of padding.
            message.extend([9_u16.to_ne_bytes(), kind.to_ne_bytes()].concat());
            message.extend([0xff; 8]);
        }
        let len = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&len.to_ne_bytes());
        message
    }

    #[test]
    fn a_move_has_an_attribute_that_a_removal_has_not() {
        const NAME: u16 = 3;
        let moved = message(libc::RTM_DELLINK, 0, 7, &[NAME, libc::IFLA_NEW_NETNSID, NAME]);
        assert_eq!(departure_in(&moved, 7), Some(Departure::Moved));
        let removed = message(libc::RTM_DELLINK, 0, 7, &[NAME, NAME]);
        assert_eq!(departure_in(&removed, 7), Some(Departure::Removed));
        assert_eq!(departure_in(&removed, 8), None, "another one");
        assert_eq!(departure_in(&message(libc::RTM_NEWLINK, 0, 7, &[NAME]), 7), None);
        assert_eq!(departure_in(&message(libc::RTM_DELLINK, 7, 7, &[NAME]), 7), None, "it left a bridge");
    }

    #[test]
    fn a_message_that_is_cut_says_nothing() {
        let moved = message(libc::RTM_DELLINK, 0, 7, &[3, libc::IFLA_NEW_NETNSID]);
        for len in 0..moved.len() {
            assert_eq!(departure_in(&moved[..len], 7), None, "{len}");
        }
        let mut senseless = message(libc::RTM_DELLINK, 0, 7, &[3]);
        senseless[32..34].copy_from_slice(&[0, 0]);
        assert_eq!(
            departure_in(&senseless, 7),
            Some(Departure::Removed),
            "an attribute without a length is passed over"
        );
    }
}
