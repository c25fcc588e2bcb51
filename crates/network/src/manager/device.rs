//! One interface: what of ours is on its two sides, and how it comes to be what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::netlink::Netlink;
use crate::tc::filter::{self, Address, Deleted, Discipline};
use crate::tc::link::{ProgramId, TcxLink};
use crate::tc::{Direction, Hook};
use crate::{Error, Interface, bpf, tc};

use super::Settings;

/// The first wait after a failure, which doubles with each …
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// … up to this.
const RETRY_LAST: Duration = Duration::from_secs(60);
/// Who takes ours away sooner than so long after it was attached does it because it was attached: that is no place to fight over.
const QUARREL: Duration = Duration::from_secs(10);

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) fd: OwnedFd,
    pub(crate) id: ProgramId,
}

/// The programs that are wanted, one a side.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) ingress: Option<Program>,
    pub(crate) egress: Option<Program>,
}

impl Wanted {
    /// Whether anything is wanted at all.
    pub(crate) fn is_some(&self) -> bool {
        self.ingress.is_some() || self.egress.is_some()
    }

    pub(crate) fn of(&self, direction: Direction) -> Option<&Program> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

/// A link with what it holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) link: TcxLink,
    pub(crate) direction: Direction,
    pub(crate) program: u32,
}

/// All links, by their numbers. They are not kept with their interfaces, because a link follows its interface into another namespace.
pub(crate) type Links = BTreeMap<u32, Held>;

/// What of ours is on a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    Link(u32),
    Filter { address: Address, program: u32 },
}

/// One side of an interface.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) attachment: Option<Attachment>,
    pub(crate) error: Option<String>,
    failures: u32,
    attached_at: Option<Instant>,
    not_before: Option<Instant>,
    /// Ours was there and is not; counted when it is attached again, because the interface may just be going.
    was_taken: bool,
}

impl Side {
    fn failed(&mut self, error: String, now: Instant) {
        self.error = Some(error);
        self.put_off(now);
    }

    /// Not to be tried again at once.
    pub(crate) fn put_off(&mut self, now: Instant) {
        let wait = RETRY_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(RETRY_LAST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + wait);
    }

    /// Returns whether it was there before and had been taken away.
    fn attached(&mut self, attachment: Attachment, now: Instant) -> bool {
        self.attachment = Some(attachment);
        self.attached_at = Some(now);
        self.error = None;
        self.not_before = None;
        std::mem::take(&mut self.was_taken)
    }

    /// Ours is gone from where it was.
    fn taken_away(&mut self, now: Instant) {
        self.attachment = None;
        self.was_taken = true;
        let is_quarrel = self
            .attached_at
            .is_some_and(|at| now.duration_since(at) < QUARREL);
        if is_quarrel {
            self.error = Some("somebody takes our program away each time it is attached".into());
            self.put_off(now);
        } else {
            self.failures = 0;
        }
    }

    /// When it is to be tried again, if it is to be.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.not_before
    }
}

/// One interface.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub(crate) name: String,
    /// Whether it makes its namespace worth watching.
    pub(crate) counts: bool,
    pub(crate) ingress: Side,
    pub(crate) egress: Side,
}

impl Device {
    pub(crate) fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    pub(crate) fn sides_mut(&mut self) -> [(Direction, &mut Side); 2] {
        [
            (Direction::Ingress, &mut self.ingress),
            (Direction::Egress, &mut self.egress),
        ]
    }

    pub(crate) fn sides(&self) -> [(Direction, &Side); 2] {
        [
            (Direction::Ingress, &self.ingress),
            (Direction::Egress, &self.egress),
        ]
    }

    /// Whether a side has what is wanted there, as far as is known.
    pub(crate) fn is_settled(&self, wanted: &Wanted) -> bool {
        let has = |(direction, side): (Direction, &Side)| {
            side.attachment.is_some() == wanted.of(direction).is_some()
        };
        self.sides().into_iter().all(has)
    }
}

/// What is needed to work on the interfaces of the namespace that the calling thread is in.
pub(crate) struct Visit<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) hook: Hook,
    pub(crate) wanted: &'a Wanted,
    /// Every program of ours, also those that are wanted no more.
    pub(crate) ours: &'a BTreeSet<u32>,
    /// Programs in filters that an earlier start has left.
    pub(crate) former: &'a BTreeSet<u32>,
    pub(crate) links: &'a mut Links,
    pub(crate) taken_away: &'a mut u64,
}

impl Visit<'_> {
    /// Makes both sides have what is wanted there, and nothing else of ours.
    pub(crate) fn settle(&mut self, netlink: &mut Netlink, index: u32, device: &mut Device) {
        for direction in Direction::ALL {
            let side = device.side(direction);
            if let Err(error) = self.settle_side(netlink, index, direction, side) {
                if error.is_gone() {
                    // The news of it is on its way.
                    side.put_off(Instant::now());
                } else {
                    side.failed(error.to_string(), Instant::now());
                }
            }
        }
    }

    fn settle_side(
        &mut self,
        netlink: &mut Netlink,
        index: u32,
        direction: Direction,
        side: &mut Side,
    ) -> Result<(), Error> {
        self.verify(netlink, index, side)?;
        let wanted = self.wanted.of(direction);
        match (side.attachment, wanted) {
            (None, None) => {
                side.error = None;
                side.not_before = None;
                Ok(())
            }
            (Some(attachment), None) => {
                self.detach(netlink, attachment)?;
                *side = Side::default();
                Ok(())
            }
            (Some(Attachment::Link(id)), Some(program)) => match self.links.get_mut(&id) {
                Some(held) if held.program != program.id.id => {
                    held.link.replace(program.fd.as_fd())?;
                    held.program = program.id.id;
                    Ok(())
                }
                _ => Ok(()),
            },
            (Some(old @ Attachment::Filter { program: id, .. }), Some(program)) => {
                if id == program.id.id {
                    return Ok(());
                }
                // With a handle of the kernel's choice the new one goes beside the old one, and no packet passes unseen.
                if self.settings.handle == 0 {
                    let new = self.attach(netlink, program, index, direction)?;
                    side.attached(new, Instant::now());
                    self.detach(netlink, old)
                } else {
                    self.detach(netlink, old)?;
                    side.attachment = None;
                    let new = self.attach(netlink, program, index, direction)?;
                    side.attached(new, Instant::now());
                    Ok(())
                }
            }
            (None, Some(program)) => {
                let now = Instant::now();
                if side.not_before.is_some_and(|at| now < at) {
                    return Ok(());
                }
                let new = self.attach(netlink, program, index, direction)?;
                *self.taken_away += u64::from(side.attached(new, now));
                Ok(())
            }
        }
    }

    /// Forgets an attachment that is there no more.
    fn verify(&mut self, netlink: &mut Netlink, index: u32, side: &mut Side) -> Result<(), Error> {
        let is_there = match side.attachment {
            None => return Ok(()),
            Some(Attachment::Link(id)) => {
                let at = self.links.get(&id).and_then(|held| held.link.interface());
                if at.is_none() {
                    self.links.remove(&id);
                }
                at == Some(index)
            }
            Some(Attachment::Filter { address, program }) => {
                filter::program_at(netlink, address)? == Some(program)
            }
        };
        if !is_there {
            side.taken_away(Instant::now());
        }
        Ok(())
    }

    fn attach(
        &mut self,
        netlink: &mut Netlink,
        program: &Program,
        index: u32,
        direction: Direction,
    ) -> Result<Attachment, Error> {
        match self.hook {
            Hook::Tcx => self.attach_link(program, index, direction),
            Hook::Clsact => self.attach_filter(netlink, program, index, direction),
        }
    }

    fn attach_link(
        &mut self,
        program: &Program,
        index: u32,
        direction: Direction,
    ) -> Result<Attachment, Error> {
        let link = match TcxLink::attach(program.fd.as_fd(), index, direction) {
            Ok(link) => link,
            // It has come with the interface from another namespace.
            Err(error) if filter::has_code(&error, nix::Error::EEXIST) => {
                let held = |(_, held): &(&u32, &Held)| {
                    held.direction == direction && held.program == program.id.id
                };
                let there = bpf::tcx_programs(index, direction)?;
                let mut known = self.links.iter().filter(held).map(|(id, _)| *id);
                let found = known.find(|id| there.iter().any(|(_, link)| *link == Some(*id)));
                return found.map(Attachment::Link).ok_or(error);
            }
            Err(error) => return Err(error),
        };
        let id = link.id();
        let held = Held {
            link,
            direction,
            program: program.id.id,
        };
        self.links.insert(id, held);
        Ok(Attachment::Link(id))
    }

    fn attach_filter(
        &mut self,
        netlink: &mut Netlink,
        program: &Program,
        index: u32,
        direction: Direction,
    ) -> Result<Attachment, Error> {
        if let Discipline::Other(kind) = filter::ensure_clsact(netlink, index)?
            && direction == Direction::Egress
        {
            return Err(Error::Occupied { kind });
        }
        let wanted = Address {
            index,
            direction,
            priority: self.settings.priority,
            handle: self.settings.handle,
        };
        let name = match direction {
            Direction::Ingress => "atalaya_ingress",
            Direction::Egress => "atalaya_egress",
        };
        let address = filter::add(netlink, program.fd.as_fd(), name, wanted)?;
        Ok(Attachment::Filter {
            address,
            program: program.id.id,
        })
    }

    fn detach(&mut self, netlink: &mut Netlink, attachment: Attachment) -> Result<(), Error> {
        match attachment {
            Attachment::Link(id) => {
                self.links.remove(&id);
                Ok(())
            }
            Attachment::Filter { address, .. } => {
                let deleted = filter::delete(netlink, address, |id| self.ours.contains(&id))?;
                if let Deleted::NotOurs(id) = deleted {
                    tracing::info!(
                        index = address.index,
                        priority = address.priority,
                        handle = address.handle,
                        program = id,
                        "another program is where a filter of ours was; it is left alone"
                    );
                }
                Ok(())
            }
        }
    }

    /// Deletes filters that an earlier start has left.
    pub(crate) fn clean(&self, netlink: &mut Netlink, interface: &Interface) -> Result<(), Error> {
        if self.former.is_empty() {
            return Ok(());
        }
        for attached in tc::list(interface)? {
            let Some(program) = &attached.program else {
                continue;
            };
            if attached.hook != Hook::Clsact || !self.former.contains(&program.id) {
                continue;
            }
            let address = Address {
                index: interface.index,
                direction: attached.direction,
                priority: attached.priority,
                handle: attached.handle,
            };
            filter::delete(netlink, address, |id| self.former.contains(&id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod tests {
    use super::*;

    #[test]
    fn who_takes_ours_away_at_once_is_not_fought() {
        let mut side = Side::default();
        let start = Instant::now();
        let filter = Attachment::Link(1);
        let mut waits = Vec::new();
        for _ in 0..12 {
            side.attached(filter, start);
            side.taken_away(start);
            waits.push(side.due().unwrap() - start);
        }
        assert_eq!(waits[0], RETRY_FIRST);
        assert!(waits.is_sorted());
        assert_eq!(waits[11], RETRY_LAST);
        // Long after: that had nothing to do with us, and ours returns at once.
        side.attached(filter, start);
        side.taken_away(start + QUARREL);
        assert_eq!(side.due(), None);
    }
}
