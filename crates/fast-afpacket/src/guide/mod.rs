//! The guide: what one should know beside the reference. It has no code.
//!
//! 1. [The path of a frame](path): what happens to it, where it is stamped, where it can be lost.
//! 2. [Which stamps there are](stamps): on which device, of which clock, and what they do not say.
//! 3. [Hardware stamps in practice](hardware): the card's setting, who else uses it, its clock.
//! 4. [One by one, batches, rings](throughput): which to choose, with the numbers.
//! 5. [Without a thread for each](asynchronous): tokio, and pollers of your own.
//! 6. [Rights and refusals](crate::privileges): what fails how, and what helps.
//! 7. [When something is wrong](troubleshooting): by symptom.

#[doc = include_str!("asynchronous.md")]
pub mod asynchronous {}

#[doc = include_str!("hardware.md")]
pub mod hardware {}

#[doc = include_str!("path.md")]
pub mod path {}

#[doc = include_str!("stamps.md")]
pub mod stamps {}

#[doc = include_str!("throughput.md")]
pub mod throughput {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
