//! Keeps our classifiers on every interface of every network namespace, and takes them away again, without ever touching what is
//! another's.
//!
//! **How namespaces are known.** Each gets a number as seen from our own namespace (`RTM_NEWNSID`; those whose veth leads to ours have one
//! anyway). From then on one socket in our namespace hears of every interface that comes, goes, moves or is renamed there, and of the end
//! of the namespace itself. So nothing has to be held open, and nothing outlives its last process because of us; see [`crate::netns`].
//!
//! **How one is first seen.** At start, and every so often, from the processes and the mounts of the host; in between the sensor says which
//! process has come to a namespace that is not known yet ([`Manager::namespace_seen`]).
//!
//! **What is attached how.** tcx links where the kernel has them: before all others, nobody can replace them by accident, and they end with
//! this process. Else filters of clsact, with the care that [`crate::tc::filter`] explains.
//!
//! All of it is done by one thread, which needs CAP_SYS_ADMIN (entering namespaces), CAP_NET_ADMIN, CAP_NET_BROADCAST (hearing of others),
//! CAP_BPF, CAP_SYS_PTRACE (`/proc/PID/ns`) and CAP_DAC_READ_SEARCH. The rest of the program needs the first and third for nothing.

mod device;
mod events;
mod journal;
mod namespaces;
mod settings;
mod worker;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::Error;
use crate::tc::link::ProgramId;
use device::{Program, Wanted};
pub use settings::{InterfaceStatus, NamespaceStatus, NetworkStatus, Settings};

/// How long the state is waited for. The thread is at work on a namespace for milliseconds, but at start on all of them.
const PATIENCE: Duration = Duration::from_millis(500);

/// The classifiers, already loaded. They must return `TC_ACT_UNSPEC` for what they have no reason to drop.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// For what leaves through an interface.
    pub egress: BorrowedFd<'a>,
    /// For what comes in, where that is wanted.
    pub ingress: Option<BorrowedFd<'a>>,
}

/// What the thread is told.
enum Command {
    Programs(Wanted),
    Seen { task: u32, inum: u32 },
    Status(Sender<NetworkStatus>),
    Done(Sender<()>),
    Stop,
}

/// The namespaces that have been seen, so that each is told once. A namespace that is gone is taken out.
type Known = Arc<RwLock<HashSet<u32>>>;

/// Interfaces that have gone: the number of their namespace, and their own.
type Gone = Arc<Mutex<Vec<(u32, u32)>>>;

/// The classifiers of this host. Dropping it takes all of them away.
pub struct Manager {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    known: Known,
    gone: Gone,
    active: Arc<AtomicBool>,
    last: Mutex<Option<NetworkStatus>>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// Starts the thread, with the capabilities and in the network namespace of the caller. Nothing is attached yet. `prepare` is the first
    /// that it does: to drop capabilities.
    pub fn start(
        settings: Settings,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Result<Self, Error> {
        raise_descriptors();
        let failed = |source: io::Error| Error::Namespace {
            what: "starting the thread that attaches classifiers".into(),
            source,
        };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| failed(error.into()))?);
        let known = Known::default();
        let gone = Gone::default();
        let active = Arc::new(AtomicBool::new(false));
        let (commands, inbox) = channel();
        let (told, answer) = sync_channel(1);
        let shared = (Arc::clone(&wake), Arc::clone(&known), Arc::clone(&gone));
        let body = move || {
            prepare();
            let (wake, known, gone) = shared;
            match worker::Worker::new(settings, inbox, wake, known, gone) {
                Ok(worker) => {
                    // Nobody waits any more only if the caller has died.
                    let _ = told.send(Ok(()));
                    worker.run();
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new().name("network".into());
        let thread = thread.spawn(body).map_err(failed)?;
        match answer.recv() {
            Ok(Ok(())) => Ok(Self {
                commands,
                wake,
                known,
                gone,
                active,
                last: Mutex::new(None),
                thread: Some(thread),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(failed(io::Error::other("it has ended at once"))),
        }
    }

    /// From here on these programs are to be everywhere; `None`: none. Those that were before are changed in place. Returns before that is
    /// done; [`Manager::settle`] waits.
    pub fn set_programs(&self, programs: Option<Programs<'_>>) -> Result<(), Error> {
        let own = |fd: BorrowedFd<'_>| -> Result<Program, Error> {
            let id = ProgramId::of(fd)?;
            let fd = fd.try_clone_to_owned().map_err(|source| Error::Bpf {
                what: "keeping a classifier".into(),
                source,
            })?;
            Ok(Program { fd, id })
        };
        let wanted = match programs {
            Some(programs) => Wanted {
                egress: Some(own(programs.egress)?),
                ingress: programs.ingress.map(own).transpose()?,
            },
            None => Wanted::default(),
        };
        self.active.store(wanted.is_some(), Ordering::Release);
        self.tell(Command::Programs(wanted));
        Ok(())
    }

    /// A process or thread is in this namespace. Cheap for one that is known.
    pub fn namespace_seen(&self, task: u32, inum: u32) {
        // Those that are there when programs come are looked for then.
        if inum == 0 || !self.active.load(Ordering::Acquire) {
            return;
        }
        if self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&inum)
        {
            return;
        }
        let is_new = self
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(inum);
        if is_new {
            self.tell(Command::Seen { task, inum });
        }
    }

    /// The state; the last one that was asked for if the thread has much to do just now. `None`: it has never answered.
    pub fn status(&self) -> Option<NetworkStatus> {
        let (sender, answer) = channel();
        self.tell(Command::Status(sender));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(status) = answer.recv_timeout(PATIENCE) {
            *last = Some(status);
        }
        last.clone()
    }

    /// The interfaces that have gone since the last call, each with the number of its namespace: at a move, with that of the one it has left.
    pub fn take_gone(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until all that was asked for before, and all that the kernel has told by then, is done. Returns whether it is.
    pub fn settle(&self, patience: Duration) -> bool {
        let (sender, answer) = channel();
        self.tell(Command::Done(sender));
        answer.recv_timeout(patience).is_ok()
    }

    fn tell(&self, command: Command) {
        // The thread ends before the manager only by a fault of its own, which `status` shows by having no answer.
        let _ = self.commands.send(command);
        wake(&self.wake);
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the classifiers has failed");
        }
    }
}

/// Two links for each interface: of many pods that is more than the 1024 that a process may have open at first, for programs that use
/// select(2), which this one does not.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("cannot raise the number of open files: {error}");
    }
}

fn wake(eventfd: &OwnedFd) {
    // Full means that it is awake anyway.
    let _ = rustix::io::write(eventfd.as_fd(), &1u64.to_ne_bytes());
}

/// What the thread has been told and not done yet.
type Inbox = Receiver<Command>;
