//! The link layer: Ethernet types, LLC, and what moves the headers (`vlan`, `mpls`, `pppoes`).

use super::{Base, Generator, Test, ether};
use crate::Link;
use crate::cbpf::{Alu, Cond, Insn, Meta, Size, Src};
use crate::error::Error;

/// From here on the field of the type is one, below it is a length and LLC follows.
const MAX_LENGTH: u32 = 1500;

impl Generator {
    /// Whether the frame carries that protocol: a type of Ethernet, or an address of LLC.
    pub(super) fn linktype(&self, proto: u32) -> Result<Test, Error> {
        if self.labels > 0 {
            return self.labelled(proto);
        }
        if self.ppp {
            let number = match proto {
                ether::IP => 0x21,
                ether::IP6 => 0x57,
                0x6003 => 0x27,
                ether::ATALK => 0x29,
                0x0600 => 0x25,
                0xfe => 0x23,
                0x42 => 0x31,
                0xe0 => 0x2b,
                ether::MPLS => 0x281,
                other => other,
            };
            return Ok(self.equal(Base::LinkType, 0, Size::Half, number));
        }
        if self.link == Link::RawIp {
            let version = match proto {
                ether::IP => 0x40,
                ether::IP6 => 0x60,
                _ => return Ok(Test::Always(false)),
            };
            return Ok(self.masked(Base::LinkHeader, 0, Size::Byte, version, 0xf0));
        }
        Ok(self.ethernet(proto))
    }

    fn ethernet(&self, proto: u32) -> Test {
        let llc = || {
            let code = self.load(Base::LinkType, 0, Size::Half);
            Test::Leaf(code, Cond::Gt, Src::K(MAX_LENGTH)).negate(true)
        };
        let typed = || self.equal(Base::LinkType, 0, Size::Half, proto);
        match proto {
            // OSI, IP and NetBEUI in LLC: both addresses.
            0xfe | 0x06 | 0xf0 => {
                llc().and(self.equal(Base::Llc, 0, Size::Half, proto << 8 | proto))
            }
            // IPX: as a type, in LLC, right after the length, and in SNAP.
            0xe0 => {
                let inside = self.equal(Base::Llc, 0, Size::Byte, proto);
                let bare = self.equal(Base::Llc, 0, Size::Half, 0xffff);
                let snap = self.snap(0, 0x8137);
                let framed = llc().and(snap.or(inside.or(bare)));
                self.equal(Base::LinkType, 0, Size::Half, 0x8137).or(framed)
            }
            ether::ATALK => typed().or(llc().and(self.snap(0x08_0007, proto))),
            ether::AARP => typed().or(llc().and(self.snap(0, proto))),
            0..=MAX_LENGTH => llc().and(self.equal(Base::LinkType, 2, Size::Byte, proto)),
            _ => typed(),
        }
    }

    fn snap(&self, organization: u32, proto: u32) -> Test {
        let [_, a, b, c] = organization.to_be_bytes();
        let [_, _, high, low] = proto.to_be_bytes();
        self.bytes(Base::Llc, 0, &[0xaa, 0xaa, 3, a, b, c, high, low])
    }

    /// After `pppoes` nothing is known of the Ethernet header.
    pub(super) fn needs_ethernet(&self) -> Result<(), Error> {
        match self.ppp {
            true => self.error("after `pppoes` there is no Ethernet header"),
            false => Ok(()),
        }
    }

    pub(super) fn llc(&self) -> Test {
        if self.link == Link::RawIp {
            return Test::Always(false);
        }
        let code = self.load(Base::LinkType, 0, Size::Half);
        let length = Test::Leaf(code, Cond::Gt, Src::K(MAX_LENGTH)).negate(true);
        length.and(self.equal(Base::Llc, 0, Size::Half, 0xffff).negate(true))
    }

    /// After labels there is no type: the bottom of the stack, and the version of IP.
    fn labelled(&self, proto: u32) -> Result<Test, Error> {
        let version = match proto {
            ether::IP => 0x40,
            ether::IP6 => 0x60,
            _ => return self.error("after `mpls` only IPv4 and IPv6 can be told apart"),
        };
        let bottom = self.masked(Base::PreviousMpls, 2, Size::Byte, 1, 1);
        Ok(bottom.and(self.masked(Base::Network, 0, Size::Byte, version, 0xf0)))
    }

    pub(super) fn vlan(&mut self, id: Option<u32>) -> Result<Test, Error> {
        if self.labels > 0 {
            return self.error("no `vlan` can come after `mpls`");
        }
        if id.is_some_and(|id| id > 0xfff) {
            return self.error("a VLAN has a number up to 4095");
        }
        if self.ppp {
            return self.error("no `vlan` can come after `pppoes`");
        }
        self.vlans += 1;
        if self.tag_beside && self.vlans == 1 {
            // That there is one was asked already.
            return Ok(id.map_or(Test::Always(true), |id| {
                let mask = Insn::Alu(Alu::And, Src::K(0xfff));
                Test::Leaf(
                    vec![Insn::LdMeta(Meta::VlanTag), mask],
                    Cond::Eq,
                    Src::K(id),
                )
            }));
        }
        let [plain, provider, old] = ether::VLAN;
        let first = self.linktype(plain)?.or(self.linktype(provider)?);
        let mut test = self.linktype(old)?.or(first);
        if let Some(id) = id {
            test = test.and(self.masked(Base::Network, 0, Size::Half, id, 0xfff));
        }
        self.payload += 4;
        self.link_type += 4;
        Ok(test)
    }

    pub(super) fn mpls(&mut self, label: Option<u32>) -> Result<Test, Error> {
        if label.is_some_and(|label| label > 0xf_ffff) {
            return self.error("a label of MPLS has 20 bits");
        }
        let mut test = if self.labels > 0 {
            self.masked(Base::PreviousMpls, 2, Size::Byte, 0, 1)
        } else {
            self.linktype(ether::MPLS)?
        };
        if let Some(label) = label {
            test = test.and(self.masked(Base::Network, 0, Size::Word, label << 12, 0xffff_f000));
        }
        self.labels += 4;
        Ok(test)
    }

    pub(super) fn pppoe_session(&mut self, id: Option<u32>) -> Result<Test, Error> {
        if id.is_some_and(|id| id > 0xffff) {
            return self.error("a session of PPPoE has a number up to 65535");
        }
        let mut test = self.linktype(ether::PPPOE_SESSION)?;
        if let Some(id) = id {
            test = test.and(self.masked(Base::Network, 0, Size::Word, id, 0xffff));
        }
        self.link_header = self.payload + self.labels + 6;
        self.link_type = self.link_header;
        self.payload = self.link_header + 2;
        self.labels = 0;
        self.ppp = true;
        Ok(test)
    }
}
