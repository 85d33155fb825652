//! What is printed of probes that go there and back.

pub(super) mod human;
pub(super) mod json;
pub(super) mod logfmt;
#[cfg(test)]
pub(super) mod sample;

/// Who measures, and against whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The name of this host.
    pub(crate) host: String,
    pub(crate) interface: String,
    /// The reflector's address, as people write it.
    pub(crate) reflector: String,
    /// What probes are on the wire.
    pub(crate) wire: String,
}

#[cfg(test)]
mod tests;
