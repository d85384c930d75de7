use std::time::Duration;

/// How long a communicator waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A rank of another process that is not heard of for so long is lost. Processes tell each other that they live many
    /// times in this span, whatever they compute; only one that is stopped, killed or cut off falls silent.
    pub silence: Duration,
    /// The longest that one message may take, however alive the other rank is: what ends the wait for a message that
    /// nobody will ever send.
    pub wait: Duration,
}

impl Default for Limits {
    /// Silence: 5 s, many times what a loaded machine keeps a thread from running, and still half of the 10 s within
    /// which every rank is to know of a fault. Wait: 1 h, since a rank may have that much to compute before it sends.
    fn default() -> Self {
        Self { silence: Duration::from_secs(5), wait: Duration::from_secs(3600) }
    }
}
