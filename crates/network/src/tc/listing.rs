//! What is attached to an interface, in the order in which the kernel runs it.

use super::{Action, Attached, Direction, ETH_P_ALL, Hook, ProgramRef};
use crate::bpf;
use crate::netlink::{Attribute, Attributes, Netlink, Reply, RequestBody};
use crate::{Error, Interface};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
/// Length of `struct tcmsg`.
const TCMSG: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_OPS: u16 = 5;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_TAG: u16 = 10;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const TCA_CLS_FLAGS_SKIP_SW: u32 = 1 << 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_GACT_PARMS: u16 = 2;
/// In place of the interface: the filter is of a shared block, whose number is in place of the parent.
const TCM_IFINDEX_MAGIC_BLOCK: u32 = u32::MAX;
/// The parents of the filters of clsact.
const TC_H_INGRESS: u32 = 0xffff_fff2;
const TC_H_EGRESS: u32 = 0xffff_fff3;

/// Lists interfaces of one namespace through one socket.
pub struct Lister {
    netlink: Netlink,
}

impl Lister {
    /// For the calling thread's namespace; [`list`](Self::list) must be called in it, too.
    pub fn open() -> Result<Self, Error> {
        Netlink::open().map(|netlink| Self { netlink })
    }

    /// The interfaces.
    pub fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        crate::interface::interfaces_of(&mut self.netlink)
    }

    /// All that is attached to an interface: ingress first, each direction in the order in which the kernel runs it.
    pub fn list(&mut self, interface: &Interface) -> Result<Vec<Attached>, Error> {
        let mut filters = [
            self.filters(interface, Direction::Ingress)?,
            self.filters(interface, Direction::Egress)?,
        ];
        // The `ingress` qdisc, which clsact replaced, answers for egress with the filters of ingress, its only ones.
        if !filters[1].is_empty() && same(&filters) && !self.has_egress(interface)? {
            filters[1].clear();
        }
        let mut all = Vec::new();
        for (direction, filters) in Direction::ALL.into_iter().zip(filters) {
            let from = all.len();
            all.extend(tcx(interface, direction)?);
            all.extend(filters);
            for (position, attached) in all[from..].iter_mut().enumerate() {
                attached.position = position;
            }
        }
        Ok(all)
    }

    /// Whether an interface's filters are in a `clsact` qdisc.
    fn has_egress(&mut self, interface: &Interface) -> Result<bool, Error> {
        // A single qdisc could be asked for, but the answer would go to all who listen for changes.
        let replies = self
            .netlink
            .dump(RTM_GETQDISC, &[0; TCMSG], "listing qdiscs")?;
        Ok(replies.iter().any(|reply| {
            let index = reply
                .body
                .get(4..8)
                .map(|bytes| bytes == interface.index.to_ne_bytes());
            let kind = Attributes::after(&reply.body, TCMSG).get(TCA_KIND);
            reply.kind == RTM_NEWQDISC
                && index == Some(true)
                && kind.is_some_and(|kind| kind.text() == "clsact")
        }))
    }

    /// The filters of a direction. The kernel lists chains, in a chain by priority, and of one priority in the order that it runs them.
    fn filters(
        &mut self,
        interface: &Interface,
        direction: Direction,
    ) -> Result<Vec<Attached>, Error> {
        let parent = match direction {
            Direction::Ingress => TC_H_INGRESS,
            Direction::Egress => TC_H_EGRESS,
        };
        let what = format!("the {direction} filters of {}", interface.name);
        let request = RequestBody::new(&tcmsg(interface, parent));
        let replies = self.netlink.dump(RTM_GETTFILTER, request.bytes(), &what)?;
        let mut filters: Vec<Attached> = replies
            .iter()
            .filter_map(|reply| filter(reply, direction))
            .collect();
        for program in filters
            .iter_mut()
            .filter_map(|filter| filter.program.as_mut())
        {
            name(program);
        }
        // Stable, so that the kernel's order within a chain stays.
        filters.sort_by_key(|filter| filter.chain);
        Ok(filters)
    }
}

/// Whether ingress and egress have the same filters.
fn same([ingress, egress]: &[Vec<Attached>; 2]) -> bool {
    let key = |one: &Attached| {
        (
            one.priority,
            one.handle,
            one.chain,
            one.program.as_ref().map(|program| program.id),
        )
    };
    ingress.iter().map(key).eq(egress.iter().map(key))
}

/// All that is attached to an interface of the calling thread's namespace; see [`Lister::list`].
pub fn list(interface: &Interface) -> Result<Vec<Attached>, Error> {
    Lister::open()?.list(interface)
}

/// `struct tcmsg` of a request.
fn tcmsg(interface: &Interface, parent: u32) -> [u8; TCMSG] {
    let mut message = [0; TCMSG];
    message[4..8].copy_from_slice(&interface.index.to_ne_bytes());
    message[12..16].copy_from_slice(&parent.to_ne_bytes());
    message
}

/// The programs of tcx; none on a kernel that has no tcx.
fn tcx(interface: &Interface, direction: Direction) -> Result<Vec<Attached>, Error> {
    let programs = match bpf::tcx_programs(interface.index, direction) {
        Ok(programs) => programs,
        Err(error) if error.errno() == Some(nix::Error::EINVAL) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let attached = |(id, link_id)| {
        let mut program = ProgramRef {
            id,
            tag: [0; 8],
            name: String::new(),
            direct_action: true,
        };
        name(&mut program);
        Attached {
            hook: Hook::Tcx,
            direction,
            position: 0,
            priority: 0,
            handle: 0,
            protocol: ETH_P_ALL,
            chain: 0,
            program: Some(program),
            link_id,
            kind: "bpf".into(),
            filter_name: None,
            actions: Vec::new(),
            offloaded_only: false,
            shared_block: None,
        }
    };
    Ok(programs.into_iter().map(attached).collect())
}

/// The name and tag that the kernel has of a program. One that is gone meanwhile, or that may not be opened, keeps what the list said.
fn name(program: &mut ProgramRef) {
    match bpf::Program::open(program.id).and_then(|opened| opened.info()) {
        Ok(info) => {
            program.tag = info.tag;
            program.name = info.name;
        }
        Err(error) => tracing::debug!(id = program.id, %error, "a classifier stays without name"),
    }
}

/// Reads `RTM_NEWTFILTER`. None of what is no filter, as what introduces the filters of a priority.
fn filter(reply: &Reply, direction: Direction) -> Option<Attached> {
    if reply.kind != RTM_NEWTFILTER {
        return None;
    }
    let fixed: &[u8; TCMSG] = reply.body.first_chunk()?;
    let word = |at: usize| Some(u32::from_ne_bytes(*fixed.get(at..)?.first_chunk()?));
    let (handle, info) = (word(8)?, word(16)?);
    let attributes = Attributes::after(&reply.body, TCMSG);
    let options = attributes.get(TCA_OPTIONS)?;
    let kind = attributes.get(TCA_KIND)?.text();
    // The hash tables of u32 are listed as its filters are.
    if kind == "u32" && handle & 0xfff == 0 {
        return None;
    }
    let (actions, flags) = numbers(&kind);
    let flags = flags.and_then(|number| options.nested().get(number));
    let flags = flags.and_then(|flags| flags.u32()).unwrap_or_default();
    Some(Attached {
        hook: Hook::Clsact,
        direction,
        position: 0,
        priority: (info >> 16) as u16,
        handle,
        protocol: u16::from_be(info as u16),
        chain: attributes
            .get(TCA_CHAIN)
            .and_then(|chain| chain.u32())
            .unwrap_or_default(),
        program: (kind == "bpf").then(|| program(options)).flatten(),
        link_id: None,
        filter_name: (kind == "bpf")
            .then(|| options.nested().get(TCA_BPF_NAME))
            .flatten()
            .map(|name| name.text()),
        actions: actions
            .and_then(|number| options.nested().get(number))
            .map(|list| list.nested().map(action).collect())
            .unwrap_or_default(),
        kind,
        offloaded_only: flags & TCA_CLS_FLAGS_SKIP_SW != 0,
        shared_block: (word(4)? == TCM_IFINDEX_MAGIC_BLOCK).then_some(word(12)?),
    })
}

/// The program of a `bpf` filter; None of classic BPF.
fn program(options: Attribute<'_>) -> Option<ProgramRef> {
    let options = options.nested();
    if options.get(TCA_BPF_OPS).is_some() {
        return None;
    }
    let flags = options.get(TCA_BPF_FLAGS).and_then(|flags| flags.u32());
    Some(ProgramRef {
        id: options.get(TCA_BPF_ID)?.u32()?,
        tag: options.get(TCA_BPF_TAG)?.value.try_into().ok()?,
        name: String::new(),
        direct_action: flags.unwrap_or_default() & TCA_BPF_FLAG_ACT_DIRECT != 0,
    })
}

/// The numbers of the attributes that hold a kind's actions and its flags (`TCA_CLS_FLAGS_…`).
fn numbers(kind: &str) -> (Option<u16>, Option<u16>) {
    match kind {
        "bpf" => (Some(1), Some(9)),
        "matchall" => (Some(2), Some(3)),
        "flower" => (Some(3), Some(22)),
        "u32" => (Some(7), Some(11)),
        "basic" => (Some(3), None),
        "fw" => (Some(4), None),
        _ => (None, None),
    }
}

/// One action of a filter.
fn action(attribute: Attribute<'_>) -> Action {
    let parts = attribute.nested();
    let kind = parts
        .get(TCA_ACT_KIND)
        .map(|kind| kind.text())
        .unwrap_or_default();
    let control = (kind == "gact")
        .then(|| parts.get(TCA_ACT_OPTIONS))
        .flatten()
        .and_then(|options| options.nested().get(TCA_GACT_PARMS))
        // `tc_gen`: index, capabilities, then the verdict.
        .and_then(|parameters| parameters.value.get(8..)?.first_chunk().copied())
        .map(i32::from_ne_bytes);
    Action { kind, control }
}
