//! A tree to a classic program. First to tests (a load and a comparison each) under `and`, `or` and `not`, then to instructions.
//!
//! The tests are made in the order of the text, since `vlan`, `mpls` and `pppoes` move what all conditions after them look at, and they load
//! in the order in which libpcap's would, since the first load beyond the end of the packet decides.

mod address;
mod arith;
mod emit;
mod layer;
mod transport;

use crate::Link;
use crate::ast::{ByteOp, Expr, Primitive};
use crate::cbpf::{Alu, Cond, Insn, Meta, Program, Size, Src};
use crate::error::{Error, Span};
use crate::names::Proto;

pub(super) mod ether {
    pub(crate) const IP: u32 = 0x0800;
    pub(crate) const ARP: u32 = 0x0806;
    pub(crate) const RARP: u32 = 0x8035;
    pub(crate) const IP6: u32 = 0x86dd;
    pub(crate) const MPLS: u32 = 0x8847;
    pub(crate) const ATALK: u32 = 0x809b;
    pub(crate) const AARP: u32 = 0x80f3;
    pub(crate) const PPPOE_DISCOVERY: u32 = 0x8863;
    pub(crate) const PPPOE_SESSION: u32 = 0x8864;
    pub(crate) const VLAN: [u32; 3] = [0x8100, 0x88a8, 0x9100];
}

/// What is asked of a packet.
#[derive(Debug, Clone)]
enum Test {
    Always(bool),
    /// Loads, and how A must compare then.
    Leaf(Vec<Insn>, Cond, Src),
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    /// The second if the first holds, else the third.
    If(Box<Test>, Box<Test>, Box<Test>),
}

impl Test {
    fn and(self, second: Self) -> Self {
        Self::And(Box::new(self), Box::new(second))
    }

    fn or(self, second: Self) -> Self {
        Self::Or(Box::new(self), Box::new(second))
    }

    fn negate(self, really: bool) -> Self {
        if really {
            Self::Not(Box::new(self))
        } else {
            self
        }
    }
}

/// What an offset counts from.
#[derive(Debug, Clone, Copy)]
enum Base {
    LinkHeader,
    LinkType,
    /// What follows the link type: LLC or the network header.
    Llc,
    Network,
    /// The header of MPLS before the network header.
    PreviousMpls,
    /// What follows an IPv4 header.
    Transport4,
    /// What follows an IPv6 header.
    Transport6,
}

/// Where the headers are, for the conditions that come next in the text.
struct Generator {
    link: Link,
    /// Whether the kernel keeps the outer VLAN tag beside the frame, in this version of the program.
    tag_beside: bool,
    link_header: u32,
    link_type: u32,
    payload: u32,
    /// From there to the network header: the labels of MPLS.
    labels: u32,
    vlans: u32,
    ppp: bool,
    span: Span,
}

/// Makes the program of a filter for frames of one kind.
pub(crate) fn generate(expr: Option<&Expr>, link: Link) -> Result<Program, Error> {
    let Some(expr) = expr else {
        return Ok(Program::new(vec![Insn::Ret(true)]));
    };
    let mut test = Generator::new(link, false).expr(expr)?;
    if link == Link::Ethernet && has_vlan(expr) {
        // The network stack takes the outer tag out of the frame. Instead of offsets that vary: the program for either case.
        let beside = Generator::new(link, true).expr(expr)?;
        let present = Test::Leaf(vec![Insn::LdMeta(Meta::VlanPresent)], Cond::Eq, Src::K(1));
        test = Test::If(Box::new(present), Box::new(beside), Box::new(test));
    }
    emit::emit(&test)
}

fn has_vlan(expr: &Expr) -> bool {
    match expr {
        Expr::And(first, second) | Expr::Or(first, second) => has_vlan(first) || has_vlan(second),
        Expr::Not(inner) => has_vlan(inner),
        Expr::Is(primitive, _) => matches!(primitive, Primitive::Vlan(_)),
    }
}

impl Generator {
    fn new(link: Link, tag_beside: bool) -> Self {
        let (link_type, payload) = match link {
            Link::Ethernet => (12, 14),
            Link::RawIp => (0, 0),
        };
        Self {
            link,
            tag_beside,
            link_header: 0,
            link_type,
            payload,
            labels: 0,
            vlans: 0,
            ppp: false,
            span: Span::default(),
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::new(message, self.span))
    }

    fn expr(&mut self, expr: &Expr) -> Result<Test, Error> {
        Ok(match expr {
            Expr::And(first, second) => self.expr(first)?.and(self.expr(second)?),
            Expr::Or(first, second) => self.expr(first)?.or(self.expr(second)?),
            Expr::Not(inner) => self.expr(inner)?.negate(true),
            Expr::Is(primitive, span) => {
                self.span = *span;
                self.primitive(primitive)?
            }
        })
    }

    fn primitive(&mut self, primitive: &Primitive) -> Result<Test, Error> {
        match primitive {
            Primitive::Proto(proto) => self.proto(*proto),
            Primitive::Id(qualifiers, id) => self.id(*qualifiers, id),
            Primitive::Relation(cond, negated, left, right) => {
                self.relation(*cond, *negated, left, right)
            }
            Primitive::Broadcast(proto) => self.broadcast(*proto),
            Primitive::Multicast(proto) => self.multicast(*proto),
            Primitive::Less(n) => Ok(Self::len(Cond::Gt, *n).negate(true)),
            Primitive::Greater(n) => Ok(Self::len(Cond::Ge, *n)),
            Primitive::Byte(index, op, value) => Ok(self.byte(*index, *op, *value)),
            Primitive::Inbound(inbound) => Ok(meta(Meta::Inbound, u32::from(*inbound))),
            Primitive::Ifindex(index) => Ok(meta(Meta::Ifindex, *index)),
            Primitive::Vlan(id) => self.vlan(*id),
            Primitive::Mpls(label) => self.mpls(*label),
            Primitive::PppoeDiscovery => self.linktype(ether::PPPOE_DISCOVERY),
            Primitive::PppoeSession(id) => self.pppoe_session(*id),
            Primitive::Llc => {
                self.needs_ethernet()?;
                Ok(self.llc())
            }
        }
    }

    fn len(cond: Cond, n: u32) -> Test {
        Test::Leaf(vec![Insn::LdLen], cond, Src::K(n))
    }

    fn byte(&self, index: u32, op: ByteOp, value: u32) -> Test {
        if self.link == Link::RawIp {
            return Test::Always(false);
        }
        let mut code = self.load(Base::LinkHeader, index, Size::Byte);
        match op {
            ByteOp::Eq => Test::Leaf(code, Cond::Eq, Src::K(value)),
            ByteOp::Gt => Test::Leaf(code, Cond::Gt, Src::K(value)),
            ByteOp::Lt => Test::Leaf(code, Cond::Ge, Src::K(value)).negate(true),
            ByteOp::And | ByteOp::Or => {
                let alu = match op {
                    ByteOp::And => Alu::And,
                    _ => Alu::Or,
                };
                code.push(Insn::Alu(alu, Src::K(value)));
                Test::Leaf(code, Cond::Eq, Src::K(0)).negate(true)
            }
        }
    }

    fn broadcast(&self, proto: Option<Proto>) -> Result<Test, Error> {
        if matches!(proto, None | Some(Proto::Link)) {
            self.needs_ethernet()?;
        }
        match proto {
            None | Some(Proto::Link) => Ok(self.bytes(Base::LinkHeader, 0, &[0xff; 6])),
            Some(Proto::Ip) => Err(Error::new(
                "`ip broadcast` is not supported: interfaces have different networks",
                self.span,
            )
            .help("`ether broadcast`, or `ip host` with the address")),
            Some(proto) => self.error(format!("`{}` has no broadcast", proto.name())),
        }
    }

    fn multicast(&mut self, proto: Option<Proto>) -> Result<Test, Error> {
        if matches!(proto, None | Some(Proto::Link)) {
            self.needs_ethernet()?;
        }
        match proto {
            None | Some(Proto::Link) if self.link == Link::RawIp => Ok(Test::Always(false)),
            None | Some(Proto::Link) => Ok(Test::Leaf(
                self.load(Base::LinkHeader, 0, Size::Byte),
                Cond::Set,
                Src::K(1),
            )),
            Some(Proto::Ip) => {
                let code = self.load(Base::Network, 16, Size::Byte);
                let group = Test::Leaf(code, Cond::Ge, Src::K(224));
                Ok(self.linktype(ether::IP)?.and(group))
            }
            Some(Proto::Ip6) => {
                let group = self.equal(Base::Network, 24, Size::Byte, 255);
                Ok(self.linktype(ether::IP6)?.and(group))
            }
            Some(proto) => self.error(format!("`{}` has no multicast", proto.name())),
        }
    }

    /// Loads relative to a header into A.
    fn load(&self, base: Base, offset: u32, size: Size) -> Vec<Insn> {
        let network = self.payload + self.labels;
        let from = match base {
            Base::LinkHeader => self.link_header,
            Base::LinkType => self.link_type,
            Base::Llc => self.payload,
            Base::Network | Base::Transport4 => network,
            Base::PreviousMpls => network.wrapping_sub(4),
            Base::Transport6 => network + 40,
        };
        let at = from.saturating_add(offset);
        match base {
            Base::Transport4 => vec![Insn::LdxMsh(network), Insn::LdInd(size, at)],
            _ => vec![Insn::LdAbs(size, at)],
        }
    }

    fn equal(&self, base: Base, offset: u32, size: Size, value: u32) -> Test {
        Test::Leaf(self.load(base, offset, size), Cond::Eq, Src::K(value))
    }

    fn masked(&self, base: Base, offset: u32, size: Size, value: u32, mask: u32) -> Test {
        let mut code = self.load(base, offset, size);
        if mask != u32::MAX {
            code.push(Insn::Alu(Alu::And, Src::K(mask)));
        }
        Test::Leaf(code, Cond::Eq, Src::K(value))
    }

    /// Bytes as they follow each other, the last ones first.
    fn bytes(&self, base: Base, offset: u32, wanted: &[u8]) -> Test {
        if self.link == Link::RawIp {
            return Test::Always(false);
        }
        let mut test: Option<Test> = None;
        let mut left = wanted;
        while !left.is_empty() {
            let (size, take) = match left.len() {
                4.. => (Size::Word, 4),
                2 | 3 => (Size::Half, 2),
                _ => (Size::Byte, 1),
            };
            let (rest, last) = left.split_at(left.len() - take);
            let value = last.iter().fold(0, |sum, b| sum << 8 | u32::from(*b));
            let one = self.equal(base, offset + rest.len() as u32, size, value);
            test = Some(match test {
                Some(test) => test.and(one),
                None => one,
            });
            left = rest;
        }
        test.unwrap_or(Test::Always(true))
    }
}

fn meta(meta: Meta, value: u32) -> Test {
    Test::Leaf(vec![Insn::LdMeta(meta)], Cond::Eq, Src::K(value))
}
