//! The tree of a filter.

use crate::cbpf::{Alu, Cond, Size};
use crate::error::Span;
use crate::names::Proto;

/// A condition.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Is(Primitive, Span),
}

/// A condition without parts.
#[derive(Debug, Clone)]
pub(crate) enum Primitive {
    /// `tcp`
    Proto(Proto),
    /// `src host 10.0.0.1`, `tcp port 80`: qualifiers and a value.
    Id(Qualifiers, Id),
    /// `len > 100`
    Relation(Cond, bool, Arith, Arith),
    /// `ether broadcast`
    Broadcast(Option<Proto>),
    /// `ip6 multicast`
    Multicast(Option<Proto>),
    /// `less 100`: at most so long.
    Less(u32),
    /// `greater 100`: at least so long.
    Greater(u32),
    /// `byte 0 & 1`
    Byte(u32, ByteOp, u32),
    /// `inbound` (true) and `outbound`
    Inbound(bool),
    /// `ifindex 3`
    Ifindex(u32),
    /// `vlan`, `vlan 100`
    Vlan(Option<u32>),
    /// `mpls`, `mpls 1024`
    Mpls(Option<u32>),
    /// `pppoed`
    PppoeDiscovery,
    /// `pppoes`, `pppoes 0x27`
    PppoeSession(Option<u32>),
    /// `llc`
    Llc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOp {
    Eq,
    Lt,
    Gt,
    And,
    Or,
}

/// Whose address or port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Src,
    Dst,
    /// Either; also what no word says.
    Or,
    And,
}

/// What kind of value follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No word: a host.
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// What stands before a value; inherited by the values after `and` and `or`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Qualifiers {
    pub(crate) proto: Option<Proto>,
    pub(crate) direction: Option<Direction>,
    pub(crate) kind: Kind,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Id {
    Number(u32),
    /// 1 to 4 numbers with points, as a number, and how many bits they are.
    V4(u32, u8),
    V4Net(u32, u32),
    V6(u128, u128, u8),
    Mac([u8; 6]),
    Name(String),
}

/// A number that is known when there is a packet.
#[derive(Debug, Clone)]
pub(crate) enum Arith {
    Number(u32),
    Len,
    Load(Proto, Box<Arith>, Size, Span),
    Neg(Box<Arith>),
    Op(Alu, Box<Arith>, Box<Arith>),
}
