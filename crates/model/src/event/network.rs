//! Events of sockets.

use std::fmt::Write as _;

use atalaya_model_derive::Fields;
use atalaya_secl::root_domain;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::address::{AddressBody, family_name, told};
use super::packet_filter;
use crate::constants::{GROUPS, name_of};
use crate::fields::Cx;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};

/// The address of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct Address {
    /// The family of the address: `AF_INET`, `AF_INET6`, `AF_UNIX`.
    #[field(constants = "Network Address Family constants")]
    pub family: u16,
    /// The IP address.
    #[field]
    pub ip: Option<IpNet>,
    /// Whether the address is one of the public internet, not of a private network.
    #[field]
    pub is_public: bool,
    /// The port.
    #[field]
    pub port: u16,
}

/// The address of the other side, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct PeerAddress {
    /// The address.
    #[nested]
    pub address: Address,
    /// The names that DNS answers gave the address; empty when none was seen.
    #[field(name = "hostname", text = DnsName)]
    #[computed(name = "hostname.length", ty = i64, get = PeerAddress::names, doc = "How many names DNS answers gave the address.")]
    #[computed(name = "hostname.root_domain", ty = Vec<String>, get = PeerAddress::root_domains, text = DnsName, doc = "The domains that somebody registered, of those names: `example.co.uk` of `www.example.co.uk`.")]
    pub hostnames: Vec<String>,
}

impl PeerAddress {
    fn names(&self, _: Cx<'_>) -> i64 {
        i64::try_from(self.hostnames.len()).unwrap_or(i64::MAX)
    }

    fn root_domains(&self, _: Cx<'_>) -> Vec<String> {
        self.hostnames
            .iter()
            .map(|name| root_domain(name).to_owned())
            .collect()
    }
}

/// A socket accepted a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct AcceptEvent {
    /// The address of the side that connected; the port is that of this side, which was listened on.
    #[nested(prefix = "addr")]
    pub addr: PeerAddress,
    /// What the call returned: a file descriptor, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A socket was given an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct BindEvent {
    /// The address.
    #[nested(prefix = "addr")]
    pub addr: Address,
    /// The protocol of the socket.
    #[field(constants = "L4 protocols")]
    pub protocol: u16,
    /// Whether the address is what its caller's memory held after the call, which another thread may have changed meanwhile.
    pub of_caller: bool,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A socket was connected to an address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct ConnectEvent {
    /// The address.
    #[nested(prefix = "addr")]
    pub addr: PeerAddress,
    /// The protocol of the socket.
    #[field(constants = "L4 protocols")]
    pub protocol: u16,
    /// Whether the address is what its caller's memory held after the call, which another thread may have changed meanwhile.
    pub of_caller: bool,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A socket was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct SocketEvent {
    /// The family of addresses the socket speaks to.
    #[field(constants = "Socket domains")]
    pub domain: u16,
    /// What kind of socket it is: a stream, datagrams, raw.
    #[field(name = "type", constants = "Socket types")]
    pub socket_type: u16,
    /// The protocol of the socket; 0 for the one that goes with its kind.
    #[field(constants = "Socket protocols")]
    pub protocol: u16,
    /// What the call returned: a file descriptor, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// An option of a socket was set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct SetsockoptEvent {
    /// The layer that the option belongs to.
    #[field(constants = "SetSockopt Levels")]
    pub level: u32,
    /// The option.
    #[field(name = "optname", constants = "SetSockopt Options")]
    pub option: u32,
    /// The family of addresses of the socket.
    #[field(constants = "Socket domains")]
    pub socket_family: u16,
    /// What kind of socket it is.
    #[field(constants = "Socket types")]
    pub socket_type: u16,
    /// The protocol of the socket.
    #[field(constants = "Socket protocols")]
    pub socket_protocol: u16,
    /// The number of instructions of the packet filter that is attached (`SO_ATTACH_FILTER` only).
    #[field]
    pub filter_len: u32,
    /// That filter's instructions as text (`SO_ATTACH_FILTER` only).
    #[field(weight = 999)]
    pub filter_instructions: String,
    /// The SHA-256 digest of that filter (`SO_ATTACH_FILTER` only).
    #[field(weight = 999)]
    pub filter_hash: String,
    /// Whether that filter is longer than what was captured (`SO_ATTACH_FILTER` only).
    #[field]
    pub is_filter_truncated: bool,
    /// The numbers that the filter's instructions load, count and compare with (`SO_ATTACH_FILTER` only).
    #[field(weight = 999)]
    pub used_immediates: Vec<i64>,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

impl EventBody for ConnectEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: AddressBody = record.body()?;
        Some(Self {
            addr: PeerAddress {
                address: body.address(),
                hostnames: Vec::new(),
            },
            protocol: body.protocol,
            of_caller: body.is_of_caller(),
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section(
            "connect",
            serde_json::json!({
                "addr": told(&self.addr.address),
                "hostnames": self.addr.hostnames,
                "protocol": name_of("L4 protocols", self.protocol.into()),
            }),
        );
    }
}

impl EventBody for AcceptEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: AddressBody = record.body()?;
        Some(Self {
            addr: PeerAddress {
                address: body.address(),
                hostnames: Vec::new(),
            },
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section(
            "accept",
            serde_json::json!({
                "addr": told(&self.addr.address),
                "hostnames": self.addr.hostnames,
            }),
        );
    }
}

impl EventBody for BindEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: AddressBody = record.body()?;
        Some(Self {
            addr: body.address(),
            protocol: body.protocol,
            of_caller: body.is_of_caller(),
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section(
            "bind",
            serde_json::json!({
                "addr": told(&self.addr),
                "protocol": name_of("L4 protocols", self.protocol.into()),
            }),
        );
    }
}

crate::event_body! {
    struct SocketBody as "socket_body" { domain: u16, socket_type: u16, protocol: u16, reserved: u16, }
}

impl EventBody for SocketEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SocketBody = record.body()?;
        Some(Self {
            domain: body.domain,
            socket_type: body.socket_type,
            protocol: body.protocol,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }
}

crate::event_body! {
    struct SetsockoptBody as "setsockopt_body" {
        level: u32,
        option: u32,
        family: u16,
        socket_type: u16,
        protocol: u16,
        filter_len: u16,
    }
}

/// The size of an instruction of a packet filter.
const INSTRUCTION: usize = 8;

impl EventBody for SetsockoptEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SetsockoptBody = record.body()?;
        let filter = record.bytes;
        let has_filter = body.filter_len > 0;
        Some(Self {
            level: body.level,
            option: body.option,
            socket_family: body.family,
            socket_type: body.socket_type,
            socket_protocol: body.protocol,
            filter_len: body.filter_len.into(),
            filter_instructions: packet_filter::text(filter),
            filter_hash: if has_filter {
                hex(&Sha256::digest(filter))
            } else {
                String::new()
            },
            is_filter_truncated: filter.len() < usize::from(body.filter_len) * INSTRUCTION,
            used_immediates: packet_filter::immediates(filter),
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let level = name_of("SetSockopt Levels", self.level.into());
        let option = sockopt_name(self.level, self.option);
        let mut json = serde_json::json!({
            "socket_type": name_of("Socket types", self.socket_type.into()),
            "socket_family": family_name(self.socket_family),
            "socket_protocol": name_of("Socket protocols", self.socket_protocol.into()),
            "level": level,
            "optname": option,
        });
        if self.filter_len > 0
            && let Some(json) = json.as_object_mut()
        {
            json.insert("filter_len".to_owned(), self.filter_len.into());
            json.insert(
                "is_filter_truncated".to_owned(),
                self.is_filter_truncated.into(),
            );
            json.insert(
                "filter".to_owned(),
                self.filter_instructions.as_str().into(),
            );
            json.insert("filter_hash".to_owned(), self.filter_hash.as_str().into());
        }
        details.section("setsockopt", json);
    }
}

/// The name of an option: numbers mean something else in each layer.
fn sockopt_name(level: u32, option: u32) -> String {
    let prefixes: &[&str] = match level {
        0 => &["IP_", "MCAST_"],
        1 => &["SO_"],
        6 => &["TCP_"],
        17 => &["UDP_"],
        41 => &["IPV6_", "MCAST_"],
        58 => &["ICMPV6_"],
        _ => &[],
    };
    let group = GROUPS
        .iter()
        .find(|group| group.name == "SetSockopt Options");
    let found = group
        .into_iter()
        .flat_map(|group| group.all)
        .find(|(name, value)| {
            *value == i64::from(option) && prefixes.iter().any(|prefix| name.starts_with(prefix))
        });
    found.map_or_else(|| option.to_string(), |(name, _)| (*name).to_owned())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes all that is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use zerocopy::IntoBytes;

    use super::*;

    fn setsockopt(filter: &[u8], filter_len: u16) -> SetsockoptEvent {
        let body = SetsockoptBody {
            level: 1,
            option: 26,
            family: 17,
            socket_type: 3,
            protocol: 0x300,
            filter_len,
        };
        let mut record = EventRecord {
            body: body.as_bytes(),
            bytes: filter,
            ..EventRecord::default()
        };
        SetsockoptEvent::read(&mut record).unwrap()
    }

    #[test]
    fn a_filter_is_hashed_and_printed() {
        let filter = [[0x06, 0, 0, 0, 0, 0, 4, 0]].concat();
        let event = setsockopt(&filter, 1);
        assert_eq!(event.filter_instructions, "000: ret #262144\n");
        assert_eq!(event.filter_hash.len(), 64);
        assert!(!event.is_filter_truncated);
        assert!(setsockopt(&filter, 2).is_filter_truncated);
    }

    #[test]
    fn options_are_named_by_their_layer() {
        assert_eq!(sockopt_name(1, 26), "SO_ATTACH_FILTER");
        assert_eq!(sockopt_name(41, 26), "IPV6_V6ONLY");
        assert_eq!(sockopt_name(6, 1), "TCP_NODELAY");
        assert_eq!(sockopt_name(0, 1), "IP_TOS");
        assert_eq!(sockopt_name(270, 1), "1");
    }

    #[test]
    fn an_option_without_a_filter_has_no_hash() {
        let event = setsockopt(&[], 0);
        assert_eq!((event.filter_hash.as_str(), event.filter_len), ("", 0));
        assert!(!event.is_filter_truncated);
    }
}
