//! Addresses of sockets, as the kernel side sends them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::network::Address;
use crate::constants::name_of;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `enum address_origin`: the caller's memory, after the call.
const ADDRESS_CALLER: u8 = 3;

crate::event_body! {
    struct AddressBody as "address_body" { protocol: u16, origin: u8, len: u8, address: [u8; 28], }
}

/// The networks that are not of the public internet: private, shared, of one link or machine, for documentation, multicast, reserved.
const NOT_PUBLIC: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The networks that configuration says are not public.
static PRIVATE: OnceLock<Vec<IpNet>> = OnceLock::new();

/// From here on these are the networks whose addresses are not public, and no others. Once in the life of the process, before its first event.
pub fn set_private_networks(networks: Vec<IpNet>) {
    // A second time nothing happens: events must not tell the same address in two ways.
    let _ = PRIVATE.set(networks);
}

/// Whether an address is one of the public internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    if let Some(private) = PRIVATE.get() {
        return !private.iter().any(|network| network.contains(&ip));
    }
    match ip {
        IpAddr::V4(ip) => !NOT_PUBLIC.iter().any(|(network, length)| {
            Ipv4Net::new(*network, *length).is_ok_and(|network| network.contains(&ip))
        }),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.octets()[0] & 0xfe == 0xfc),
    }
}

impl AddressBody {
    /// The address; what is cut short has its family alone.
    pub(crate) fn address(&self) -> Address {
        let bytes = self
            .address
            .get(..usize::from(self.len))
            .unwrap_or(&self.address);
        sockaddr(bytes)
    }

    /// Whether the address is what its caller's memory held after the call, which another thread may have changed meanwhile.
    pub(crate) fn is_of_caller(&self) -> bool {
        self.origin == ADDRESS_CALLER
    }
}

/// The address in a `struct sockaddr`. An IPv4 address that IPv6 wraps is told as what it is.
pub(crate) fn sockaddr(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk() else {
        return Address::default();
    };
    let family = u16::from_ne_bytes(*family);
    let ip = match family {
        AF_INET => part::<4>(rest, 2).map(|ip| IpAddr::V4(ip.into())),
        AF_INET6 => part::<16>(rest, 6).map(|ip| Ipv6Addr::from(ip).to_canonical()),
        _ => None,
    };
    let port = ip.and(part(rest, 0)).map_or(0, u16::from_be_bytes);
    Address {
        family,
        ip: ip.map(host),
        is_public: ip.is_some_and(is_public),
        port,
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The network of one address.
pub(crate) fn host(ip: IpAddr) -> IpNet {
    match ip {
        IpAddr::V4(ip) => Ipv4Net::from(ip).into(),
        IpAddr::V6(ip) => Ipv6Net::from(ip).into(),
    }
}

/// The name of an address family. Number 1 has three, of which one is used.
pub(crate) fn family_name(family: u16) -> String {
    if family == AF_UNIX {
        return "AF_UNIX".to_owned();
    }
    name_of("Network Address Family constants", family.into())
}

/// The address as JSON tells it.
pub(crate) fn told(address: &Address) -> serde_json::Value {
    let ip = address.ip.map(|ip| ip.addr().to_string());
    serde_json::json!({
        "family": family_name(address.family),
        "ip": ip.unwrap_or_default(),
        "port": address.port,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn v4(ip: [u8; 4], port: u16) -> Vec<u8> {
        let mut bytes = AF_INET.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(ip);
        bytes
    }

    fn v6(ip: &str, port: u16) -> Vec<u8> {
        let mut bytes = AF_INET6.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend([9; 4]); // the flow
        bytes.extend(ip.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([7; 4]); // the scope
        bytes
    }

    #[test]
    fn addresses_of_both_families() {
        let address = sockaddr(&v4([93, 184, 216, 34], 8080));
        assert_eq!((address.family, address.port), (AF_INET, 8080));
        assert_eq!(address.ip, Some("93.184.216.34/32".parse().unwrap()));
        assert!(address.is_public);
        let address = sockaddr(&v6("2606:2800:220:1::1", 443));
        assert_eq!((address.family, address.port), (AF_INET6, 443));
        assert_eq!(address.ip, Some("2606:2800:220:1::1/128".parse().unwrap()));
        assert!(address.is_public);
    }

    #[test]
    fn an_ipv4_address_that_ipv6_wraps_is_told_as_what_it_is() {
        let address = sockaddr(&v6("::ffff:10.1.2.3", 1));
        assert_eq!(address.family, AF_INET6);
        assert_eq!(address.ip, Some("10.1.2.3/32".parse().unwrap()));
        assert!(!address.is_public);
    }

    /// Of each length and family: no panic, nothing read past the end, and no more told than the bytes hold.
    #[test]
    fn every_length_of_every_family() {
        let full = v6("2001:4860:4860::8888", 0x1234);
        for family in (0..=64).chain([u16::MAX]) {
            for len in 0..=full.len() {
                let mut bytes = full[..len].to_vec();
                if let Some(head) = bytes.first_chunk_mut::<2>() {
                    *head = family.to_ne_bytes();
                }
                let address = sockaddr(&bytes);
                let whole = match family {
                    AF_INET => len >= 8,
                    AF_INET6 => len >= 24,
                    _ => false,
                };
                assert_eq!(address.family, if len < 2 { 0 } else { family });
                assert_eq!(address.ip.is_some(), whole, "{family} {len}");
                assert_eq!(address.port, if whole { 0x1234 } else { 0 });
                let json = told(&address);
                assert_eq!(json["port"], address.port);
            }
        }
    }

    #[test]
    fn every_port_is_read_in_network_order() {
        for port in 0..=u16::MAX {
            assert_eq!(sockaddr(&v4([127, 0, 0, 1], port)).port, port);
        }
    }

    #[test]
    fn a_length_past_the_end_of_the_body_is_cut() {
        let mut body = AddressBody {
            protocol: 6,
            origin: 1,
            len: u8::MAX,
            address: [0; 28],
        };
        body.address.copy_from_slice(&v6("::1", 9));
        assert_eq!(body.address().port, 9);
        assert!(!body.is_of_caller());
    }

    #[test]
    fn the_first_and_last_address_of_each_network_that_is_not_public() {
        for (network, length) in NOT_PUBLIC {
            let network = Ipv4Net::new(*network, *length).unwrap();
            assert_eq!(network.trunc(), network);
            assert!(!is_public(network.network().into()), "{network}");
            assert!(!is_public(network.broadcast().into()), "{network}");
        }
        for public in ["1.1.1.1", "11.0.0.0", "172.32.0.0", "100.128.0.0"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in ["::1", "fc00::1", "fdff::"] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        assert!(is_public("fe00::".parse().unwrap()));
    }

    #[test]
    fn names_of_families() {
        let names = [0, 1, 2, 10, 16, 17, 40].map(family_name);
        let wanted = [
            "AF_UNSPEC",
            "AF_UNIX",
            "AF_INET",
            "AF_INET6",
            "AF_NETLINK",
            "AF_PACKET",
            "AF_VSOCK",
        ];
        assert_eq!(names, wanted);
    }
}
