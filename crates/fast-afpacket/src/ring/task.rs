//! What a ring of tasks needs of a ring.

use std::io;

use super::next::{look_for_block, look_for_frame};
use super::{Block, ByBlock, ByFrame, HeldFrame, RxRing};
use crate::link::Link;
use crate::wait::Patience;

impl RxRing<ByBlock> {
    /// How to look for a block, and whose link that depends on.
    pub(crate) fn looking(&mut self) -> (Link<'_>, impl FnMut() -> io::Result<()>) {
        let Self { ring, shared, .. } = self;
        (shared.link(), || look_for_block(ring, shared, Patience::None))
    }

    /// Lends the block that was found.
    pub(crate) fn found_block(&mut self) -> io::Result<Block<'_>> {
        self.lend_block()
    }
}

impl RxRing<ByFrame> {
    /// How to look for a frame, and whose link that depends on. Not again once it is found: it was counted.
    pub(crate) fn looking(&mut self) -> (Link<'_>, impl FnMut() -> io::Result<()>) {
        let Self { ring, shared, .. } = self;
        (shared.link(), || look_for_frame(ring, shared, Patience::None))
    }

    /// Lends the frame that was found.
    pub(crate) fn found_frame(&mut self) -> io::Result<HeldFrame<'_>> {
        self.lend_frame()
    }
}

impl<K> RxRing<K> {
    /// Tasks wait for it from now on, or no longer.
    pub(crate) fn serve_tasks(&self, serve_tasks: bool) {
        self.shared.waits.set_serve_tasks(serve_tasks);
    }

    /// Gives a borrowed setting back, before the ring is dropped.
    pub(crate) fn give_nic_back(&mut self) {
        self.shared.bound.belongings().nic_loan = None;
    }
}
