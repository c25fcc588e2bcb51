//! Sends packets in the network that it is started in. A step is one of
//!
//! ```text
//! ask=SERVER/NAME/ADDRESS     over UDP: SERVER is this program as well, and answers with an alias and the address
//! ask-tcp=SERVER/NAME/ADDRESS the same over TCP
//! connect=IP:PORT             a socket of UDP is connected: no packet is sent
//! send=IP:PORT/HEX            a datagram
//! http=IP:PORT/REQUEST/ANSWER over TCP, both ends are this program; `\n` ends a line
//! ```

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// Runs the steps, one after the other.
pub(crate) fn run(steps: &[&str]) {
    for step in steps {
        let (what, with) = step.split_once('=').expect("STEP=ARGUMENTS");
        let parts: Vec<&str> = with.splitn(3, '/').collect();
        match (what, parts.as_slice()) {
            ("ask", [server, name, address]) => ask(server, name, address),
            ("ask-tcp", [server, name, address]) => {
                let question = framed(&question(name));
                let answer = framed(&answer(&question[2..], address));
                exchange(&format!("{server}:53"), &question, &answer);
            }
            ("connect", [to]) => udp().connect(to).expect("connect"),
            ("send", [to, bytes]) => {
                udp().send_to(&unhex(bytes), to).expect("send");
            }
            ("http", [to, request, answer]) => {
                let text = |text: &str| text.replace("\\s", "/").replace("\\n", "\r\n");
                exchange(to, text(request).as_bytes(), text(answer).as_bytes());
            }
            _ => panic!("no such step: {step}"),
        }
    }
}

fn udp() -> UdpSocket {
    UdpSocket::bind("0.0.0.0:0").expect("a socket")
}

fn ask(server: &str, name: &str, address: &str) {
    let there = UdpSocket::bind((server, 53)).expect("the server's socket");
    let here = udp();
    for socket in [&there, &here] {
        socket.set_read_timeout(PATIENCE).expect("a limit");
    }
    let mut room = [0; 1024];
    here.send_to(&question(name), (server, 53)).expect("asked");
    let (length, from) = there.recv_from(&mut room).expect("a question");
    let answer = answer(&room[..length], address);
    there.send_to(&answer, from).expect("answered");
    here.recv_from(&mut room).expect("an answer");
}

/// Sends one thing there and another back.
fn exchange(at: &str, there: &[u8], back: &[u8]) {
    let listener = TcpListener::bind(at).expect("the server's socket");
    let mut client = TcpStream::connect(at).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    for stream in [&client, &server] {
        stream.set_read_timeout(PATIENCE).expect("a limit");
    }
    client.write_all(there).expect("sent");
    server
        .read_exact(&mut vec![0; there.len()])
        .expect("received");
    server.write_all(back).expect("sent");
    client
        .read_exact(&mut vec![0; back.len()])
        .expect("received");
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a short message");
    [&length.to_be_bytes(), message].concat()
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// For the address (A) of a name.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    bytes.extend(labels(name));
    bytes.extend([0, 1, 0, 1]);
    bytes
}

/// The name is an alias of `real.example.net`, which has the address.
fn answer(question: &[u8], address: &str) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[7] = 2;
    let real = labels("real.example.net");
    bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60]);
    bytes.extend(framed(&real));
    bytes.extend(&real);
    bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    let address: std::net::Ipv4Addr = address.parse().expect("an address");
    bytes.extend(address.octets());
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len() / 2).map(|at| digit(2 * at)).collect()
}
