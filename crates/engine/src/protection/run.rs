//! The thread that looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atalaya_model::json::{CustomEvent, ProtectionActor, SelfProtection};
use crossbeam_channel::select;

use super::files::Files;
use super::{AGENT, Kind, PROBE, Suspect, actor, event};
use crate::engine::Shared;
use crate::source::Integrity;

/// How often fanotify is asked.
const TICK: Duration = Duration::from_secs(1);
/// After somebody has opened maps of ours, there is another look when they have had time to write.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// For so long who opened maps is who has changed them, when they are found changed.
const SUSPECTED: Duration = Duration::from_secs(60);
/// So many details an event lists.
const DETAILS: usize = 32;

struct Guard<'a> {
    shared: &'a Shared,
    files: Files,
    /// Who has lately opened maps of ours, or detached something.
    openers: Vec<(Instant, ProtectionActor)>,
    /// When there is to be a look before its time.
    early: Option<Instant>,
    traced: Vec<u32>,
}

/// Looks until the engine stops.
pub(crate) fn run(shared: &Shared) {
    let options = &shared.options.protection;
    let mut guard = Guard {
        shared,
        files: Files::default(),
        openers: Vec::new(),
        early: None,
        traced: Vec::new(),
    };
    if let Some(mark) = &options.mark {
        guard.begin(mark);
    }
    guard.look_at_files();
    guard.look_at_kernel();
    let mut looked = Instant::now();
    loop {
        let due = guard.early.map_or(TICK, |at| {
            at.saturating_duration_since(Instant::now()).min(TICK)
        });
        select! {
            // Nothing is ever sent: it is closed when the engine stops.
            recv(shared.stop) -> _ => break,
            recv(shared.protection.receiver) -> suspect => {
                if let Ok(suspect) = suspect {
                    guard.suspect(suspect);
                }
            }
            default(due) => {}
        }
        guard.look_at_changers();
        let now = Instant::now();
        if guard.early.is_some_and(|at| now >= at) {
            guard.early = None;
            guard.look_at_kernel();
        }
        if now.duration_since(looked) >= options.period {
            looked = now;
            guard.look_at_files();
            guard.look_at_kernel();
            guard.look_at_tracers();
        }
    }
    // Who stops it is in there: what comes now is told before the last event.
    while let Ok(suspect) = shared.protection.receiver.try_recv() {
        guard.suspect(suspect);
    }
    if let Some(mark) = &options.mark {
        let _ = fs::remove_file(mark); // one that is left says too much at the next start, not too little
    }
}

impl Guard<'_> {
    /// Looks whether the program before this one has stopped by itself, and leaves the mark.
    fn begin(&self, mark: &Path) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim();
        if let Ok(text) = fs::read_to_string(mark)
            && let Some((pid, its_boot)) = text.trim().split_once(' ')
            && its_boot == boot
        {
            let what = format!(
                "the system-probe before this one (pid {pid}) did not stop by itself: it was killed or has crashed"
            );
            self.tell(
                Kind::UncleanEnd,
                event(Kind::UncleanEnd, PROBE, what, Vec::new()),
            );
        }
        let text = format!("{} {boot}\n", std::process::id());
        if let Err(error) = fs::write(mark, text) {
            tracing::warn!(%error, mark = %mark.display(), "the next start will not see if this one is killed");
        }
    }

    fn tell(&self, kind: Kind, event: SelfProtection) {
        if !self
            .shared
            .protection
            .told()
            .allow(kind, &event, Instant::now())
        {
            return;
        }
        let by = event
            .by
            .last()
            .map(|by| format!("{} ({})", by.path, by.pid));
        tracing::warn!(
            kind = event.kind,
            by = by.as_deref().unwrap_or("unknown"),
            "self-protection: {}",
            event.summary
        );
        self.shared.custom(&CustomEvent::SelfProtection(event));
    }

    fn suspect(&mut self, suspect: Suspect) {
        let now = Instant::now();
        if matches!(suspect.kind, Kind::MapsOpened | Kind::Detached) {
            if let Some(by) = &suspect.by {
                self.openers.retain(|(at, known)| {
                    known.pid != by.pid && now.duration_since(*at) < SUSPECTED
                });
                self.openers.push((now, by.clone()));
            }
            self.early = self.early.or(Some(now + LOOK_AFTER));
        }
        if suspect.kind == Kind::Detached {
            // Of whom is not said: only what is found missing is told.
            return;
        }
        let by = suspect.by.into_iter().collect();
        self.tell(
            suspect.kind,
            event(suspect.kind, suspect.target, suspect.what, by),
        );
    }

    /// Whether the kernel still has what the sensor has put there.
    fn look_at_kernel(&mut self) {
        let Some(integrity) = self
            .shared
            .source()
            .as_mut()
            .map(|source| source.integrity())
        else {
            return;
        };
        let Integrity { maps, damages } = integrity;
        let count = maps.len();
        *self
            .shared
            .protection
            .maps
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = maps;
        self.state(count);
        if damages.is_empty() {
            return;
        }
        let left: Vec<String> = damages
            .iter()
            .filter_map(|damage| damage.left.clone())
            .collect();
        let now = Instant::now();
        self.openers
            .retain(|(at, _)| now.duration_since(*at) < SUSPECTED);
        let by = self.openers.iter().map(|(_, by)| by.clone()).collect();
        let summary = match damages.as_slice() {
            [one] => one.what.clone(),
            [one, others @ ..] => format!("{}, and {} more", one.what, others.len()),
            [] => return,
        };
        let summary = format!("what the sensor has in the kernel was changed: {summary}");
        let mut event = event(Kind::Damage, PROBE, summary, by);
        event.details = damages
            .into_iter()
            .map(|damage| damage.what)
            .chain(left.iter().cloned())
            .take(DETAILS)
            .collect();
        event.repaired = Some(left.is_empty());
        self.tell(Kind::Damage, event);
    }

    /// The files that are protected now: those of security-agent are known when it is connected.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.shared.options.protection.files.clone();
        for pid in self.shared.protection.agents() {
            // The path that it was started by; a file that was put in its place has another inode.
            if let Ok(path) = fs::read_link(format!("/proc/{pid}/exe"))
                && !path.to_string_lossy().ends_with(" (deleted)")
                && !files.contains(&path)
            {
                files.push(path);
            }
        }
        files
    }

    fn look_at_changers(&mut self) {
        let watcher = self.shared.options.protection.watcher.as_ref();
        let changers = watcher
            .map(super::FileWatcher::changers)
            .unwrap_or_default();
        if !changers.is_empty() {
            self.tell_changes(changers.into_iter());
        }
    }

    fn look_at_files(&mut self) {
        self.tell_changes(std::iter::empty());
    }

    fn tell_changes(&mut self, changers: impl DoubleEndedIterator<Item = u32>) {
        let files = self.files().into_iter();
        let changes = self.files.look(files, &self.shared.options.policies_dir);
        let Some(first) = changes.first() else {
            return;
        };
        let summary = match changes.len() {
            1 => first.clone(),
            many => format!("{first}, and {} more", many - 1),
        };
        let tree = self.shared.tree();
        let mut by: Vec<ProtectionActor> = Vec::new();
        for pid in changers
            .rev()
            .filter(|pid| *pid != self.shared.protection.own)
            .take(4)
        {
            if !by.iter().any(|known| known.pid == pid) {
                by.push(tree.get(pid).map_or_else(
                    || ProtectionActor {
                        pid,
                        ..ProtectionActor::default()
                    },
                    |process| actor(process),
                ));
            }
        }
        drop(tree);
        by.reverse();
        let mut event = event(Kind::Files, PROBE, summary, by);
        event.details = changes.into_iter().take(DETAILS).collect();
        self.tell(Kind::Files, event);
    }

    /// Tracers that no event has told of: those that were there before.
    fn look_at_tracers(&mut self) {
        let own = std::iter::once((self.shared.protection.own, PROBE));
        let agents = self.shared.protection.agents();
        let all = own.chain(agents.into_iter().map(|pid| (pid, AGENT)));
        let mut traced = Vec::new();
        for (pid, target) in all {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let tracer = field(&status, "TracerPid")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            if tracer == 0 {
                continue;
            }
            traced.push(pid);
            if self.traced.contains(&pid) {
                continue;
            }
            let by = self.shared.tree().get(tracer).map(|process| actor(process));
            let by = by.unwrap_or(ProtectionActor {
                pid: tracer,
                ..ProtectionActor::default()
            });
            let what = format!("{target} is being traced");
            self.tell(Kind::Ptrace, event(Kind::Ptrace, target, what, vec![by]));
        }
        self.traced = traced;
    }

    /// What `status` says of what is protected.
    fn state(&self, maps: usize) {
        let options = &self.shared.options.protection;
        let watcher = options.watcher.as_ref().map_or_else(
            || {
                format!(
                    "every {} s, without who changed them",
                    options.period.as_secs()
                )
            },
            |watcher| format!("at once, in {} directories", watcher.len()),
        );
        let mut state = vec![
            (
                "self_protection.files".to_owned(),
                format!("{}, {watcher}", self.files.len()),
            ),
            ("self_protection.maps".to_owned(), maps.to_string()),
        ];
        for pid in self.shared.protection.agents() {
            if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
                state.push((
                    format!("self_protection.security-agent.{pid}"),
                    privileges(&status),
                ));
            }
        }
        self.shared.protection.told().state = state;
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim)
}

/// What a process may, in the words of `/proc/PID/status`.
fn privileges(status: &str) -> String {
    let of = |name: &str| field(status, name).unwrap_or("?");
    let uid = of("Uid").split_whitespace().next().unwrap_or("?");
    let capabilities = if of("CapEff").bytes().all(|byte| byte == b'0') {
        "no capabilities".to_owned()
    } else {
        format!("capabilities {}", of("CapEff"))
    };
    let new = if of("NoNewPrivs") == "1" {
        "no new privileges"
    } else {
        "new privileges possible"
    };
    let calls = if of("Seccomp") == "2" {
        "seccomp"
    } else {
        "no seccomp"
    };
    format!("uid {uid}, {capabilities}, {new}, {calls}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_read_from_the_kernels_words() {
        let status = "Name:\tx\nUid:\t998\t998\t998\t998\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(
            privileges(status),
            "uid 998, no capabilities, no new privileges, seccomp"
        );
        let status = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        assert_eq!(
            privileges(status),
            "uid 0, capabilities 000001ffffffffff, new privileges possible, no seccomp"
        );
    }
}
