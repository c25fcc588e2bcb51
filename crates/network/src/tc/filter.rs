//! Filters of clsact: our programs on kernels before 6.6.
//!
//! A filter belongs to nobody. Whoever says its priority and handle replaces or deletes it, and this is how agents have cut pods off:
//! one found its own filter gone, "cleaned up" what was in its place, and deleted the network's. So here a filter is created
//! exclusively, never replaced, and deleted only by its full address right after the kernel has said that its program is one of ours. A
//! queueing discipline is never deleted at all: there is no "delete if empty", and between a look and a deletion another vendor can put
//! its filter there. An empty one stays, costs nothing, and goes with its interface.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};

use super::Direction;
use crate::Error;
use crate::netlink::{Attributes, Netlink, RequestBody};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is the verdict.
const DIRECT_ACTION: u32 = 1;
/// `TC_H_CLSACT`, where the discipline is; its own handle is `ffff:`.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `struct tcmsg`
const TCMSG: usize = 20;
/// `ETH_P_ALL`, in network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// Where a filter of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface, in the calling thread's namespace.
    pub index: u32,
    /// Its side.
    pub direction: Direction,
    /// The priority, also called preference: the kernel runs lower numbers first.
    pub priority: u16,
    /// The handle within the priority.
    pub handle: u32,
}

impl Address {
    fn message(&self) -> Vec<u8> {
        let parent = match self.direction {
            Direction::Ingress => 0xffff_fff2,
            Direction::Egress => 0xffff_fff3,
        };
        let info = u32::from(self.priority) << 16 | u32::from(ALL_PROTOCOLS);
        tcmsg(self.index, self.handle, parent, info)
    }
}

fn tcmsg(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4]; // family and padding
    for number in [index, handle, parent, info] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes
}

/// What is at the place of clsact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discipline {
    /// Clsact, that was made just now or was there.
    Clsact,
    /// Another one, as the older `ingress`. The kernel would take a filter for its egress and run it on ingress.
    Other(String),
}

/// Makes the interface have a clsact, if its place is free.
pub fn ensure_clsact(netlink: &mut Netlink, index: u32) -> Result<Discipline, Error> {
    let body = RequestBody::new(&tcmsg(index, CLSACT_HANDLE, CLSACT, 0)).text(TCA_KIND, "clsact");
    let what = "making a clsact";
    match netlink.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body.bytes(), what) {
        Ok(_) => return Ok(Discipline::Clsact),
        Err(error) if has_code(&error, nix::Error::EEXIST) => {}
        Err(error) => return Err(error),
    }
    // A list of all interfaces: the kernel has no other.
    let all = netlink.dump(RTM_GETQDISC, &tcmsg(index, 0, 0, 0), "listing disciplines")?;
    let number = |body: &[u8], at: usize| {
        let bytes = body.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let is_it = |body: &[u8]| number(body, 4) == Some(index) && number(body, 12) == Some(CLSACT);
    let found = all.iter().find(|reply| is_it(&reply.body));
    let kind = found.and_then(|reply| Attributes::after(&reply.body, TCMSG).get(TCA_KIND));
    match kind.map(|kind| kind.text()) {
        Some(kind) if kind != "clsact" => Ok(Discipline::Other(kind)),
        Some(_) => Ok(Discipline::Clsact),
        // Deleted since.
        None => Err(Error::Netlink {
            what: what.into(),
            source: io::Error::from_raw_os_error(nix::Error::EAGAIN as i32),
        }),
    }
}

/// Adds a filter that nothing is replaced by. Handle 0 leaves the choice to the kernel. Returns where it is.
pub fn add(
    netlink: &mut Netlink,
    program: BorrowedFd<'_>,
    name: &str,
    wanted: Address,
) -> Result<Address, Error> {
    let options = RequestBody::default()
        .attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes())
        .text(TCA_BPF_NAME, name)
        .attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    let body = RequestBody::new(&wanted.message())
        .text(TCA_KIND, "bpf")
        .attribute(TCA_OPTIONS, options.bytes());
    let what = format!(
        "adding a filter of priority {} to the {} of interface {}",
        wanted.priority, wanted.direction, wanted.index
    );
    // The echo tells which handle, and which priority if that was 0, the kernel has chosen.
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
    let replies = netlink.request(RTM_NEWTFILTER, flags, body.bytes(), &what)?;
    let echoed = replies.iter().find(|reply| reply.kind == RTM_NEWTFILTER);
    let chosen = echoed.and_then(|reply| {
        let number = |at: usize| Some(u32::from_ne_bytes(*reply.body.get(at..)?.first_chunk()?));
        Some((number(8)?, (number(16)? >> 16) as u16))
    });
    let Some((handle, priority)) = chosen else {
        return Err(Error::Malformed { what });
    };
    Ok(Address {
        handle,
        priority,
        ..wanted
    })
}

/// The number of the program of the filter at this address; `None`: there is none.
pub fn program_at(netlink: &mut Netlink, address: Address) -> Result<Option<u32>, Error> {
    // Without the kind the kernel does not find the filter.
    let body = RequestBody::new(&address.message()).text(TCA_KIND, "bpf");
    match netlink.request(RTM_GETTFILTER, 0, body.bytes(), "looking at a filter") {
        Ok(replies) => Ok(replies.first().and_then(|reply| {
            let options = Attributes::after(&reply.body, TCMSG).get(TCA_OPTIONS)?;
            options.nested().get(TCA_BPF_ID)?.u32()
        })),
        // EINVAL: no discipline any more, or another kind of filter has the priority.
        Err(error) if error.is_gone() || has_code(&error, nix::Error::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What became of a filter that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// The filter there has another vendor's program, and was left alone.
    NotOurs(u32),
}

/// Deletes a filter if its program is one of `ours`.
pub fn delete(
    netlink: &mut Netlink,
    address: Address,
    ours: impl Fn(u32) -> bool,
) -> Result<Deleted, Error> {
    // Handle 0 would mean all filters of the priority, whosesoever.
    if address.handle == 0 || address.priority == 0 {
        return Ok(Deleted::Gone);
    }
    match program_at(netlink, address)? {
        None => return Ok(Deleted::Gone),
        Some(id) if !ours(id) => return Ok(Deleted::NotOurs(id)),
        Some(_) => {}
    }
    let body = RequestBody::new(&address.message()).text(TCA_KIND, "bpf");
    match netlink.request(RTM_DELTFILTER, 0, body.bytes(), "deleting a filter of ours") {
        Ok(_) => Ok(Deleted::Gone),
        Err(error) if error.is_gone() || has_code(&error, nix::Error::EINVAL) => Ok(Deleted::Gone),
        Err(error) => Err(error),
    }
}

/// Whether the kernel refused with this error.
pub(crate) fn has_code(error: &Error, code: nix::Error) -> bool {
    error.io().and_then(io::Error::raw_os_error) == Some(code as i32)
}
