//! A number of the caller's own that is sent along with a frame, for its stamps to come back with: `SCM_TS_OPT_ID`.

/// linux/net_tstamp.h, since 6.13; the libc crate does not name it.
const SCM_TS_OPT_ID: libc::c_int = 81;

/// The control message.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Key {
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    number: u32,
    _padding: u32,
}

impl Key {
    pub(super) const LEN: usize = size_of::<Self>();

    pub(super) const fn new(number: u32) -> Self {
        // The header and the number, without what pads it.
        Self { len: Self::LEN - 4, level: libc::SOL_SOCKET, kind: SCM_TS_OPT_ID, number, _padding: 0 }
    }
}
