//! The stamps of sent frames, several at once.

use std::fmt;

use crate::sys::batch::Inbox;
use crate::tx_report::TxReport;

/// Room for TX stamps that are read together, and those of the last
/// [`recv_tx_batch`](crate::PacketSocket::recv_tx_batch).
///
/// ```no_run
/// use fast_afpacket::{Interface, PacketSocket, TxFrame, TxKey, TxReportBatch};
///
/// let socket = PacketSocket::bind(&Interface::by_name("eth1")?)?;
/// let frame = [0xff; 60];
/// let mut stamps = TxReportBatch::new(64);
/// for burst in 0..1_000 {
///     socket.send_batch(&std::array::from_fn::<_, 32, _>(|i| {
///         let number = burst * 32 + u32::try_from(i).unwrap_or(0);
///         TxFrame::new(&frame).key(TxKey::new(number))
///     }))?;
///     socket.recv_tx_batch(&mut stamps)?;
///     for report in stamps.reports() {
///         println!("{:?} {:?}", report.key, report.timestamps);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("MSG_ERRQUEUE", "recvmmsg"))]
pub struct TxReportBatch {
    inbox: Inbox<{ Self::CONTROL_LEN }>,
    reports: Vec<TxReport>,
}

impl TxReportBatch {
    /// Stamp and error take 96 bytes; the rest is for what others switch on.
    pub(crate) const CONTROL_LEN: usize = 128;

    /// Room for so many stamps, 1 at least. Each stage of a frame has its own.
    ///
    /// # Panics
    ///
    /// If there are not as many addresses as that takes.
    pub fn new(reports: usize) -> Self {
        let Some(inbox) = Inbox::new(reports, 0, false) else {
            #[expect(clippy::panic, reason = "as Vec::with_capacity does: no memory is that large")]
            {
                panic!("a batch of {reports} stamps is larger than any memory");
            }
        };
        let reports = Vec::with_capacity(inbox.capacity());
        Self { inbox, reports }
    }

    /// How many stamps there is room for.
    pub fn capacity(&self) -> usize {
        self.inbox.capacity()
    }

    /// The stamps that were read, in the order in which they came.
    #[inline]
    pub fn reports(&self) -> &[TxReport] {
        &self.reports
    }

    /// Lets a socket fill it.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut Inbox<{ Self::CONTROL_LEN }>, &mut Vec<TxReport>) {
        (&mut self.inbox, &mut self.reports)
    }
}

impl fmt::Debug for TxReportBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxReportBatch")
            .field("capacity", &self.capacity())
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}
