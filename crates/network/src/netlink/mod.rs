//! rtnetlink requests. A list is complete, or an error: the kernel marks a list that changed while it was being made, and it is asked again.
//!
//! Messages are read attribute by attribute, not as a whole: an attribute that a later kernel adds, or that another vendor's module
//! makes, must not cost the list.

mod attributes;

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::Error;
pub use attributes::{Attribute, Attributes, RequestBody};

/// Length of a message's header.
const HEADER: usize = 16;
/// How often a list is asked for that changes while it is made.
const ATTEMPTS: usize = 8;
/// Seconds to wait for an answer, which the kernel gives at once.
const PATIENCE: i64 = 5;

/// One message of an answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// `RTM_…`.
    pub kind: u16,
    /// What follows the header: the family's fixed part, then attributes.
    pub body: Vec<u8>,
}

/// A rtnetlink socket in the namespace of the thread that opened it; it stays there, whoever uses it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
            Ok(socket)
        };
        open()
            .map(|socket| Self {
                socket,
                sequence: 0,
            })
            .map_err(|source| Error::Netlink {
                what: "opening a socket".into(),
                source,
            })
    }

    /// Everything that a dump request lists. `what` names it in errors.
    pub fn dump(&mut self, kind: u16, body: &[u8], what: &str) -> Result<Vec<Reply>, Error> {
        for _ in 0..ATTEMPTS {
            self.send(kind, NLM_F_DUMP, body, what)?;
            let (replies, steady) = self.receive(what)?;
            if steady {
                return Ok(replies);
            }
        }
        Err(Error::Unsteady { what: what.into() })
    }

    /// A request that is done or refused. `flags` are added to those of every request, as `NLM_F_CREATE`.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        what: &str,
    ) -> Result<Vec<Reply>, Error> {
        self.send(kind, flags | NLM_F_ACK, body, what)?;
        self.receive(what).map(|(replies, _)| replies)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8], what: &str) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + body.len();
        let mut message = Vec::with_capacity(length);
        message.extend_from_slice(&(length as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(body);
        self.socket
            .send_to(&message, &SocketAddr::new(0, 0), 0)
            .map_err(|source| Error::Netlink {
                what: what.into(),
                source,
            })?;
        Ok(())
    }

    /// The messages up to the last one of the answer, and whether the list was steady while it was made.
    fn receive(&mut self, what: &str) -> Result<(Vec<Reply>, bool), Error> {
        let mut replies = Vec::new();
        let mut steady = true;
        loop {
            let (datagram, _) = self
                .socket
                .recv_from_full()
                .map_err(|source| Error::Netlink {
                    what: what.into(),
                    source,
                })?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let Some((message, after)) = split(rest) else {
                    return Err(Error::Malformed { what: what.into() });
                };
                rest = after;
                // What is left of a request that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                steady &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match status(message.body) {
                            0 => Ok((replies, steady)),
                            code => Err(Error::Netlink {
                                what: what.into(),
                                source: io::Error::from_raw_os_error(code.wrapping_neg()),
                            }),
                        };
                    }
                    kind => replies.push(Reply {
                        kind,
                        body: message.body.to_vec(),
                    }),
                }
            }
        }
    }
}

/// The status of a `NLMSG_DONE` or `NLMSG_ERROR`: 0, or a negated error number.
fn status(body: &[u8]) -> i32 {
    body.first_chunk()
        .map_or(0, |code| i32::from_ne_bytes(*code))
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The first message of a datagram, and what follows it.
fn split(datagram: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
    let message = datagram.get(..length)?;
    let field = |at: usize| Some(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?));
    let sequence = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let message = Message {
        kind: field(4)?,
        flags: field(6)?,
        sequence,
        body: message.get(HEADER..)?,
    };
    let next = length.next_multiple_of(4).min(datagram.len());
    Some((message, &datagram[next..]))
}
