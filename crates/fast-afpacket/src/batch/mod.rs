//! Several frames, or several stamps, in one system call.

mod error;
mod receive;
mod reports;

pub use error::BatchError;
pub use receive::{BatchFrame, BatchFrames, RecvBatch};
pub use reports::TxReportBatch;
