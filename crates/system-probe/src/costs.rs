//! Has the kernel count what eBPF programs cost: a thread that keeps the one capability that this takes.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Result;

use crate::preflight;

/// The kernel answers at once; something is wrong with the thread where it does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the answer goes.
type Request = Sender<Result<OwnedFd, String>>;

/// The thread; it ends when the last of these goes.
#[derive(Debug, Clone)]
pub(crate) struct Costs {
    requests: Sender<Request>,
}

impl Costs {
    /// Starts the thread. To be called before capabilities are dropped.
    pub(crate) fn start() -> Result<Self> {
        let (requests, received) = channel::<Request>();
        std::thread::Builder::new()
            .name("costs".into())
            .spawn(move || {
                if let Err(error) = preflight::drop_for_costs() {
                    tracing::warn!(
                        "the thread that measures costs keeps what it does not need: {error:#}"
                    );
                }
                for answer in received {
                    let counting = atalaya_network::bpf::count_run_time();
                    let counting = counting.map_err(|error| {
                        let error = atalaya_api::chain(&error);
                        format!("{error} (it takes CAP_SYS_ADMIN, or kernel.bpf_stats_enabled=1 on the host)")
                    });
                    // Who asked may have gone; then the kernel ceases to count at once.
                    let _ = answer.send(counting);
                }
            })?;
        Ok(Self { requests })
    }

    /// Has the kernel count until what this returns is dropped.
    pub(crate) fn count(&self) -> Result<OwnedFd, String> {
        let (answer, answered) = channel();
        let gone = || "the thread that measures costs has ended".to_owned();
        self.requests.send(answer).map_err(|_| gone())?;
        match answered.recv_timeout(PATIENCE) {
            Ok(counting) => counting,
            Err(RecvTimeoutError::Timeout) => Err("the kernel does not answer".to_owned()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}
