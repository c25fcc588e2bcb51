//! Random filters and packets, from small sets of values so that they meet. Also included by the tests of the sensor.

/// A small generator of random numbers (xorshift); the same seed gives the same run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

const PORTS: [u32; 6] = [22, 53, 80, 443, 6000, 65535];
const HOSTS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.1.2.3", "192.168.1.1"];
const HOSTS6: [&str; 3] = ["fd00::1", "fd00::2", "2001:db8::10.0.0.1"];

/// A condition with a word of its own before every value.
fn primitive(random: &mut Random, ethernet: bool) -> String {
    let direction = random.one_of(&["", "src ", "dst ", "src or dst ", "src and dst "]);
    let port = random.one_of(&PORTS);
    match random.below(if ethernet { 27 } else { 20 }) {
        0 => random
            .one_of(&[
                "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "esp", "ah", "pim",
                "vrrp", "igrp",
            ])
            .to_owned(),
        1 | 2 => format!("{direction}port {port}"),
        3 | 4 => format!(
            "{} {direction}port {port}",
            random.one_of(&["tcp", "udp", "sctp"])
        ),
        5 => format!("{direction}portrange {port}-{}", random.one_of(&PORTS)),
        6 | 7 => format!("{direction}host {}", random.one_of(&HOSTS)),
        8 => format!("{} {direction}host {}", "ip", random.one_of(&HOSTS)),
        9 => format!(
            "{direction}net {}",
            random.one_of(&[
                "10",
                "10.0.0.0/8",
                "10.0.0.0/30",
                "192.168",
                "0.0.0.0/0",
                "10.0 mask 255.255.0.0"
            ])
        ),
        10 => format!("{direction}host {}", random.one_of(&HOSTS6)),
        11 => format!(
            "ip6 {direction}net {}",
            random.one_of(&["fd00::/64", "fd00::/9", "::/0", "2001:db8::/33"])
        ),
        12 => format!(
            "{}proto {}",
            random.one_of(&["", "ip ", "ip6 "]),
            random.one_of(&["6", "17", "\\tcp", "\\udp", "58", "\\icmp"])
        ),
        13 => format!(
            "{} {}",
            random.one_of(&["less", "greater"]),
            random.one_of(&[20, 54, 60, 100])
        ),
        14 => format!("{} multicast", random.one_of(&["ip", "ip6"])),
        15..=17 => relation(random, ethernet),
        18 => format!("tcp port {port} or {}", random.one_of(&PORTS)),
        19 => format!("(src port ({port} or {} or 443))", random.one_of(&PORTS)),
        20 => format!(
            "ether {}{}",
            random.one_of(&["src ", "dst ", "host "]),
            random.one_of(&["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"])
        ),
        21 => random
            .one_of(&[
                "ether broadcast",
                "multicast",
                "llc",
                "stp",
                "ipx",
                "netbeui",
                "aarp",
                "atalk",
                "decnet",
            ])
            .to_owned(),
        22 => format!(
            "ether proto {}",
            random.one_of(&["0x800", "\\arp", "\\ip6", "0x88a8", "100", "\\iso"])
        ),
        23 => random
            .one_of(&["arp", "rarp", "arp host 10.0.0.1", "pppoed"])
            .to_owned(),
        24 => random.one_of(&["vlan", "vlan 5", "vlan 7"]).to_owned(),
        25 => format!(
            "byte {} {} {}",
            random.below(40),
            random.one_of(&["=", "<", ">"]),
            random.below(256)
        ),
        _ => random
            .one_of(&["pppoes", "pppoes 3", "vlan 5 and vlan 7"])
            .to_owned(),
    }
}

fn relation(random: &mut Random, ethernet: bool) -> String {
    let compare = random.one_of(&["=", "==", "!=", "<", ">", "<=", ">="]);
    format!(
        "{} {compare} {}",
        number(random, ethernet, 2),
        number(random, ethernet, 1)
    )
}

fn number(random: &mut Random, ethernet: bool, depth: u32) -> String {
    if depth > 0 && random.below(3) == 0 {
        let op = random.one_of(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
        let left = number(random, ethernet, depth - 1);
        // Not any constant after a shift or a division: some would be errors. No bytes of the packet: libpcap forgets to check the protocol.
        let right = match op {
            "/" | "%" => random.one_of(&["2", "7", "len", "(len - 60)"]).to_owned(),
            "<<" | ">>" => random.one_of(&["1", "2", "(len - 40)"]).to_owned(),
            _ => random
                .one_of(&["1", "255", "0xf0", "len", "-2", "(len * 3)"])
                .to_owned(),
        };
        let text = format!("{left} {op} {right}");
        return if random.below(2) == 0 {
            format!("({text})")
        } else {
            text
        };
    }
    match random.below(12) {
        0 | 1 => random.below(256).to_string(),
        2 => random
            .one_of(&["0x7fffffff", "0xffffffff", "tcp-syn", "icmp-echo", "017"])
            .to_owned(),
        3 => "len".to_owned(),
        4 => format!("-{}", random.below(4)),
        5 => format!("ip[ip[{}] & 31]", random.below(12)),
        6 => format!("tcp[tcp[12] >> {}]", random.below(5)),
        _ => {
            let protos = [
                "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ether", "arp", "sctp",
            ];
            let known = if ethernet { &protos[..] } else { &protos[..6] };
            let (proto, at) = (random.one_of(known), random.below(24));
            match random.below(3) {
                0 => format!("{proto}[{at}]"),
                1 => format!("{proto}[{at}:2]"),
                _ => format!("{proto}[{at}:4]"),
            }
        }
    }
}

/// A filter.
pub(crate) fn filter(random: &mut Random, ethernet: bool) -> String {
    let mut text = one(random, ethernet, 2);
    for _ in 0..random.below(4) {
        let join = random.one_of(&["and", "or", "&&", "||"]);
        text = format!("{text} {join} {}", one(random, ethernet, 2));
    }
    text
}

fn one(random: &mut Random, ethernet: bool, depth: u32) -> String {
    match random.below(8) {
        0 => format!("not {}", one(random, ethernet, depth)),
        1 if depth > 0 => {
            let (first, second) = (
                one(random, ethernet, depth - 1),
                one(random, ethernet, depth - 1),
            );
            format!("({first} {} {second})", random.one_of(&["and", "or"]))
        }
        _ => primitive(random, ethernet),
    }
}

/// A packet: mostly as protocols want it, sometimes cut off, sometimes with a wrong byte.
pub(crate) fn packet(random: &mut Random, ethernet: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let six = random.below(3) == 0;
    let mut ip = true;
    if ethernet {
        for _ in 0..2 {
            let mac = random.one_of(&[
                [2, 0, 0, 0, 0, 1],
                [2, 0, 0, 0, 0, 2],
                [255; 6],
                [1, 0, 0x5e, 0, 0, 1],
            ]);
            bytes.extend(mac);
        }
        for _ in 0..random.one_of(&[0, 0, 0, 1, 2]) {
            bytes.extend(random.one_of(&[
                [0x81, 0, 0, 5],
                [0x88, 0xa8, 0, 7],
                [0x91, 0, 0x20, 5],
                [0x81, 0, 0, 7],
            ]));
        }
        match random.below(12) {
            0 => {
                bytes.extend([
                    8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0,
                    10, 0, 0, 2,
                ]);
                ip = false;
            }
            1 => {
                let sap = random.one_of(&[0xaa, 0x42, 0xfe, 0xe0, 0xf0, 0xff]);
                bytes.extend([0, random.below(200) as u8, sap, sap, 3, 8, 0, 7, 0x80, 0x9b]);
                ip = false;
            }
            2 => bytes.extend([
                0x88,
                0x64,
                0x11,
                0,
                0,
                3,
                0,
                40,
                0,
                if six { 0x57 } else { 0x21 },
            ]),
            3 => {
                bytes.extend([0x88, 0x47]);
                for _ in 0..random.below(2) {
                    bytes.extend([0, 0x40, 0, 64]);
                }
                bytes.extend([0, 0, 0x11, 64]);
            }
            _ => bytes.extend(if six { [0x86, 0xdd] } else { [8, 0] }),
        }
    }
    let proto = random.one_of(&[6, 6, 17, 17, 1, 58, 132, 44, 50, 2]);
    if ip && six {
        bytes.extend([0x60, 0, 0, 0, 0, 40, proto, 64]);
        for _ in 0..2 {
            let address: std::net::Ipv6Addr = random
                .one_of(&["fd00::1", "fd00::2", "ff02::1", "2001:db8::a00:1"])
                .parse()
                .expect("an address");
            bytes.extend(address.octets());
        }
    } else if ip {
        let options = random.one_of(&[0u8, 0, 0, 1, 2]);
        let fragment = random.one_of(&[0u8, 0, 0, 0x20, 0x1f]);
        bytes.extend([0x45 + options, 0, 0, 60, 1, 2, fragment, 0, 64, proto, 0, 0]);
        for _ in 0..2 {
            bytes.extend(random.one_of(&[
                [10, 0, 0, 1],
                [10, 0, 0, 2],
                [10, 1, 2, 3],
                [192, 168, 1, 1],
                [224, 0, 0, 1],
            ]));
        }
        bytes.extend(vec![1; 4 * usize::from(options)]);
    }
    for _ in 0..2 {
        bytes.extend((random.one_of(&PORTS) as u16).to_be_bytes());
    }
    bytes.extend([
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2,
        0x50,
        random.below(64) as u8,
        0x10,
        0,
    ]);
    for _ in 0..random.below(24) {
        bytes.push(random.below(256) as u8);
    }
    if random.below(4) == 0 {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.below(256) as u8;
    }
    if random.below(4) == 0 {
        bytes.truncate(1 + random.below(bytes.len() as u64) as usize);
    }
    bytes
}
