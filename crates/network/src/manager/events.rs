//! What the kernel tells of interfaces in every namespace that has a number (`nsid`) as seen from ours, through one socket in ours.
//!
//! A socket in each namespace would tell the same, and would keep every one of them alive.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::libc;

use crate::Error;
use crate::interface::{IFLA_ADDRESS, IFLA_IFNAME};
use crate::netlink::Attributes;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELQDISC: u16 = 37;
const RTM_DELTFILTER: u16 = 45;
const RTM_DELNSID: u16 = 89;
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_TC: u32 = 4;
const RTNLGRP_NSID: u32 = 28;
const NETNSA_NSID: u16 = 1;
const IFINFOMSG: usize = 16;
/// One message of news fits easily; the kernel cuts off what does not, and tells.
const ROOM: usize = 64 << 10;
/// News that wait until they are read.
const BACKLOG: usize = 4 << 20;

/// Something that happened. The namespace is `None` for our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// An interface is there, or has changed.
    Link {
        namespace: Option<i32>,
        index: u32,
        name: String,
        mac: Option<[u8; 6]>,
    },
    /// An interface has left: it was deleted, or moved.
    LinkGone { namespace: Option<i32>, index: u32 },
    /// A filter or discipline was deleted.
    FilterGone { namespace: Option<i32>, index: u32 },
    /// A namespace is no more.
    NamespaceGone(i32),
    /// There was more than fits: everything must be looked at.
    Lost,
}

/// The socket.
pub(crate) struct Events {
    socket: Socket,
    /// Why only the own namespace is heard, if so.
    pub(crate) limited: Option<String>,
}

impl Events {
    /// Opens it in the calling thread's namespace.
    pub(crate) fn open(filters: bool) -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_non_blocking(true)?;
            // Needs CAP_NET_BROADCAST.
            let limited = socket
                .set_listen_all_namespaces(true)
                .err()
                .map(|e| e.to_string());
            if nix::sys::socket::setsockopt(
                &fd(&socket),
                nix::sys::socket::sockopt::RcvBufForce,
                &BACKLOG,
            )
            .is_err()
            {
                // Without CAP_NET_ADMIN only as much as net.core.rmem_max allows.
                socket.set_rx_buf_sz(BACKLOG)?;
            }
            for group in [RTNLGRP_LINK, RTNLGRP_NSID] {
                socket.add_membership(group)?;
            }
            if filters {
                socket.add_membership(RTNLGRP_TC)?;
            }
            Ok(Self { socket, limited })
        };
        open().map_err(|source| Error::Netlink {
            what: "listening for news of interfaces".into(),
            source,
        })
    }

    /// For poll(2).
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        fd(&self.socket)
    }

    /// All news that are there now.
    pub(crate) fn read(&mut self, mut each: impl FnMut(News)) {
        let mut room = vec![0; ROOM];
        loop {
            match receive(&self.socket, &mut room) {
                Ok((length, namespace)) => {
                    let datagram = room.get(..length).unwrap_or_default();
                    parse(datagram, namespace, &mut each);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::ENOBUFS) => each(News::Lost),
                    _ => return, // EAGAIN: that was all
                },
            }
        }
    }
}

fn fd(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is the socket's, which is borrowed for as long as the result.
    #[allow(unsafe_code, reason = "the socket of netlink-sys has no AsFd")]
    unsafe {
        BorrowedFd::borrow_raw(socket.as_raw_fd())
    }
}

/// One datagram, and the number of the namespace that it is of, which is in a control message that no wrapper knows.
fn receive(socket: &Socket, room: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
    let mut control = [0u64; 16];
    let mut part = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    #[allow(
        unsafe_code,
        reason = "recvmsg(2) for a control message that nix and rustix do not know"
    )]
    // SAFETY: all zero is a valid msghdr. Its pointers are then set to live buffers with their lengths, which outlive the call; the
    // control messages are walked with the C library's own macros within what the kernel has filled, and a value is read only where its
    // length says that it is there.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
        let Ok(length) = usize::try_from(length) else {
            return Err(io::Error::last_os_error());
        };
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let mut namespace = None;
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            let is_it = (*header).cmsg_level == libc::SOL_NETLINK
                && (*header).cmsg_type == libc::NETLINK_LISTEN_ALL_NSID
                && (*header).cmsg_len as usize >= libc::CMSG_LEN(size_of::<i32>() as u32) as usize;
            if is_it {
                namespace = Some(libc::CMSG_DATA(header).cast::<i32>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        Ok((length, namespace))
    }
}

fn parse(mut datagram: &[u8], namespace: Option<i32>, each: &mut impl FnMut(News)) {
    while let Some((kind, body, rest)) = split(datagram) {
        if let Some(news) = news(kind, body, namespace) {
            each(news);
        }
        datagram = rest;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first message: its kind and what follows its header; and what follows it.
fn split(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(datagram, 0)? as usize;
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk()?);
    let body = datagram.get(16..length)?;
    let next = length.next_multiple_of(4).min(datagram.len());
    Some((kind, body, datagram.get(next..)?))
}

fn news(kind: u16, body: &[u8], namespace: Option<i32>) -> Option<News> {
    match kind {
        // Bridges use the same messages for their ports, with a family.
        RTM_NEWLINK | RTM_DELLINK if body.first() != Some(&0) => None,
        RTM_NEWLINK => {
            let attributes = Attributes::after(body, IFINFOMSG);
            let mac = attributes.get(IFLA_ADDRESS);
            Some(News::Link {
                namespace,
                index: number(body, 4)?,
                name: attributes.get(IFLA_IFNAME)?.text(),
                mac: mac.and_then(|address| address.value.try_into().ok()),
            })
        }
        RTM_DELLINK => Some(News::LinkGone {
            namespace,
            index: number(body, 4)?,
        }),
        RTM_DELTFILTER | RTM_DELQDISC => Some(News::FilterGone {
            namespace,
            index: number(body, 4)?,
        }),
        // Of the numbers in our namespace only: others have their own.
        RTM_DELNSID if namespace.is_none() => {
            let id = Attributes::after(body, 4).get(NETNSA_NSID)?.u32()?;
            Some(News::NamespaceGone(id as i32))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn all(datagram: &[u8], namespace: Option<i32>) -> Vec<News> {
        let mut found = Vec::new();
        parse(datagram, namespace, &mut |news| found.push(news));
        found
    }

    #[test]
    fn a_port_of_a_bridge_that_leaves_it_is_no_interface_that_is_gone() {
        let mut body = [0; 16];
        body[4] = 3;
        let gone = News::LinkGone {
            namespace: Some(7),
            index: 3,
        };
        assert_eq!(all(&message(RTM_DELLINK, &body), Some(7)), [gone]);
        body[0] = 7; // PF_BRIDGE
        assert_eq!(all(&message(RTM_DELLINK, &body), Some(7)), []);
    }

    #[test]
    fn the_numbers_of_another_namespace_are_not_ours() {
        let body = [0, 0, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0];
        assert_eq!(
            all(&message(RTM_DELNSID, &body), None),
            [News::NamespaceGone(5)]
        );
        assert_eq!(all(&message(RTM_DELNSID, &body), Some(1)), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), kind in 0..100u16) {
            all(&bytes, None);
            all(&message(kind, &bytes), Some(1));
        }
    }
}
