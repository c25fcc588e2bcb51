//! The thread: news of the kernel, orders, and what follows from them.

mod discovery;
mod news;
mod report;
mod visits;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Error;
use crate::netlink::Netlink;
use crate::netns::NetNs;
use crate::tc::Hook;
use crate::tc::link::has_tcx;

use super::device::{Attachment, Device, Links, Side, Wanted};
use super::events::Events;
use super::journal::Journal;
use super::namespaces::{Key, Namespace, Namespaces};
use super::{Command, Gone, Inbox, Known, Settings};

/// Mounts are looked through at most so often.
const MOUNTS_EVERY: Duration = Duration::from_millis(100);
/// Without news of other namespaces, everything is looked at so often.
const BLIND_EVERY: Duration = Duration::from_secs(2);

/// What of a namespace is to be looked at.
enum Scope {
    All,
    Interfaces(BTreeSet<u32>),
}

/// A namespace that is being looked for.
struct Sought {
    tries: usize,
    next: Instant,
}

/// The thread's state.
pub(crate) struct Worker {
    settings: Settings,
    hook: Hook,
    wanted: Wanted,
    ours: BTreeSet<u32>,
    former: BTreeSet<u32>,
    journal: Journal,
    links: Links,
    namespaces: Namespaces,
    own: u32,
    events: Events,
    netlink: Netlink,
    inbox: Inbox,
    wake: Arc<OwnedFd>,
    known: Known,
    gone: Gone,
    /// Changes of mounts, where the kernel tells of them.
    mounts: Vec<File>,
    mounts_at: Option<Instant>,
    mounts_changed: bool,
    dirty: BTreeMap<Key, Scope>,
    sought: HashMap<u32, Sought>,
    /// Namespaces with a number that somebody else gave them, and how often they were looked for.
    strangers: HashMap<i32, u32>,
    /// The number of our own namespace, should it have one.
    own_number: Option<i32>,
    /// Namespaces are to be looked for.
    search: bool,
    /// Not before, because it takes its time on a large host.
    search_after: Instant,
    refused: BTreeSet<u32>,
    refused_told: usize,
    next_check: Instant,
    /// The next look is to be into every namespace.
    thorough: bool,
    /// What an earlier start has left was looked for.
    cleaned: bool,
    taken_away: u64,
    overflows: u64,
    warnings: BTreeMap<&'static str, String>,
}

impl Worker {
    pub(crate) fn new(
        settings: Settings,
        inbox: Inbox,
        wake: Arc<OwnedFd>,
        known: Known,
        gone: Gone,
    ) -> Result<Self, Error> {
        let hook = if settings.prefer_tcx && has_tcx() {
            Hook::Tcx
        } else {
            Hook::Clsact
        };
        let own = NetNs::own()?;
        let events = Events::open(hook == Hook::Clsact)?;
        let mut journal = Journal::open(settings.journal.as_deref());
        let former = journal.take_former();
        let cleaned = former.is_empty();
        let tables = [
            settings.places.proc.join("1/mountinfo"),
            "/proc/thread-self/mountinfo".into(),
        ];
        let mounts = tables.iter().filter_map(|table| File::open(table).ok());
        let mut warnings = BTreeMap::new();
        if let Some(reason) = &events.limited {
            let text = format!(
                "interfaces of other namespaces are looked for every {} s only, because the kernel does not tell of them: {reason}",
                BLIND_EVERY.as_secs()
            );
            warnings.insert("news", text);
        }
        Ok(Self {
            own: own.inum(),
            netlink: Netlink::open()?,
            events,
            hook,
            wanted: Wanted::default(),
            ours: BTreeSet::new(),
            former,
            journal,
            links: Links::new(),
            namespaces: Namespaces::default(),
            inbox,
            wake,
            known,
            gone,
            mounts: mounts.collect(),
            mounts_at: None,
            mounts_changed: false,
            dirty: BTreeMap::new(),
            sought: HashMap::new(),
            strangers: HashMap::new(),
            own_number: None,
            search: false,
            search_after: Instant::now(),
            refused: BTreeSet::new(),
            refused_told: 0,
            next_check: Instant::now(),
            thorough: true,
            cleaned,
            taken_away: 0,
            overflows: 0,
            warnings,
            settings,
        })
    }

    /// Runs until it is told to stop; then nothing of ours is left.
    pub(crate) fn run(mut self) {
        loop {
            self.read_news();
            let mut waiting = Vec::new();
            if !self.obey(&mut waiting) {
                break;
            }
            if !self.is_idle() {
                let now = Instant::now();
                self.seek(now);
                if now >= self.next_check {
                    self.check_all(now);
                } else if self.search && now >= self.search_after {
                    self.discover();
                } else if self.mounts_changed && now >= self.mounts_after() {
                    self.discover_mounts();
                }
            }
            self.work();
            for done in waiting {
                // Who asked may have given up.
                let _ = done.send(());
            }
            self.sleep();
        }
        self.programs(Wanted::default());
        self.work();
    }

    /// Whether there is nothing to attach and nothing to take away: then nothing is looked for, and no namespace gets a number.
    fn is_idle(&self) -> bool {
        self.cleaned && !self.wanted.is_some() && self.namespaces.len() == 0
    }

    /// Does what it is told. `false`: to stop.
    fn obey(&mut self, waiting: &mut Vec<Sender<()>>) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Programs(wanted)) => self.programs(wanted),
                Ok(Command::Seen { task, inum }) => self.seen(task, inum),
                Ok(Command::Status(answer)) => {
                    let _ = answer.send(self.status());
                }
                Ok(Command::Done(done)) => waiting.push(done),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Other programs are wanted. Links are changed where they are, without entering their namespaces.
    fn programs(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        for program in [&self.wanted.ingress, &self.wanted.egress]
            .into_iter()
            .flatten()
        {
            self.ours.insert(program.id.id);
            if self.hook == Hook::Clsact
                && let Err(error) = self.journal.note(program.id)
            {
                let text = format!(
                    "filters would outlive a kill of system-probe, because its list of them cannot be written: {error}"
                );
                self.warnings.insert("journal", text);
            }
        }
        let wanted = &self.wanted;
        self.links
            .retain(|_, held| match wanted.of(held.direction) {
                None => false,
                Some(program) if program.id.id == held.program => true,
                Some(program) => {
                    // What cannot be changed is attached anew by the visit.
                    let done = held.link.replace(program.fd.as_fd()).is_ok();
                    held.program = program.id.id;
                    done
                }
            });
        for (key, namespace) in &mut self.namespaces.by_key {
            for (_, side) in namespace.devices.values_mut().flat_map(Device::sides_mut) {
                if let Some(Attachment::Link(id)) = side.attachment
                    && !self.links.contains_key(&id)
                {
                    *side = Side::default();
                }
            }
            let has_filters = self.hook == Hook::Clsact && namespace.has_attachments();
            if has_filters
                || namespace
                    .devices
                    .values()
                    .any(|device| !device.is_settled(&self.wanted))
            {
                self.dirty.insert(*key, Scope::All);
            }
        }
        if self.wanted.is_some() {
            self.next_check = Instant::now();
            self.thorough = true;
        }
    }

    /// Nothing is wanted: what has nothing of ours in it need not be watched. What has could not be reached, and is tried again.
    fn release(&mut self) {
        if self.wanted.is_some() || !self.cleaned {
            return;
        }
        let done =
            |(key, namespace): (&Key, &Namespace)| (!namespace.has_attachments()).then_some(*key);
        let done: Vec<Key> = self.namespaces.by_key.iter().filter_map(done).collect();
        for key in done {
            self.forget(key);
        }
        self.sought.clear();
        self.strangers.clear();
        self.search = false;
    }

    /// Until the kernel, an order, or the clock has something to do.
    fn sleep(&mut self) {
        let now = Instant::now();
        let mut next = now + self.settings.check_every;
        if !self.is_idle() {
            let devices = self
                .namespaces
                .by_key
                .values()
                .flat_map(|known| known.devices.values());
            let retries = devices
                .flat_map(Device::sides)
                .filter_map(|(_, side)| side.due());
            next = retries.fold(self.next_check, Instant::min);
            let sought = self.sought.values().map(|sought| sought.next).min();
            let search = self.search.then_some(now);
            if let Some(at) = sought.into_iter().chain(search).min() {
                next = next.min(at.max(self.search_after));
            }
            if self.mounts_changed {
                next = next.min(self.mounts_after());
            }
        }
        let wait = next
            .saturating_duration_since(now)
            .max(Duration::from_millis(1));
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.events.fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
        ];
        for mounts in &self.mounts {
            fds.push(PollFd::from_borrowed_fd(mounts.as_fd(), PollFlags::PRI));
        }
        // Interrupted: then there is one more turn.
        let _ = poll(&mut fds, Some(&timeout));
        self.mounts_changed |= fds.iter().skip(2).any(|fd| !fd.revents().is_empty());
        let mut count = [0; 8];
        // Empty, if it was not this that woke us.
        let _ = rustix::io::read(self.wake.as_fd(), &mut count);
    }
}
