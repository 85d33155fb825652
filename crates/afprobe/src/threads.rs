//! On which processor, and how urgently, the threads run that measure.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;
use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy};

/// Just below what the kernel gives its threads for interrupts, 50: they bring the probes.
pub(crate) const PRIORITY: u8 = 49;

/// How long before its time a sender that spins stops sleeping. Wake-ups of an idle machine are earlier than that.
const SPIN: Duration = Duration::from_micros(100);

/// The threads that send and receive.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ThreadArguments {
    /// Processors for the threads that send, receive and reflect, in this order; with fewer, they begin anew.
    #[arg(long = "cpu", value_name = "N", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Run them before all other programs: SCHED_FIFO. Needs CAP_SYS_NICE.
    #[arg(long)]
    realtime: bool,
    /// Receive in a loop that never sleeps, which costs a processor. Such a loop is not made real-time: the kernel would
    /// stop it for 50 ms of each second.
    #[arg(long)]
    busy_poll: bool,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
    Reflector,
}

impl ThreadArguments {
    /// Makes the calling thread what was asked for. The reflector of a process that does nothing else is its first.
    pub(crate) fn begin(&self, role: Role, first: Role) -> Result<()> {
        // A timer of an ordinary thread may be 50 µs late, so that the kernel can do several at once.
        prctl::set_timerslack(1).context("cannot ask for exact timers")?;
        if let Some(cpu) = self.cpu_of(role, first) {
            let mut set = CpuSet::new();
            set.set(cpu)
                .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
                .with_context(|| format!("cannot run on processor {cpu} (--cpu)"))?;
        }
        let polls = self.busy_poll && role != Role::Sender;
        if self.realtime && !polls { become_real_time() } else { Ok(()) }
    }

    fn cpu_of(&self, role: Role, first: Role) -> Option<usize> {
        let place = (role as usize).saturating_sub(first as usize);
        self.cpus.iter().cycle().nth(place).copied()
    }

    /// How long before a time to stop sleeping, and to look at the clock until then.
    pub(crate) const fn spin(&self) -> Duration {
        if self.busy_poll || self.realtime { SPIN } else { Duration::ZERO }
    }

    pub(crate) const fn is_realtime(&self) -> bool {
        self.realtime
    }

    pub(crate) const fn polls(&self) -> bool {
        self.busy_poll
    }
}

fn become_real_time() -> Result<()> {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriorityValue::try_from(PRIORITY).map_err(|why| anyhow!("{PRIORITY}: {why}"))?;
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), fifo);
    set.map_err(|why| match why {
        thread_priority::Error::OS(errno) => io::Error::from_raw_os_error(errno).into(),
        why => anyhow!("{why:?}"),
    })
    .context("cannot run in real time (--realtime), which needs CAP_SYS_NICE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_in_the_order_of_the_roles() {
        let with = |cpus: &[usize]| ThreadArguments { cpus: cpus.to_vec(), ..ThreadArguments::default() };
        let all = [Role::Sender, Role::Receiver, Role::Reflector];
        let cpus = |given: &[usize]| all.map(|role| with(given).cpu_of(role, Role::Sender));
        assert_eq!(cpus(&[]), [None; 3]);
        assert_eq!(cpus(&[3]), [Some(3); 3]);
        assert_eq!(cpus(&[0, 1]), [Some(0), Some(1), Some(0)]);
        assert_eq!(cpus(&[0, 1, 2]), [Some(0), Some(1), Some(2)]);
        assert_eq!(with(&[5, 6]).cpu_of(Role::Reflector, Role::Reflector), Some(5));
    }
}
