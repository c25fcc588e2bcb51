//! Connections.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::Arm;
use crate::place::{Done, Place, Step, Stop, tell};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("connect_fastopen", connect_fastopen),
    ("udp_without_connect", udp_without_connect),
    ("connect_mapped", connect_mapped),
    ("raw_socket", raw_socket),
];

/// A port of this host that takes connections.
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) port: u16,
}

impl Listener {
    /// On a free port of the loopback interface, which is told as `port`.
    pub(crate) fn new() -> Result<Self, Stop> {
        let listener = Self::quiet()?;
        tell("port", listener.port);
        Ok(listener)
    }

    /// The same, not told.
    pub(crate) fn quiet() -> Result<Self, Stop> {
        let socket =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_absent("the loopback interface")?;
        let port = socket.local_addr().step("its port")?.port();
        Ok(Self { socket, port })
    }
}

impl Listener {
    /// On this port.
    pub(crate) fn at(port: u16) -> Result<Self, Stop> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).step("the port")?;
        Ok(Self { socket, port })
    }

    /// Takes a connection and drops it.
    pub(crate) fn accept(&self) -> Done {
        self.socket.accept().step("accept")?;
        Ok(())
    }
}

/// `struct sockaddr_in` of a port of this host.
pub(crate) fn ipv4(port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    address
}

fn connect_fastopen(_: &Place) -> Done {
    let listener = Listener::new()?;
    let address = ipv4(listener.port);
    let socket = sys_fd!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0).step("socket")?;
    let text = b"hello";
    sys!(
        SYS_sendto,
        &socket,
        text.as_ptr(),
        text.len(),
        libc::MSG_FASTOPEN,
        address.as_ptr(),
        address.len()
    )
    .or_absent("MSG_FASTOPEN")?;
    Ok(())
}

fn udp_without_connect(_: &Place) -> Done {
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).or_absent("the loopback interface")?;
    let to = other.local_addr().step("its port")?;
    tell("port", to.port());
    let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).step("a socket")?;
    own.send_to(b"hello", to).step("sendto")?;
    Ok(())
}

/// An IPv4 address in IPv6's clothes.
fn connect_mapped(_: &Place) -> Done {
    let listener = Listener::new()?;
    let socket = sys_fd!(SYS_socket, libc::AF_INET6, libc::SOCK_STREAM, 0).or_absent("IPv6")?;
    let mut address = [0_u8; 28];
    address[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&listener.port.to_be_bytes());
    address[18..24].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    sys!(SYS_connect, &socket, address.as_ptr(), address.len()).or_absent("connect")?;
    Ok(())
}

fn raw_socket(_: &Place) -> Done {
    sys_fd!(SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0).or_absent("a raw socket")?;
    Ok(())
}
