//! Self-protection: that somebody attacks the agent itself is seen, told as a `self_protection` event, and put right where that is possible.
//!
//! | what | how it is seen |
//! | --- | --- |
//! | ptrace and signals against either program | internal rules (`rules.rs`), so with who did it; and `TracerPid` |
//! | maps, jumps and links of the sensor changed | the sensor looks at what it has put into the kernel, every period and at once when somebody opens a map of ours by its number |
//! | classifiers taken away | the network manager, which attaches them again |
//! | binaries, configuration and policies changed | their attributes, every period and at once when fanotify tells of a change, with who made it (`files.rs`) |
//! | the program itself killed | a mark that a stop removes, found by the next start |
//!
//! What root can do all the same is in `docs/threat-model.md`.

mod files;
mod rules;
mod run;
mod told;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use atalaya_model::json::{ProtectionActor, SelfProtection};
use atalaya_model::{Event, EventData, Process};
use crossbeam_channel::{Receiver, Sender, bounded};

pub use files::FileWatcher;
pub(crate) use rules::{is_own, policy};
pub(crate) use run::run;
use told::Told;

/// What is protected, and how.
#[derive(Debug)]
pub struct ProtectionOptions {
    /// Do it at all.
    pub enabled: bool,
    /// How often everything is looked at.
    pub period: Duration,
    /// The files that nobody but an administrator should change: binaries and configuration. Policies are added.
    pub files: Vec<PathBuf>,
    /// Who tells of their changes at once, and who made them; `None`: they are seen at the next look, without who.
    pub watcher: Option<FileWatcher>,
    /// The file that says that the program runs: one that is there at start was left by a program that did not stop by itself.
    pub mark: Option<PathBuf>,
}

impl Default for ProtectionOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            period: Duration::from_secs(10),
            files: Vec::new(),
            watcher: None,
            mark: None,
        }
    }
}

/// Who knows the processes of security-agent that are connected.
pub type Agents = Box<dyn Fn() -> Vec<u32> + Send + Sync>;

/// Something that may be an attack; to be looked into outside the event loop.
#[derive(Debug)]
struct Suspect {
    kind: Kind,
    /// Whom it is about: `system-probe`, `security-agent`.
    target: &'static str,
    /// In one sentence, without who.
    what: String,
    by: Option<ProtectionActor>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ptrace,
    Signal,
    /// A map of ours was opened by its number: a reason to look, and to tell of it once for each program that does so.
    MapsOpened,
    /// A link or a program was detached by somebody: a reason to look.
    Detached,
    Damage,
    Files,
    UncleanEnd,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ptrace => "ptrace",
            Self::Signal => "signal",
            Self::MapsOpened => "maps_opened",
            Self::Detached | Self::Damage => "sensor_tampered",
            Self::Files => "file_changed",
            Self::UncleanEnd => "unclean_end",
        }
    }
}

const PROBE: &str = "system-probe";
const AGENT: &str = "security-agent";

/// What all threads know of it.
pub(crate) struct Protection {
    own: u32,
    agents: OnceLock<Agents>,
    /// The numbers of the sensor's maps.
    maps: RwLock<BTreeSet<u32>>,
    suspects: Sender<Suspect>,
    receiver: Receiver<Suspect>,
    told: Mutex<Told>,
}

impl Default for Protection {
    fn default() -> Self {
        // What does not fit is told in numbers only: see `Told`.
        let (suspects, receiver) = bounded(64);
        Self {
            own: std::process::id(),
            agents: OnceLock::new(),
            maps: RwLock::default(),
            suspects,
            receiver,
            told: Mutex::default(),
        }
    }
}

impl Protection {
    /// From here on, these are protected too.
    pub(crate) fn set_agents(&self, agents: Agents) {
        // Set once, by who starts the server.
        let _ = self.agents.set(agents);
    }

    fn agents(&self) -> Vec<u32> {
        self.agents.get().map(|agents| agents()).unwrap_or_default()
    }

    /// Which of the programs this process is.
    fn target(&self, pid: u32) -> Option<&'static str> {
        if pid == self.own {
            return Some(PROBE);
        }
        self.agents().contains(&pid).then_some(AGENT)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An internal rule has matched. Called in the event loop: it looks at numbers and waits for nobody.
    pub(crate) fn saw(&self, event: &Event) {
        let Some((kind, target, what)) = self.judge(&event.data) else {
            return;
        };
        let suspect = Suspect {
            kind,
            target,
            what,
            by: Some(actor(&event.process)),
        };
        if self.suspects.try_send(suspect).is_err() {
            self.told().suppressed += 1;
        }
    }

    fn judge(&self, data: &EventData) -> Option<(Kind, &'static str, String)> {
        match data {
            EventData::Ptrace(call) => {
                let target = self.target(call.tracee_id.pid)?;
                let what = format!("{target} was attached to by ptrace{}", failed(call.retval));
                Some((Kind::Ptrace, target, what))
            }
            EventData::Signal(call) => {
                let target = self.target(call.target_id.pid)?;
                let name = rules::signal_name(call.signal);
                let what = format!("{target} was sent {name}{}", failed(call.retval));
                Some((Kind::Signal, target, what))
            }
            EventData::Bpf(call) if rules::is_detach(call.command) => {
                let what = "a link or a program was detached or replaced".to_owned();
                Some((Kind::Detached, PROBE, what))
            }
            EventData::Bpf(call) => {
                let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
                maps.contains(&call.map_id).then(|| {
                    let what = "maps of the sensor were opened by their numbers".to_owned();
                    (Kind::MapsOpened, PROBE, what)
                })
            }
            _ => None,
        }
    }

    /// Lines for `status`.
    pub(crate) fn details(&self) -> Vec<(String, String)> {
        self.told().details()
    }

    /// What a person should look into.
    pub(crate) fn warning(&self) -> Option<String> {
        self.told().warning()
    }
}

fn failed(retval: i64) -> String {
    if retval < 0 {
        let error = std::io::Error::from_raw_os_error(i32::try_from(-retval).unwrap_or(0));
        format!(" in vain ({error})")
    } else {
        String::new()
    }
}

/// So many ancestors are told.
const ANCESTORS: usize = 8;

fn actor(process: &Process) -> ProtectionActor {
    let ancestors = process.ancestors().take(ANCESTORS);
    ProtectionActor {
        pid: process.pid,
        ppid: process.ppid,
        uid: process.creds.uid,
        comm: process.comm.to_string(),
        path: process.image.file.path.clone(),
        container_id: process.container_id().to_owned(),
        ancestors: ancestors
            .map(|one| format!("{} ({})", one.image.file.path, one.pid))
            .collect(),
    }
}

/// The event of a suspicion, or of what was found.
fn event(kind: Kind, target: &str, summary: String, by: Vec<ProtectionActor>) -> SelfProtection {
    SelfProtection {
        kind: kind.name().to_owned(),
        target: target.to_owned(),
        summary,
        details: Vec::new(),
        repaired: None,
        by,
    }
}
