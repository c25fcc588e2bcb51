//! Loading, attaching and letting go of programs.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use atalaya_model::capture::{Approvers, CaptureKind};

use super::Sensor;
use crate::error::Error;
use crate::facilities;
use crate::loading::{MissingHook, is_life, load, load_those, miss, of_packets_only};
use crate::programs::{Call, PROGRAMS, Program};
impl Sensor {
    /// Loads what is needed and not loaded yet, on the maps that are there.
    fn load_more(&mut self, needed: impl Fn(&Program) -> bool) {
        let new = self.here.iter().copied();
        let new: Vec<_> = new
            .filter(|p| needed(p) && !self.loaded.contains(p.name))
            .collect();
        // An object is let go of as a whole: what packets need has one of its own, or the classifiers would stay for as long as anything
        // is needed that was loaded with them.
        let (of_packets, others): (Vec<_>, Vec<_>) = new.into_iter().partition(of_packets_only);
        for group in [of_packets, others] {
            self.load_together(group);
        }
    }

    /// Loads these programs as one further object.
    fn load_together(&mut self, new: Vec<&'static Program>) {
        if new.is_empty() {
            return;
        }
        // Tried again, so not missed for what was the reason before.
        let is_tried = |m: &MissingHook| new.iter().any(|program| m.is_of(program));
        self.missing.retain(|m| !is_tried(m));
        let (which, ring_bytes, shared) = (&self.which, self.ring_bytes, &self.object);
        let types = &self.types;
        let loaded = load_those(&new, &mut self.here, &mut self.missing, |programs| {
            load(programs, which, types, ring_bytes, Some(shared))
        });
        match loaded {
            Ok(Some((object, programs))) => {
                self.loaded.extend(programs.iter().map(|p| p.name));
                self.more.push((object, programs));
            }
            Ok(None) => {}
            // What the rest of the rules is about goes on without them.
            Err(error) => {
                for program in new {
                    miss(&mut self.missing, program, error.to_string());
                }
            }
        }
    }

    /// Lets go of what was loaded for rules that are gone.
    fn unload(&mut self, needed: impl Fn(&Program) -> bool) {
        let loaded = &mut self.loaded;
        self.more.retain(|(_, programs)| {
            let keep = programs.iter().any(|p| needed(p));
            if !keep {
                for program in programs {
                    loaded.remove(program.name);
                }
            }
            keep
        });
    }

    /// Puts a program where the one on all system calls finds it, or takes it away.
    fn let_jump(&self, program: &Program, map: &str, needed: bool) -> Result<(), Error> {
        let mut more = self.more.iter();
        let more = more.find(|(_, programs)| programs.iter().any(|p| p.name == program.name));
        let mut found = more.into_iter().flat_map(|(object, _)| object.progs());
        let Some(loaded) = found.find(|p| p.name() == program.name) else {
            return Ok(());
        };
        let fd = loaded.as_fd().as_raw_fd().to_ne_bytes();
        for kind in &program.kinds {
            let key = (*kind as u32).to_ne_bytes();
            if needed {
                self.update(map, &key, &fd)?;
            } else {
                self.delete(map, &key);
            }
        }
        Ok(())
    }

    /// Attaches the programs that the wanted kinds need, and detaches the others.
    pub(crate) fn attach(
        &mut self,
        approvers: &BTreeMap<CaptureKind, Approvers>,
    ) -> Result<BTreeMap<CaptureKind, String>, Error> {
        let needed = |program: &Program| {
            is_life(program)
                || program
                    .kinds
                    .iter()
                    .any(|kind| approvers.contains_key(kind))
        };
        self.load_more(needed);
        let mut unavailable = BTreeMap::new();
        let mut jumps = Vec::new();
        for program in PROGRAMS.iter().filter(|p| self.loaded.contains(p.name)) {
            match program.call {
                Call::From(map) => {
                    self.let_jump(program, map, needed(program))?;
                    jumps.push((program, map, needed(program)));
                    continue;
                }
                // Attached elsewhere, or jumped to for as long as they are loaded.
                Call::Classifier | Call::After(..) => continue,
                Call::Attached | Call::OfCgroups => {}
            }
            if !needed(program) {
                self.links.remove(program.name);
                continue;
            }
            if self.links.contains_key(program.name) {
                continue;
            }
            let mut more = self.more.iter_mut();
            let more = more.find(|(_, programs)| programs.iter().any(|p| p.name == program.name));
            let object = more.map_or(&mut self.object, |(object, _)| object);
            let mut found = object.progs_mut();
            let Some(p) = found.find(|p| p.name() == program.name) else {
                continue;
            };
            let attached = match program.call {
                Call::OfCgroups => facilities::cgroup_root()
                    .map_err(|error| error.to_string())
                    .and_then(|root| {
                        p.attach_cgroup(root.as_raw_fd())
                            .map_err(|error| error.to_string())
                    }),
                _ => p.attach().map_err(|error| error.to_string()),
            };
            match attached {
                Ok(link) => {
                    self.written.note_link(program.name, &link);
                    self.links.insert(program.name, link);
                }
                Err(error) => miss(
                    &mut self.missing,
                    program,
                    format!("it does not attach: {error}"),
                ),
            }
        }
        for (program, map, needed) in jumps {
            self.note_jumps(program, map, needed);
        }
        self.unload(needed);
        for missing in self.missing.iter().filter(|m| m.fatal) {
            for kind in missing
                .kinds
                .iter()
                .filter(|kind| approvers.contains_key(kind))
            {
                unavailable.insert(
                    *kind,
                    format!("{} is missing: {}", missing.hook, missing.reason),
                );
            }
        }
        Ok(unavailable)
    }
}
