//! Values with their words: addresses, networks, ports, numbers of protocols.

use super::transport::{SCTP, TCP, UDP};
use super::{Base, Generator, Test, ether};
use crate::Link;
use crate::ast::{Direction, Id, Kind, Qualifiers};
use crate::cbpf::Size;
use crate::error::Error;
use crate::names::{self, Over, Proto};

impl Generator {
    pub(super) fn id(&self, words: Qualifiers, id: &Id) -> Result<Test, Error> {
        let direction = words.direction.unwrap_or(Direction::Or);
        match words.kind {
            Kind::Default | Kind::Host | Kind::Net => self.address(words, direction, id),
            Kind::Port | Kind::PortRange => {
                let (range, proto) = self.port_range(words, id)?;
                self.ports(range, proto, direction)
            }
            Kind::Proto => {
                if words.direction.is_some() {
                    return self.error("a protocol has no source and no destination");
                }
                let number = self.protocol(words.proto, id)?;
                self.inside(number, words.proto)
            }
        }
    }

    fn protocol(&self, proto: Option<Proto>, id: &Id) -> Result<u32, Error> {
        let known = match (id, proto) {
            (Id::Number(number), _) => return Ok(*number),
            (Id::Name(name), None | Some(Proto::Ip | Proto::Ip6)) => {
                names::ip_proto(name).ok_or(name)
            }
            (Id::Name(name), Some(Proto::Link)) => names::ether_proto(name).ok_or(name),
            (Id::Name(_), Some(proto)) => {
                return self.error(format!("`{} proto` means nothing", proto.name()));
            }
            _ => return self.error("the number or name of a protocol is needed"),
        };
        known.or_else(|name| self.error(format!("unknown protocol `{name}`")))
    }

    /// The ports that are meant, and of which protocol.
    fn port_range(&self, words: Qualifiers, id: &Id) -> Result<((u32, u32), Option<u32>), Error> {
        let proto = match words.proto {
            None => None,
            Some(Proto::Tcp) => Some(TCP),
            Some(Proto::Udp) => Some(UDP),
            Some(Proto::Sctp) => Some(SCTP),
            Some(other) => {
                return self.error(format!("`{}` has no ports", other.name()));
            }
        };
        let (range, named) = match id {
            Id::Number(number) => ((*number, *number), None),
            Id::Name(name) if words.kind == Kind::PortRange => {
                let Some((first, last)) = name.split_once('-') else {
                    return self
                        .error(format!("`{name}` is no range of ports such as `6000-6063`"));
                };
                let (first, over) = self.port_of(first)?;
                let (last, other) = self.port_of(last)?;
                ((first, last), over.filter(|_| over == other))
            }
            Id::Name(name) => {
                let (port, over) = self.port_of(name)?;
                ((port, port), over)
            }
            _ => return self.error("a port is a number or the name of a service"),
        };
        if range.0.max(range.1) > 65535 {
            return self.error("a port is at most 65535");
        }
        match (proto, named) {
            (Some(proto), Some(named)) if proto != named => {
                self.error("the service is spoken over another protocol")
            }
            (proto, named) => Ok((range, proto.or(named))),
        }
    }

    fn port_of(&self, text: &str) -> Result<(u32, Option<u32>), Error> {
        if let Ok(number) = text.parse() {
            return Ok((number, None));
        }
        match names::service(text) {
            Some((port, over)) => {
                let proto = match over {
                    Over::Tcp => Some(TCP),
                    Over::Udp => Some(UDP),
                    Over::Both => None,
                };
                Ok((port.into(), proto))
            }
            None => Err(Error::new(format!("unknown service `{text}`"), self.span)
                .help("write the number of its port")),
        }
    }

    fn address(&self, words: Qualifiers, direction: Direction, id: &Id) -> Result<Test, Error> {
        let net = words.kind == Kind::Net;
        match *id {
            Id::Number(number) => {
                let (mut address, mut mask) = (number, u32::MAX);
                // `net 10` is 10.0.0.0/8.
                while net && address != 0 && address & 0xff00_0000 == 0 {
                    (address, mask) = (address << 8, mask << 8);
                }
                self.v4(words.proto, direction, address, mask)
            }
            Id::V4(address, bits) => {
                let shift = 32 - u32::from(bits);
                self.v4(words.proto, direction, address << shift, u32::MAX << shift)
            }
            Id::V4Net(address, mask) if net => self.v4(words.proto, direction, address, mask),
            Id::V6(address, mask, length) if net || length == 128 => {
                self.v6(words.proto, direction, address, mask)
            }
            Id::V4Net(..) | Id::V6(..) => {
                Err(Error::new("a host has no prefix or mask", self.span).help("write `net`"))
            }
            Id::Mac(mac) if !net && words.proto == Some(Proto::Link) => {
                self.needs_ethernet()?;
                Ok(self.mac(direction, mac))
            }
            Id::Mac(_) => Err(Error::new("an Ethernet address needs `ether`", self.span)
                .help("`ether host`, `ether src`, `ether dst`")),
            Id::Name(ref name) => Err(Error::new(
                format!("`{name}` is no address, and names are not looked up"),
                self.span,
            )
            .help("write the address; for names, rules on `dns.question.name` or `connect.addr.hostname`")),
        }
    }

    fn v4(
        &self,
        proto: Option<Proto>,
        direction: Direction,
        address: u32,
        mask: u32,
    ) -> Result<Test, Error> {
        let at = |proto, src, dst| -> Result<Test, Error> {
            let one = |offset| -> Result<Test, Error> {
                let found = self.masked(Base::Network, offset, Size::Word, address, mask);
                Ok(self.linktype(proto)?.and(found))
            };
            both(direction, || one(src), || one(dst))
        };
        match proto {
            None => {
                let ip = at(ether::IP, 12, 16)?;
                if self.labels > 0 {
                    return Ok(ip);
                }
                Ok(ip.or(at(ether::ARP, 14, 24)?).or(at(ether::RARP, 14, 24)?))
            }
            Some(Proto::Ip) => at(ether::IP, 12, 16),
            Some(Proto::Arp) => at(ether::ARP, 14, 24),
            Some(Proto::Rarp) => at(ether::RARP, 14, 24),
            Some(proto) => self.no_address(proto, "IPv4"),
        }
    }

    fn v6(
        &self,
        proto: Option<Proto>,
        direction: Direction,
        address: u128,
        mask: u128,
    ) -> Result<Test, Error> {
        if let Some(proto) = proto.filter(|proto| *proto != Proto::Ip6) {
            return self.no_address(proto, "IPv6");
        }
        let one = |from: u32| -> Result<Test, Error> {
            let mut test = self.linktype(ether::IP6)?;
            let mut words = Vec::new();
            for i in 0..4u32 {
                let part = |value: u128| (value >> (96 - 32 * i)) as u32;
                let (address, mask) = (part(address), part(mask));
                words.push(self.masked(Base::Network, from + 4 * i, Size::Word, address, mask));
            }
            for word in words {
                test = test.and(word);
            }
            Ok(test)
        };
        both(direction, || one(8), || one(24))
    }

    fn no_address<T>(&self, proto: Proto, version: &str) -> Result<T, Error> {
        let name = proto.name();
        let error = Error::new(format!("`{name}` has no {version} addresses"), self.span);
        Err(error.help(format!("join the two: `{name} and host …`")))
    }

    fn mac(&self, direction: Direction, mac: [u8; 6]) -> Test {
        if self.link == Link::RawIp {
            return Test::Always(false);
        }
        let one = |offset| self.bytes(Base::LinkHeader, offset, &mac);
        match direction {
            Direction::Src => one(6),
            Direction::Dst => one(0),
            Direction::And => one(6).and(one(0)),
            Direction::Or => one(6).or(one(0)),
        }
    }
}

fn both(
    direction: Direction,
    src: impl Fn() -> Result<Test, Error>,
    dst: impl Fn() -> Result<Test, Error>,
) -> Result<Test, Error> {
    Ok(match direction {
        Direction::Src => src()?,
        Direction::Dst => dst()?,
        Direction::And => src()?.and(dst()?),
        Direction::Or => src()?.or(dst()?),
    })
}
