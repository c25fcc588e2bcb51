//! The namespaces that are watched, and the numbers by which the kernel tells of them.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_EXCL;

use crate::Error;
use crate::netlink::{Attributes, Netlink, RequestBody};
use crate::netns::NetNs;
use crate::tc::filter::has_code;

use super::device::Device;

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// `struct rtgenmsg` with its padding.
const RTGENMSG: usize = 4;
/// So many processes are remembered as ways into a namespace.
const TASKS: usize = 8;

/// How the kernel calls a namespace when it tells of it: our own has no number.
pub(crate) type Key = Option<i32>;

/// A namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) inum: u32,
    /// Processes and threads that were in it, the last one seen last.
    pub(crate) tasks: Vec<u32>,
    pub(crate) devices: BTreeMap<u32, Device>,
    /// Since when it has had neither a process nor an interface that counts.
    pub(crate) lonely_since: Option<Instant>,
    /// Nothing is attached, because it is lonely.
    pub(crate) lonely: bool,
    /// It could not be entered, and why.
    pub(crate) error: Option<String>,
}

impl Namespace {
    pub(crate) fn new(inum: u32) -> Self {
        Self {
            inum,
            tasks: Vec::new(),
            devices: BTreeMap::new(),
            lonely_since: None,
            lonely: false,
            error: None,
        }
    }

    /// Whether something of ours is in it.
    pub(crate) fn has_attachments(&self) -> bool {
        let mut sides = self.devices.values().flat_map(Device::sides);
        sides.any(|(_, side)| side.attachment.is_some())
    }

    /// Whether it is not worth watching: no process and no interface that counts, for some time.
    pub(crate) fn is_lonely(&mut self, has_process: bool, now: Instant, after: Duration) -> bool {
        if has_process || self.devices.values().any(|device| device.counts) {
            self.lonely_since = None;
            self.lonely = false;
        } else {
            let since = *self.lonely_since.get_or_insert(now);
            self.lonely |= now.duration_since(since) >= after;
        }
        self.lonely
    }

    pub(crate) fn met(&mut self, task: u32) {
        if self.tasks.contains(&task) {
            return;
        }
        if self.tasks.len() == TASKS {
            self.tasks.remove(0);
        }
        self.tasks.push(task);
    }
}

/// All of them, by their keys and by their numbers in `/proc`.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) by_key: BTreeMap<Key, Namespace>,
    by_inum: HashMap<u32, Key>,
}

impl Namespaces {
    pub(crate) fn key_of(&self, inum: u32) -> Option<Key> {
        self.by_inum.get(&inum).copied()
    }

    pub(crate) fn insert(&mut self, key: Key, namespace: Namespace) {
        self.by_inum.insert(namespace.inum, key);
        self.by_key.insert(key, namespace);
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Namespace> {
        let gone = self.by_key.remove(&key)?;
        if self.by_inum.get(&gone.inum) == Some(&key) {
            self.by_inum.remove(&gone.inum);
        }
        Some(gone)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// The number of another namespace as seen from that of the socket, which gets one if it has none. It is the namespace's for its life.
pub(crate) fn number_of(netlink: &mut Netlink, namespace: &NetNs) -> Result<i32, Error> {
    let fd = namespace.as_fd().as_raw_fd().to_ne_bytes();
    let body = RequestBody::new(&[0; RTGENMSG])
        .attribute(NETNSA_FD, &fd)
        .attribute(NETNSA_NSID, &(-1i32).to_ne_bytes());
    match netlink.request(
        RTM_NEWNSID,
        NLM_F_EXCL,
        body.bytes(),
        "numbering a namespace",
    ) {
        Ok(_) => {}
        Err(error) if has_code(&error, nix::Error::EEXIST) => {}
        Err(error) => return Err(error),
    }
    known_number(netlink, namespace)?.ok_or_else(|| Error::Malformed {
        what: "numbering a namespace".into(),
    })
}

/// The number that it has, if it has one.
pub(crate) fn known_number(netlink: &mut Netlink, namespace: &NetNs) -> Result<Option<i32>, Error> {
    let fd = namespace.as_fd().as_raw_fd().to_ne_bytes();
    let body = RequestBody::new(&[0; RTGENMSG]).attribute(NETNSA_FD, &fd);
    let what = "asking for a namespace's number";
    let replies = netlink.request(RTM_GETNSID, 0, body.bytes(), what)?;
    let number = replies.iter().find_map(|reply| {
        Attributes::after(&reply.body, RTGENMSG)
            .get(NETNSA_NSID)?
            .u32()
    });
    Ok(number
        .map(|number| number as i32)
        .filter(|number| *number >= 0))
}
