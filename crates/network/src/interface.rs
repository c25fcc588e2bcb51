//! The interfaces of a network namespace.

use crate::Error;
use crate::netlink::{Attributes, Netlink, Reply, RequestBody};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
/// `IFF_…` of `linux/if.h`.
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 1 << 3;
/// Counters are asked of each driver, which takes its time.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name, which may change. A name can be any bytes but '/' and white space; what is not UTF-8 is replaced.
    pub name: String,
    /// What made it: `veth`, `bridge`, `netkit`, … None of a device of hardware, and of the loopback.
    pub kind: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// `ARPHRD_…`: 1 is Ethernet, 772 the loopback, 65534 no link layer (a tunnel of addresses).
    pub link_type: u16,
    /// `IFF_…`
    pub flags: u32,
    /// The other end of a veth pair, or the device below a VLAN: its number, in the namespace that [`peer_namespace`](Self::peer_namespace) tells.
    pub peer: Option<u32>,
    /// The number by which this namespace knows the other end's. None where it is this namespace.
    pub peer_namespace: Option<i32>,
    /// The bridge, bond or VRF that it is part of.
    pub master: Option<u32>,
    /// The XDP program, which is run before any classifier of ingress.
    pub xdp: Option<u32>,
}

impl Interface {
    /// Whether this is the loopback.
    pub fn is_loopback(&self) -> bool {
        self.flags & IFF_LOOPBACK != 0
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Reads `RTM_NEWLINK`, from a list or a notification. None where it is none.
    pub fn read(reply: &Reply) -> Option<Self> {
        if reply.kind != RTM_NEWLINK {
            return None;
        }
        let fixed: &[u8; IFINFOMSG] = reply.body.first_chunk()?;
        let word = |at: usize| Some(u32::from_ne_bytes(*fixed.get(at..)?.first_chunk()?));
        let mut interface = Self {
            index: word(4)?,
            name: String::new(),
            kind: None,
            mac: None,
            link_type: u16::from_ne_bytes([fixed[2], fixed[3]]),
            flags: word(8)?,
            peer: None,
            peer_namespace: None,
            master: None,
            xdp: None,
        };
        for attribute in Attributes::after(&reply.body, IFINFOMSG) {
            match attribute.kind {
                IFLA_ADDRESS => interface.mac = attribute.value.try_into().ok(),
                IFLA_IFNAME => interface.name = attribute.text(),
                IFLA_LINK => interface.peer = attribute.u32().filter(|index| *index != 0),
                IFLA_MASTER => interface.master = attribute.u32(),
                IFLA_LINK_NETNSID => {
                    interface.peer_namespace = attribute.u32().map(u32::cast_signed);
                }
                IFLA_LINKINFO => {
                    let kind = attribute.nested().get(IFLA_INFO_KIND);
                    interface.kind = kind.map(|kind| kind.text());
                }
                IFLA_XDP => {
                    let id = attribute.nested().get(IFLA_XDP_PROG_ID);
                    interface.xdp = id.and_then(|id| id.u32()).filter(|id| *id != 0);
                }
                _ => {}
            }
        }
        Some(interface)
    }
}

/// The interfaces of the calling thread's network namespace, in the order of their numbers.
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    interfaces_of(&mut Netlink::open()?)
}

/// The interfaces of the namespace that a socket was opened in.
pub fn interfaces_of(netlink: &mut Netlink) -> Result<Vec<Interface>, Error> {
    let request = RequestBody::new(&[0; IFINFOMSG])
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let replies = netlink.dump(RTM_GETLINK, request.bytes(), "listing interfaces")?;
    let mut interfaces: Vec<Interface> = replies.iter().filter_map(Interface::read).collect();
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}
