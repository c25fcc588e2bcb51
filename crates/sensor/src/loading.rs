//! Loading programs: which belong to the tier, which the kernel takes, and what is missed without the others.

use std::os::fd::AsFd;

use atalaya_model::capture::CaptureKind;
use libbpf_rs::{MapCore, Object};

use crate::error::Error;
use crate::kernel_types::ObjectTypes;
use crate::log;
use crate::object::ObjectChoice;
use crate::packets;
use crate::programs::{Call, Part, Place, Program, is_replaced};
use crate::tier::{Choice, Tier};

/// A hook that this kernel does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingHook {
    /// The kernel function or tracepoint.
    pub hook: &'static str,
    /// Why it is missing.
    pub reason: String,
    /// The kinds that are seen less well without it, or not at all.
    pub kinds: Vec<CaptureKind>,
    /// Whether those kinds are not seen at all.
    pub fatal: bool,
}

pub(crate) fn belongs(place: Place, choice: &Choice) -> bool {
    match place {
        Place::Always => true,
        Place::In(tier) => tier == choice.tier,
        Place::SecurityFentry => choice.tier == Tier::Lsm && !choice.bpf_lsm,
        Place::SecurityLsm => choice.tier == Tier::Lsm && choice.bpf_lsm,
    }
}

/// Notes that the kernel does not take a program, where no other plays its part.
pub(crate) fn refuse(
    missing: &mut Vec<MissingHook>,
    program: &Program,
    there: &[&Program],
    reason: String,
) {
    if is_replaced(program, there) {
        return;
    }
    miss(missing, program, reason);
    // What sees the end of the call tells it all the same, if less well.
    let ends = |other: &&Program| other.part == Part::End && other.kinds == program.kinds;
    if let Some(missed) = missing.last_mut()
        && program.part == Part::Object
        && there.iter().any(ends)
    {
        missed.fatal = false;
    }
}

impl MissingHook {
    /// Programs of several events share the hooks on all system calls.
    pub(crate) fn is_of(&self, program: &Program) -> bool {
        self.hook == program.needs.hook() && self.kinds == program.kinds
    }
}

pub(crate) fn miss(missing: &mut Vec<MissingHook>, program: &Program, reason: String) {
    if !missing.iter().any(|m| m.is_of(program)) {
        missing.push(MissingHook {
            hook: program.needs.hook(),
            reason,
            kinds: program.kinds.clone(),
            fatal: !program.optional,
        });
    }
}

/// Whether the process tree is made of it: loaded and attached always.
pub(crate) fn is_life(program: &Program) -> bool {
    program.kinds.iter().any(|kind| kind.is_life_cycle())
}

/// Whether nothing but rules about packets needs it.
pub(crate) fn of_packets_only(program: &&'static Program) -> bool {
    program.kinds.iter().all(|kind| kind.is_of_packets())
}

/// Loads programs together. One that the verifier of this kernel refuses must not take the others along: it is noted, and taken out of those
/// that are here. `None` when nothing is left.
pub(crate) fn load_those(
    programs: &[&'static Program],
    here: &mut Vec<&'static Program>,
    missing: &mut Vec<MissingHook>,
    load: impl Fn(&[&'static Program]) -> Result<Object, String>,
) -> Result<Option<(Object, Vec<&'static Program>)>, Error> {
    let mut wanted = programs.to_vec();
    while !wanted.is_empty() {
        let error = match load(&wanted) {
            Ok(object) => return Ok(Some((object, wanted))),
            Err(error) => error,
        };
        let refused = log::refused();
        let at = wanted
            .iter()
            .position(|program| refused.as_deref() == Some(program.name));
        let Some(program) = at.map(|at| wanted.remove(at)) else {
            return Err(Error::Load(error));
        };
        tracing::debug!(program = program.name, %error, "the kernel refuses a program");
        here.retain(|other| other.name != program.name);
        refuse(
            missing,
            program,
            here,
            format!("the kernel refuses it: {error}"),
        );
    }
    Ok(None)
}

/// Loads programs; with the maps of another object, where one is given.
pub(crate) fn load(
    programs: &[&Program],
    which: &ObjectChoice,
    types: &ObjectTypes,
    ring_bytes: [u32; 2],
    shared: Option<&Object>,
) -> Result<Object, String> {
    let mut open = which.open(types, ring_bytes)?;
    for mut program in open.progs_mut() {
        let wanted = programs.iter().any(|p| program.name() == p.name);
        program.set_autoload(wanted);
    }
    let packets = programs.iter().any(|p| p.call == Call::Classifier);
    for mut map in open.maps_mut() {
        let name = map.name().to_owned();
        // They are large, and needed by programs that are loaded together.
        if name.to_str().is_some_and(packets::is_of_packets) {
            map.set_autocreate(packets)
                .map_err(|error| error.to_string())?;
            continue;
        }
        // Constants are the same in each object, and each has its own.
        let mut theirs = shared.into_iter().flat_map(|object| object.maps());
        let theirs = theirs.find(|theirs| theirs.name() == name);
        if let Some(theirs) = theirs.filter(|_| !name.as_encoded_bytes().starts_with(b".")) {
            map.reuse_fd(theirs.as_fd())
                .map_err(|error| error.to_string())?;
        }
    }
    log::clear();
    open.load().map_err(|error| log::explain(&error))
}

#[cfg(test)]
mod tests {
    use crate::programs::PROGRAMS;

    use super::*;

    /// The second of two events that were refused on the same hook was taken for one that is seen.
    #[test]
    fn each_event_that_is_refused_on_a_shared_hook_is_missed() {
        let mut missing = Vec::new();
        let shared = |p: &&Program| p.name.ends_with("__exit") && p.needs.hook() == "sys_exit";
        let programs: Vec<&Program> = PROGRAMS.iter().filter(shared).take(2).collect();
        for program in programs.iter().chain(&programs) {
            miss(&mut missing, program, "refused".into());
        }
        assert_eq!(missing.len(), 2);
    }
}
