//! What all contenders of the benchmark share.
//!
//! A contender implements [`Receiver`], [`Sender`] or [`Stamper`] and nothing else: what is measured, for how long, on which
//! processor and in which words it is reported is the harness's, the same for all. [`worker::main`] makes a program of a
//! list of contenders, which the benchmark starts once for each run, in the network namespace where it is to work.

pub mod alloc;
mod catalog;
pub mod clock;
mod contender;
pub mod exact;
pub mod frames;
mod job;
mod sink;
pub mod socket;
pub mod worker;

pub use catalog::{Role, Way};
pub use contender::{Contender, Description, Receiver, Sender, Stamper};
pub use job::{Count, Job, Outcome, Pace, Part, Percentiles, Setup, Task};
pub use sink::{Sink, Tally};
