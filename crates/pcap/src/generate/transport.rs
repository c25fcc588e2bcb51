//! Protocols inside IP, and ports.

use super::{Base, Generator, Test, ether};
use crate::ast::Direction;
use crate::cbpf::{Cond, Size, Src};
use crate::error::Error;
use crate::names::Proto;

pub(super) const TCP: u32 = 6;
pub(super) const UDP: u32 = 17;
pub(super) const SCTP: u32 = 132;
const ICMP6: u32 = 58;
/// The header of a fragment, in IPv6.
const FRAGMENT: u32 = 44;

impl Generator {
    /// `tcp`: a protocol by its word alone.
    pub(super) fn proto(&self, proto: Proto) -> Result<Test, Error> {
        match proto {
            Proto::Sctp => self.inside(SCTP, None),
            Proto::Tcp => self.inside(TCP, None),
            Proto::Udp => self.inside(UDP, None),
            Proto::Icmp => self.inside(1, Some(Proto::Ip)),
            Proto::Igmp => self.inside(2, Some(Proto::Ip)),
            Proto::Igrp => self.inside(9, Some(Proto::Ip)),
            Proto::Pim => self.inside(103, None),
            Proto::Vrrp | Proto::Carp => self.inside(112, Some(Proto::Ip)),
            Proto::Icmp6 => self.inside(ICMP6, Some(Proto::Ip6)),
            Proto::Ah => self.inside(51, None),
            Proto::Esp => self.inside(50, None),
            Proto::Ip => self.linktype(ether::IP),
            Proto::Ip6 => self.linktype(ether::IP6),
            Proto::Arp => self.linktype(ether::ARP),
            Proto::Rarp => self.linktype(ether::RARP),
            Proto::Atalk => self.linktype(ether::ATALK),
            Proto::Aarp => self.linktype(ether::AARP),
            Proto::Decnet => self.linktype(0x6003),
            Proto::Lat => self.linktype(0x6004),
            Proto::Sca => self.linktype(0x6007),
            Proto::MopDl => self.linktype(0x6001),
            Proto::MopRc => self.linktype(0x6002),
            Proto::Stp => self.linktype(0x42),
            Proto::Ipx => self.linktype(0xe0),
            Proto::Netbeui => self.linktype(0xf0),
            Proto::Link => self.error("`ether` alone is no condition"),
        }
    }

    /// `ip proto 6`: what IP, or the link layer, carries.
    pub(super) fn inside(&self, number: u32, proto: Option<Proto>) -> Result<Test, Error> {
        match proto {
            None => {
                let four = self.inside(number, Some(Proto::Ip))?;
                Ok(four.or(self.inside(number, Some(Proto::Ip6))?))
            }
            Some(Proto::Link) => self.linktype(number),
            Some(Proto::Ip) => {
                let is = self.equal(Base::Network, 9, Size::Byte, number);
                Ok(self.linktype(ether::IP)?.and(is))
            }
            Some(Proto::Ip6) => {
                let next = |number| self.equal(Base::Network, 6, Size::Byte, number);
                let after = self.equal(Base::Network, 40, Size::Byte, number);
                let found = next(number).or(next(FRAGMENT).and(after));
                Ok(self.linktype(ether::IP6)?.and(found))
            }
            Some(proto) => self.error(format!("`{} proto` means nothing", proto.name())),
        }
    }

    /// No fragment but the first.
    pub(super) fn first_fragment(&self) -> Test {
        let code = self.load(Base::Network, 6, Size::Half);
        Test::Leaf(code, Cond::Set, Src::K(0x1fff)).negate(true)
    }

    /// `icmp6[…]`: only as the header right after that of IPv6.
    pub(super) fn is_icmp6(&self) -> Test {
        self.equal(Base::Network, 6, Size::Byte, ICMP6)
    }

    /// Ports from the first to the last number, of one protocol or of any that has ports.
    pub(super) fn ports(
        &self,
        range: (u32, u32),
        proto: Option<u32>,
        direction: Direction,
    ) -> Result<Test, Error> {
        let version = |six: bool| {
            let one = |proto| self.port(six, range, proto, direction);
            let found = match proto {
                Some(proto) => one(proto),
                None => one(SCTP).or(one(TCP).or(one(UDP))),
            };
            let link = self.linktype(if six { ether::IP6 } else { ether::IP })?;
            Ok(link.and(found))
        };
        Ok(version(true)?.or(version(false)?))
    }

    fn port(&self, six: bool, range: (u32, u32), proto: u32, direction: Direction) -> Test {
        let (at, base) = match six {
            true => (6, Base::Transport6),
            false => (9, Base::Transport4),
        };
        let field = |offset| {
            let load = || self.load(base, offset, Size::Half);
            let (low, high) = (range.0.min(range.1), range.0.max(range.1));
            if range.0 == range.1 {
                return Test::Leaf(load(), Cond::Eq, Src::K(low));
            }
            let least = Test::Leaf(load(), Cond::Ge, Src::K(low));
            least.and(Test::Leaf(load(), Cond::Gt, Src::K(high)).negate(true))
        };
        let found = match direction {
            Direction::Src => field(0),
            Direction::Dst => field(2),
            Direction::And => field(0).and(field(2)),
            Direction::Or => field(0).or(field(2)),
        };
        let is = self.equal(Base::Network, at, Size::Byte, proto);
        match six {
            true => is.and(found),
            false => is.and(self.first_fragment()).and(found),
        }
    }
}
