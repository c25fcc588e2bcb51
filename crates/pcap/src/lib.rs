//! Packet filters in the language of `pcap-filter(7)`, as `tcpdump` takes them, compiled for the traffic control hook.
//!
//! ```text
//! text ─ parse ─▶ Expr ─ generate ─▶ Program (classic BPF) ─ translate ─▶ eBPF instructions
//! ```
//!
//! Why not libpcap: the one that distributions ship can be linked statically only together with D-Bus and systemd, it does not tell where an
//! expression is wrong, it asks name servers for the hosts of an expression (in a process with privileges), and knows nothing of a tag
//! that the kernel keeps beside the frame. What it means is kept to the letter: `tests/libpcap.rs` holds each program against
//! the one that libpcap makes of the same text, on random packets. Where libpcap does not do what its manual says, the manual wins: `1 + tcp[0]`
//! is asked of TCP packets only (libpcap forgets the check of a right operand), and `byte 0 & 1` loads the byte.
//!
//! What is left out, with an error that says so: names of hosts and networks (addresses only), `gateway`, `protochain`, `geneve`, the link layers other
//! than Ethernet and bare IP (802.11, ATM, MTP), `ip broadcast`, what only the packet filter of BSD has (`on`, `rnr`, …), DECnet and ISO protocols.
//!
//! Pure computation: no input or output, no unsafe code, bounded in time and memory for any text.
#![forbid(unsafe_code)]

mod ast;
mod cbpf;
mod ebpf;
mod error;
mod generate;
mod lex;
mod names;
mod parse;
mod router;

pub use cbpf::{Alu, Cond, Insn, Meta, Packet, Program, Size, Src};
pub use ebpf::Instruction;
pub use error::{Error, Span};
pub use router::{Maps, Router, RouterError, Verdict, router};

/// The longest text of a filter, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// The most instructions of the classic program of a filter: translated, a jump still reaches from one end to the other.
pub const MAX_INSTRUCTIONS: usize = 1500;

/// What the frames of an interface begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// An Ethernet header (also the loopback interface, whose addresses are zero).
    Ethernet,
    /// Nothing: the IP header comes first (tunnels, WireGuard, `tun`).
    RawIp,
}

/// A filter that was understood.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    ethernet: Program,
    raw_ip: Program,
}

impl Filter {
    /// Compiles a filter. The empty text is the filter that every packet passes.
    ///
    /// # Errors
    /// The text is no filter, or one of those that are left out (see the crate's documentation): what is wrong, where, and a hint.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            let message = format!("a filter is at most {MAX_TEXT} bytes long");
            return Err(Error::new(message, Span::new(0, text.len())));
        }
        let whole = |mut error: Error| {
            if error.span == Span::default() {
                error.span = Span::new(0, text.len());
            }
            error
        };
        let expr = parse::parse(text)?;
        // Errors are those of the Ethernet program: on bare IP, what asks for the link layer is merely never true.
        let ethernet = generate::generate(expr.as_ref(), Link::Ethernet).map_err(whole)?;
        let raw_ip = generate::generate(expr.as_ref(), Link::RawIp).map_err(whole)?;
        Ok(Self {
            text: text.to_owned(),
            ethernet,
            raw_ip,
        })
    }

    /// The text that it was made of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The classic program for the frames of such a link.
    #[must_use]
    pub fn program(&self, link: Link) -> &Program {
        match link {
            Link::Ethernet => &self.ethernet,
            Link::RawIp => &self.raw_ip,
        }
    }
}
