//! The thread: news of the kernel, orders, and what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netlink::Netlink;
use crate::netns::NetNs;
use crate::tc::Hook;
use crate::tc::link::has_tcx;
use crate::{Error, interface};

use super::device::{Attachment, Device, Links, Side, Visit, Wanted};
use super::events::{Events, News};
use super::journal::Journal;
use super::namespaces::{Key, Namespace, Namespaces, known_number, number_of};
use super::{
    Command, Gone, Inbox, InterfaceStatus, Known, NamespaceStatus, NetworkStatus, Settings,
};

/// Where a namespace was said to be and was not found: its process was quick, and a mount that keeps it may follow.
const LOOK_AGAIN: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(2),
];
/// Mounts are looked through at most so often.
const MOUNTS_EVERY: Duration = Duration::from_millis(100);
/// Without news of other namespaces, everything is looked at so often.
const BLIND_EVERY: Duration = Duration::from_secs(2);
/// How often a namespace of which there is news is looked for before everything is looked at again.
const STRANGER_TRIES: u32 = 5;
/// Interfaces that are gone and that nobody has asked for, at most.
const MAX_GONE: usize = 65_536;
/// Namespaces that are said to be there and cannot be found, at most.
const MAX_SOUGHT: usize = 1024;

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

    /// Takes in what the kernel has told.
    fn read_news(&mut self) {
        let mut all = Vec::new();
        self.events.read(|news| all.push(news));
        for news in all {
            self.hear(news);
        }
    }

    fn hear(&mut self, news: News) {
        let own = self.own_number;
        let ours = |namespace: Key| {
            if namespace.is_some() && namespace == own {
                None
            } else {
                namespace
            }
        };
        match news {
            News::Link {
                namespace,
                index,
                name,
                mac,
            } => {
                self.link(ours(namespace), index, name, mac);
            }
            News::LinkGone { namespace, index } => {
                if let Some(known) = self.namespaces.by_key.get_mut(&ours(namespace))
                    && let Some(device) = known.devices.remove(&index)
                {
                    self.forget_device(&device);
                    let inum = self
                        .namespaces
                        .by_key
                        .get(&ours(namespace))
                        .map(|known| known.inum);
                    self.went(inum.unwrap_or_default(), [index]);
                }
            }
            News::FilterGone { namespace, index } => {
                let key = ours(namespace);
                if let Some(known) = self.namespaces.by_key.get(&key)
                    && known.devices.contains_key(&index)
                {
                    self.mark(key, index);
                }
            }
            News::NamespaceGone(number) => {
                self.strangers.remove(&number);
                self.forget(Some(number));
                // The kernel frees the number before it says so: by now it may be that of a new one, which we have just met.
                self.search |= self.wanted.is_some();
            }
            News::Lost => {
                self.overflows += 1;
                self.next_check = Instant::now();
                self.thorough = true;
            }
        }
    }

    fn link(&mut self, key: Key, index: u32, name: String, mac: Option<[u8; 6]>) {
        let counts = self.settings.counts(&name, mac);
        let Some(known) = self.namespaces.by_key.get_mut(&key) else {
            if let Some(number) = key {
                self.stranger(number);
            }
            return;
        };
        let device = known.devices.entry(index).or_default();
        device.name = name;
        device.counts = counts;
        if counts {
            known.lonely = false;
            known.lonely_since = None;
        }
        let is_settled = known.lonely || device.is_settled(&self.wanted);
        if !is_settled {
            self.mark(key, index);
        }
    }

    /// An interface is to be looked at.
    fn mark(&mut self, key: Key, index: u32) {
        match self
            .dirty
            .entry(key)
            .or_insert_with(|| Scope::Interfaces(BTreeSet::new()))
        {
            Scope::All => {}
            Scope::Interfaces(indices) => {
                indices.insert(index);
            }
        }
    }

    /// Of an interface that is gone: a link lives on if its interface has moved, and is found there again.
    fn forget_device(&mut self, device: &Device) {
        for (_, side) in device.sides() {
            if let Some(Attachment::Link(id)) = side.attachment
                && self
                    .links
                    .get(&id)
                    .is_some_and(|held| held.link.interface().is_none())
            {
                self.links.remove(&id);
            }
        }
    }

    /// A namespace is no more. What it had for interfaces goes with it; hardware comes back to the first namespace, as news there.
    fn forget(&mut self, key: Key) {
        self.dirty.remove(&key);
        let Some(gone) = self.namespaces.remove(key) else {
            return;
        };
        tracing::debug!(
            namespace = gone.inum,
            number = key,
            "a network namespace is gone"
        );
        for (_, side) in gone.devices.values().flat_map(Device::sides) {
            if let Some(Attachment::Link(id)) = side.attachment {
                self.links.remove(&id);
            }
        }
        self.went(gone.inum, gone.devices.into_keys());
        self.unknown(gone.inum);
    }

    /// Notes interfaces that are gone, for whoever has kept something about them.
    fn went(&self, inum: u32, indices: impl IntoIterator<Item = u32>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_GONE.saturating_sub(gone.len());
        gone.extend(indices.into_iter().take(room).map(|index| (inum, index)));
    }

    /// From here on the number is news again.
    fn unknown(&self, inum: u32) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&inum);
    }

    /// News of a namespace that has a number and that we have not met: another program gave it one, or the kernel did for a veth pair.
    fn stranger(&mut self, number: i32) {
        if !self.wanted.is_some() {
            return;
        }
        let tries = self.strangers.entry(number).or_default();
        if *tries >= STRANGER_TRIES {
            return; // until everything is looked at
        }
        *tries += 1;
        if let Ok(own) = NetNs::own() {
            self.own_number = known_number(&mut self.netlink, &own).unwrap_or_default();
        }
        if self.own_number == Some(number) {
            self.strangers.remove(&number);
            self.dirty.insert(None, Scope::All);
        } else {
            self.search = true;
        }
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

    fn seen(&mut self, task: u32, inum: u32) {
        tracing::debug!("a network namespace is seen namespace={inum} task={task}");
        // What was there under this number before may be gone by now.
        self.read_news();
        let key = self.namespaces.key_of(inum);
        if let Some(key) = key
            && let Some(known) = self.namespaces.by_key.get_mut(&key)
        {
            known.met(task);
            if std::mem::take(&mut known.lonely) {
                known.lonely_since = None;
                self.dirty.insert(key, Scope::All);
            }
            return;
        }
        if !self.settings.admits(inum) {
            return;
        }
        match NetNs::of_task(&self.settings.places.proc, task) {
            Ok(namespace) if namespace.inum() == inum => self.take(&namespace, &[task]),
            _ if self.sought.len() < MAX_SOUGHT => {
                let first = Sought {
                    tries: 0,
                    next: Instant::now() + LOOK_AGAIN[0],
                };
                self.sought.entry(inum).or_insert(first);
            }
            _ => self.unknown(inum),
        }
    }

    /// Looks for the namespaces whose processes were quick.
    fn seek(&mut self, now: Instant) {
        if now < self.search_after || !self.sought.values().any(|sought| sought.next <= now) {
            return;
        }
        self.discover();
        let mut given_up = Vec::new();
        self.sought.retain(|inum, sought| {
            if self.namespaces.key_of(*inum).is_some() {
                return false;
            }
            if sought.next > now {
                return true;
            }
            sought.tries += 1;
            match LOOK_AGAIN.get(sought.tries) {
                Some(wait) => sought.next = now + *wait,
                None => given_up.push(*inum),
            }
            sought.tries < LOOK_AGAIN.len()
        });
        for inum in given_up {
            self.unknown(inum);
        }
    }

    /// Looks for namespaces that are not known, through every process and mount. Returns the numbers that have a process, with some.
    fn discover(&mut self) -> BTreeMap<u32, Vec<u32>> {
        let begun = Instant::now();
        self.search = false;
        let places = self.settings.places.clone();
        if self.namespaces.key_of(self.own).is_none()
            && self.settings.admits(self.own)
            && let Ok(own) = NetNs::own()
        {
            self.take(&own, &[]);
        }
        let processes = places.processes();
        for (inum, tasks) in &processes {
            let key = self.namespaces.key_of(*inum);
            match key.and_then(|key| self.namespaces.by_key.get_mut(&key)) {
                Some(known) => tasks.iter().for_each(|task| known.met(*task)),
                None if self.settings.admits(*inum) => {
                    let open = |task: &u32| NetNs::of_task(&places.proc, *task).ok();
                    let found = tasks
                        .iter()
                        .filter_map(open)
                        .find(|found| found.inum() == *inum);
                    if let Some(namespace) = found {
                        self.take(&namespace, tasks);
                    }
                }
                None => {}
            }
        }
        self.discover_mounts();
        // A tenth of one CPU at most.
        let took = begun.elapsed();
        self.search_after = begun + took * 10;
        processes
    }

    fn discover_mounts(&mut self) {
        self.mounts_changed = false;
        self.mounts_at = Some(Instant::now());
        for (inum, path) in self.settings.places.mounts() {
            if self.namespaces.key_of(inum).is_none()
                && self.settings.admits(inum)
                && let Ok(namespace) = NetNs::open(&path)
                && namespace.inum() == inum
            {
                self.take(&namespace, &[]);
            }
        }
    }

    fn mounts_after(&self) -> Instant {
        self.mounts_at
            .map_or_else(Instant::now, |at| at + MOUNTS_EVERY)
    }

    /// From here on a namespace is watched.
    fn take(&mut self, namespace: &NetNs, tasks: &[u32]) {
        let inum = namespace.inum();
        if self.namespaces.len() >= self.settings.max_namespaces {
            self.refused.insert(inum);
            return;
        }
        let key = if inum == self.own {
            None
        } else {
            match number_of(&mut self.netlink, namespace) {
                Ok(number) => Some(number),
                Err(error) => {
                    tracing::warn!(
                        namespace = inum,
                        "a network namespace is not watched: {error}"
                    );
                    self.unknown(inum);
                    return;
                }
            }
        };
        tracing::debug!(
            namespace = inum,
            number = key,
            "a network namespace is watched"
        );
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(inum);
        self.refused.remove(&inum);
        // A number that was another's: its end has not been told yet, or was lost.
        self.forget(key);
        let mut new = Namespace::new(inum);
        tasks.iter().for_each(|task| new.met(*task));
        self.namespaces.insert(key, new);
        // After it has a number: an interface that comes now is told.
        self.visit(key, namespace, &Scope::All);
    }

    /// Looks at everything: for namespaces, and whether ours is where it was. Links tell without entering a namespace.
    fn check_all(&mut self, now: Instant) {
        let is_blind = self.events.limited.is_some();
        let every = if is_blind {
            BLIND_EVERY.min(self.settings.check_every)
        } else {
            self.settings.check_every
        };
        self.next_check = now + every;
        let thorough = std::mem::take(&mut self.thorough) || is_blind || self.hook == Hook::Clsact;
        self.strangers.clear();
        self.refused.clear();
        let processes = self.discover();
        self.cleaned = true;
        if self.refused.len() != self.refused_told {
            self.refused_told = self.refused.len();
            tracing::warn!(
                refused = self.refused.len(),
                limit = self.settings.max_namespaces,
                "there are more network namespaces than are watched"
            );
        }
        let mut marks = Vec::new();
        for (key, namespace) in &mut self.namespaces.by_key {
            let has_process = processes.contains_key(&namespace.inum);
            if namespace.is_lonely(has_process, now, self.settings.lonely_after) {
                for (_, side) in namespace.devices.values_mut().flat_map(Device::sides_mut) {
                    if let Some(Attachment::Link(id)) = side.attachment {
                        self.links.remove(&id);
                        *side = Side::default();
                    }
                }
            }
            if thorough || namespace.error.is_some() {
                self.dirty.insert(*key, Scope::All);
                continue;
            }
            for (index, device) in &namespace.devices {
                let is_there = |(_, side): (_, &Side)| match side.attachment {
                    Some(Attachment::Link(id)) => {
                        let held = self.links.get(&id);
                        held.and_then(|held| held.link.interface()) == Some(*index)
                    }
                    _ => true,
                };
                let is_settled = namespace.lonely || device.is_settled(&self.wanted);
                if !is_settled || !device.sides().into_iter().all(is_there) {
                    marks.push((*key, *index));
                }
            }
        }
        for (key, index) in marks {
            self.mark(key, index);
        }
        // Of interfaces that have moved to where nobody told of them, and are gone by now.
        self.links.retain(|_, held| held.link.interface().is_some());
        self.count_known();
    }

    /// Numbers that are known no more are news again.
    fn count_known(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|inum| {
            let is_kept = self
                .namespaces
                .by_key
                .values()
                .any(|known| known.inum == *inum && !known.lonely);
            is_kept || self.sought.contains_key(inum) || self.refused.contains(inum)
        });
    }

    /// Visits every namespace in which something is to be done.
    fn work(&mut self) {
        for (key, index) in self.due_retries() {
            self.mark(key, index);
        }
        while let Some((key, scope)) = self.dirty.pop_first() {
            let Some(known) = self.namespaces.by_key.get(&key) else {
                continue;
            };
            let found = match key {
                None => NetNs::own().ok(),
                Some(_) => self.settings.places.find(known.inum, &known.tasks),
            };
            match found {
                Some(namespace) => self.visit(key, &namespace, &scope),
                None => {
                    self.could_not_enter(key, "nothing leads into it: no process, no mount".into())
                }
            }
        }
        self.release();
    }

    fn could_not_enter(&mut self, key: Key, error: String) {
        if let Some(known) = self.namespaces.by_key.get_mut(&key) {
            let now = Instant::now();
            for (_, side) in known.devices.values_mut().flat_map(Device::sides_mut) {
                if side.due().is_some() {
                    side.put_off(now);
                }
            }
            tracing::debug!(namespace = known.inum, "{error}");
            known.error = Some(error);
        }
    }

    fn due_retries(&self) -> Vec<(Key, u32)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (key, namespace) in &self.namespaces.by_key {
            for (index, device) in &namespace.devices {
                if device
                    .sides()
                    .iter()
                    .any(|(_, side)| side.due().is_some_and(|at| at <= now))
                {
                    due.push((*key, *index));
                }
            }
        }
        due
    }

    /// Goes into a namespace and makes its interfaces have what is wanted.
    fn visit(&mut self, key: Key, namespace: &NetNs, scope: &Scope) {
        let Some(known) = self.namespaces.by_key.get_mut(&key) else {
            return;
        };
        let nothing = Wanted::default();
        let mut visit = Visit {
            settings: &self.settings,
            hook: self.hook,
            wanted: if known.lonely { &nothing } else { &self.wanted },
            ours: &self.ours,
            former: &self.former,
            links: &mut self.links,
            taken_away: &mut self.taken_away,
        };
        let devices = &mut known.devices;
        match namespace.run(|| settle(&mut visit, devices, scope)) {
            Ok(Ok(())) => known.error = None,
            Ok(Err(error)) | Err(error) => self.could_not_enter(key, error.to_string()),
        }
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

    fn status(&self) -> NetworkStatus {
        let mut placed = BTreeSet::new();
        let mut namespaces = Vec::new();
        let mut warnings: Vec<String> = self.warnings.values().cloned().collect();
        for (key, namespace) in &self.namespaces.by_key {
            let mut interfaces = Vec::new();
            for (index, device) in &namespace.devices {
                let mut status = InterfaceStatus {
                    index: *index,
                    name: device.name.clone(),
                    attached: Vec::new(),
                    errors: Vec::new(),
                };
                for (direction, side) in device.sides() {
                    if let Some(attachment) = side.attachment {
                        status.attached.push(direction);
                        if let Attachment::Link(id) = attachment {
                            placed.insert(id);
                        }
                    }
                    if let Some(error) = &side.error {
                        status.errors.push(format!("{direction}: {error}"));
                    }
                }
                interfaces.push(status);
            }
            if let Some(error) = &namespace.error {
                warnings.push(format!("network namespace {}: {error}", namespace.inum));
            }
            namespaces.push(NamespaceStatus {
                inum: namespace.inum,
                own: key.is_none(),
                lonely: namespace.lonely,
                interfaces,
            });
        }
        if !self.refused.is_empty() {
            warnings.push(format!(
                "{} network namespaces are not watched: there are more than {}",
                self.refused.len(),
                self.settings.max_namespaces
            ));
        }
        NetworkStatus {
            active: self.wanted.is_some(),
            hook: Some(self.hook),
            namespaces,
            refused: self.refused.len(),
            moved: self.links.keys().filter(|id| !placed.contains(id)).count(),
            taken_away: self.taken_away,
            overflows: self.overflows,
            warnings,
        }
    }
}

/// Inside a namespace: makes its interfaces have what is wanted.
fn settle(
    visit: &mut Visit<'_>,
    devices: &mut BTreeMap<u32, Device>,
    scope: &Scope,
) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    match scope {
        Scope::All => {
            let found = interface::interfaces()?;
            devices.retain(|index, _| found.iter().any(|interface| interface.index == *index));
            for interface in &found {
                let device = devices.entry(interface.index).or_default();
                device.name.clone_from(&interface.name);
                device.counts = visit.settings.counts(&interface.name, interface.mac);
                visit.clean(&mut netlink, interface)?;
                visit.settle(&mut netlink, interface.index, device);
            }
        }
        Scope::Interfaces(indices) => {
            for index in indices {
                if let Some(device) = devices.get_mut(index) {
                    visit.settle(&mut netlink, *index, device);
                }
            }
        }
    }
    Ok(())
}
