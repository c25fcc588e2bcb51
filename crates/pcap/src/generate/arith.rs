//! Numbers: `tcp[13] & 7 != 0`.

use super::{Generator, Test, ether};
use crate::Link;
use crate::ast::Arith;
use crate::cbpf::{self, Cond, Insn, Src};
use crate::error::Error;
use crate::names::Proto;

/// Words of memory.
const MEMORY: u8 = 16;

impl Generator {
    /// A comparison: first whether the packet has the protocols whose bytes are read.
    pub(super) fn relation(
        &self,
        cond: Cond,
        negated: bool,
        left: &Arith,
        right: &Arith,
    ) -> Result<Test, Error> {
        let mut checks = Vec::new();
        self.checks(left, &mut checks)?;
        self.checks(right, &mut checks)?;
        let mut code = Vec::new();
        self.number(left, &mut code, 0)?;
        let operand = self.operand(right, &mut code, 0)?;
        let test = Test::Leaf(code, cond, operand).negate(negated);
        let all = checks.into_iter().reduce(Test::and);
        Ok(match all {
            Some(all) => all.and(test),
            None => test,
        })
    }

    /// A is kept, and the second operand goes to X, unless it is known.
    fn operand(&self, right: &Arith, code: &mut Vec<Insn>, depth: u8) -> Result<Src, Error> {
        if let Some(known) = known(right) {
            return Ok(Src::K(known));
        }
        if depth >= MEMORY {
            return self.error("the expression is nested too deeply");
        }
        code.push(Insn::St(depth));
        self.number(right, code, depth + 1)?;
        code.extend([Insn::Tax, Insn::LdMem(depth)]);
        Ok(Src::X)
    }

    /// What the packet must be for the number to be there, in the order in which libpcap asks.
    fn checks(&self, number: &Arith, checks: &mut Vec<Test>) -> Result<(), Error> {
        match number {
            Arith::Number(_) | Arith::Len => {}
            Arith::Neg(inner) => self.checks(inner, checks)?,
            Arith::Op(_, left, right) => {
                self.checks(left, checks)?;
                self.checks(right, checks)?;
            }
            Arith::Load(proto, index, _, span) => match layer(*proto) {
                Some(Layer::Link) => {
                    self.checks(index, checks)?;
                    if self.link == Link::RawIp {
                        checks.push(Test::Always(false));
                    }
                }
                Some(Layer::Network) => {
                    self.checks(index, checks)?;
                    checks.push(self.proto(*proto)?);
                }
                Some(Layer::Transport) => {
                    checks.push(self.linktype(ether::IP)?);
                    self.checks(index, checks)?;
                    checks.extend([self.proto(*proto)?, self.first_fragment()]);
                }
                Some(Layer::Icmp6) => {
                    self.checks(index, checks)?;
                    checks.extend([self.linktype(ether::IP6)?, self.is_icmp6()]);
                }
                None => {
                    let message = format!("bytes of `{}` cannot be read", proto.name());
                    return Err(Error::new(message, *span));
                }
            },
        }
        Ok(())
    }

    /// The number comes to A. Below `depth` the memory is taken.
    fn number(&self, number: &Arith, code: &mut Vec<Insn>, depth: u8) -> Result<(), Error> {
        if let Some(known) = known(number) {
            code.push(Insn::LdImm(known));
            return Ok(());
        }
        match number {
            Arith::Number(known) => code.push(Insn::LdImm(*known)),
            Arith::Len => code.push(Insn::LdLen),
            Arith::Neg(inner) => {
                self.number(inner, code, depth)?;
                code.push(Insn::Neg);
            }
            Arith::Op(op, left, right) => {
                self.number(left, code, depth)?;
                let operand = self.operand(right, code, depth)?;
                code.push(Insn::Alu(*op, operand));
            }
            Arith::Load(proto, index, size, span) => {
                let network = self.payload + self.labels;
                let base = match layer(*proto) {
                    Some(Layer::Link) => self.link_header,
                    Some(Layer::Network | Layer::Transport) => network,
                    Some(Layer::Icmp6) => network + 40,
                    None => {
                        let message = format!("bytes of `{}` cannot be read", proto.name());
                        return Err(Error::new(message, *span));
                    }
                };
                let transport = layer(*proto) == Some(Layer::Transport);
                // Near constants need no register; far ones wrap around, in the sum with the length of a header.
                if let Some(near) = known(index).filter(|index| *index <= 0xffff) {
                    let at = base + near;
                    if transport {
                        code.extend([Insn::LdxMsh(network), Insn::LdInd(*size, at)]);
                    } else {
                        code.push(Insn::LdAbs(*size, at));
                    }
                    return Ok(());
                }
                self.number(index, code, depth)?;
                if transport {
                    let add = Insn::Alu(cbpf::Alu::Add, Src::X);
                    code.extend([Insn::LdxMsh(network), add]);
                }
                code.extend([Insn::Tax, Insn::LdInd(*size, base)]);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Link,
    Network,
    Transport,
    Icmp6,
}

/// Where the bytes of a protocol begin, if they can be read.
fn layer(proto: Proto) -> Option<Layer> {
    match proto {
        Proto::Link => Some(Layer::Link),
        Proto::Ip
        | Proto::Ip6
        | Proto::Arp
        | Proto::Rarp
        | Proto::Atalk
        | Proto::Decnet
        | Proto::Sca
        | Proto::Lat
        | Proto::MopRc
        | Proto::MopDl => Some(Layer::Network),
        Proto::Tcp
        | Proto::Udp
        | Proto::Sctp
        | Proto::Icmp
        | Proto::Igmp
        | Proto::Igrp
        | Proto::Pim
        | Proto::Vrrp
        | Proto::Carp => Some(Layer::Transport),
        Proto::Icmp6 => Some(Layer::Icmp6),
        _ => None,
    }
}

/// The number, if it does not depend on the packet. A division by zero does: it makes the filter fail.
fn known(number: &Arith) -> Option<u32> {
    match number {
        Arith::Number(number) => Some(*number),
        Arith::Neg(inner) => Some(known(inner)?.wrapping_neg()),
        Arith::Op(op, left, right) => cbpf::alu(*op, known(left)?, known(right)?),
        Arith::Len | Arith::Load(..) => None,
    }
}
