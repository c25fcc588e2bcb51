//! Connections.

use super::entries::{CONNECT, connection};
use crate::{ALL, Limit, Row};

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "connect_mapped",
        attack: "connects an IPv6 socket to an IPv4 address",
        expected: "the connect with the port",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
    Row {
        id: "connect_fastopen",
        attack: "sends with MSG_FASTOPEN, which connects without a connect",
        expected: "the connect with the port",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        limits: &[Limit::new(
            ALL,
            "`connect` is the event of that call and of the hook that it passes; this way passes neither",
        )],
        ..Row::NEW
    },
    Row {
        id: "udp_without_connect",
        attack: "sends a datagram to an address without a connect",
        expected: "the connect with the port",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        limits: &[Limit::new(
            ALL,
            "no connection is made; datagrams are `packet` and `dns` events, which are not captured yet",
        )],
        ..Row::NEW
    },
    Row {
        id: "raw_socket",
        attack: "opens a raw packet socket",
        expected: "the socket with its kind",
        events: &["socket"],
        rules: &[(
            "socket",
            r#"socket.domain == AF_PACKET && socket.type == SOCK_RAW && {me}"#,
        )],
        check: |seen| seen.simply("socket", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
];
