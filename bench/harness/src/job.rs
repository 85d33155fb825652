//! What a worker is told, and what it reports: one JSON object each.

use serde::{Deserialize, Serialize};

/// What a worker has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// How the contender is to be opened.
    pub setup: Setup,
    /// What it does then.
    pub task: Task,
}

/// How a contender is to be opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The interface.
    pub interface: String,
    /// The length of the frames, without checksum.
    pub frame_len: usize,
    /// How many frames one call sends where the way leaves that open.
    pub batch: u16,
    /// The socket's receive buffer in bytes, if not the system's default.
    pub receive_buffer: Option<usize>,
    /// After how many milliseconds a ring hands over a block that is not full.
    pub block_timeout: u16,
    /// Whether frames are to be delivered one by one, as soon as possible, where there is such a mode.
    pub immediate: bool,
}

impl Setup {
    /// What all sections start from.
    pub fn new(interface: &str, frame_len: usize) -> Self {
        Self {
            interface: interface.to_owned(),
            frame_len,
            batch: 64,
            receive_buffer: None,
            block_timeout: 10,
            immediate: false,
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Receive until standard input ends and nothing more comes.
    Receive {
        /// Whether to note the latency of each frame.
        latency: bool,
    },
    /// Send for so long, or so many frames.
    Send {
        /// Milliseconds.
        time: u32,
        /// How fast; `None` for as fast as possible.
        pace: Option<Pace>,
    },
    /// Send and read stamps for so many milliseconds.
    Stamp {
        /// Milliseconds.
        time: u32,
    },
    /// Move exactly so many frames, for tools that count what a program does.
    Count(Count),
}

/// A steady rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Frames for each second.
    pub frames_per_second: f64,
}

/// An exact number of frames.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Count {
    /// How many frames are measured: rounded up to whole chunks.
    pub frames: u64,
    /// How many of them are under way at once: no more than fit into the receive buffer or the queue of stamps.
    pub chunk: u64,
    /// Which part of the work is measured.
    pub part: Part,
    /// The other end of the link: frames for a receiver are sent from here, by the worker itself.
    pub far_end: String,
}

/// What of a contender's work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    All,
    /// Sending the frames whose stamps are read.
    Sending,
    /// Reading the stamps.
    Reading,
}

/// What came of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Frames that were received, or that the kernel took.
    pub frames: u64,
    /// Received frames, or sent ones, of which there is a stamp.
    pub stamped: u64,
    /// From the first to the last frame that was sent, in seconds.
    pub seconds: f64,
    /// Processor time of the thread that did it (of the child process where that does it), in seconds.
    pub cpu_seconds: f64,
    /// Frames that the kernel dropped for want of room. `None` if the contender does not tell.
    pub dropped: Option<u64>,
    /// Calls that sent nothing for want of room.
    pub refused: u64,
    /// From the kernel's stamp to the program.
    pub latency: Option<Percentiles>,
    /// Allocations during the measured part.
    pub allocations: u64,
}

/// Of latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half were below.
    pub p50: f64,
    /// 99 % were below.
    pub p99: f64,
    /// 99.9 % were below.
    pub p999: f64,
    /// How many there were.
    pub samples: u64,
}

impl Percentiles {
    /// Sorts the samples. `None` if there are none.
    pub fn of(samples: &mut [u32]) -> Option<Self> {
        samples.sort_unstable();
        let at = |permille: usize| {
            // The smallest sample that is not below so many thousandths of all.
            let rank = (samples.len() * permille).div_ceil(1000).saturating_sub(1);
            samples.get(rank).map(|&nanos| f64::from(nanos))
        };
        Some(Self { p50: at(500)?, p99: at(990)?, p999: at(999)?, samples: u64::try_from(samples.len()).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<u32> = (1..=1000).rev().collect();
        let found = Percentiles::of(&mut samples).unwrap();
        assert_eq!(found, Percentiles { p50: 500.0, p99: 990.0, p999: 999.0, samples: 1000 });
        let found = Percentiles::of(&mut [7]).unwrap();
        assert_eq!((found.p50, found.p99, found.p999), (7.0, 7.0, 7.0));
        assert_eq!(Percentiles::of(&mut []), None);
    }

    #[test]
    fn a_job_survives_the_command_line() {
        let count = Count { frames: 192, chunk: 192, part: Part::Reading, far_end: "a".to_owned() };
        for task in [
            Task::Receive { latency: true },
            Task::Send { time: 5, pace: Some(Pace { frames_per_second: 1e5 }) },
            Task::Count(count),
        ] {
            let job = Job { setup: Setup::new("b", 64), task };
            let text = serde_json::to_string(&job).unwrap();
            let read: Job = serde_json::from_str(&text).unwrap();
            assert_eq!(format!("{read:?}"), format!("{job:?}"));
        }
    }
}
