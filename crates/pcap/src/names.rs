//! The words of the language that stand for numbers. Nothing is read from the machine: a filter means the same everywhere.

/// A protocol that the language has a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Proto {
    Link,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    MopDl,
    MopRc,
    Stp,
    Ipx,
    Netbeui,
}

#[rustfmt::skip]
const PROTOS: [(&str, Proto); 33] = [
    ("ether", Proto::Link), ("link", Proto::Link), ("ppp", Proto::Link), ("slip", Proto::Link), ("fddi", Proto::Link), ("tr", Proto::Link),
    ("wlan", Proto::Link), ("ip", Proto::Ip), ("ip6", Proto::Ip6), ("arp", Proto::Arp), ("rarp", Proto::Rarp), ("tcp", Proto::Tcp),
    ("udp", Proto::Udp), ("sctp", Proto::Sctp), ("icmp", Proto::Icmp), ("icmp6", Proto::Icmp6), ("igmp", Proto::Igmp), ("igrp", Proto::Igrp),
    ("pim", Proto::Pim), ("vrrp", Proto::Vrrp), ("carp", Proto::Carp), ("ah", Proto::Ah), ("esp", Proto::Esp), ("atalk", Proto::Atalk),
    ("aarp", Proto::Aarp), ("decnet", Proto::Decnet), ("lat", Proto::Lat), ("sca", Proto::Sca), ("mopdl", Proto::MopDl),
    ("moprc", Proto::MopRc), ("stp", Proto::Stp), ("ipx", Proto::Ipx), ("netbeui", Proto::Netbeui),
];

impl Proto {
    pub(crate) fn of(word: &str) -> Option<Self> {
        PROTOS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|row| row.1)
    }

    pub(crate) fn name(self) -> &'static str {
        PROTOS
            .iter()
            .find(|(_, proto)| *proto == self)
            .map_or("?", |row| row.0)
    }
}

/// The numbers that have names: offsets, ICMP types, TCP flags.
#[rustfmt::skip]
const NUMBERS: [(&str, u32); 54] = [
    ("icmptype", 0), ("icmpcode", 1), ("icmp-echoreply", 0), ("icmp-unreach", 3), ("icmp-sourcequench", 4), ("icmp-redirect", 5),
    ("icmp-echo", 8), ("icmp-routeradvert", 9), ("icmp-routersolicit", 10), ("icmp-timxceed", 11), ("icmp-paramprob", 12),
    ("icmp-tstamp", 13), ("icmp-tstampreply", 14), ("icmp-ireq", 15), ("icmp-ireqreply", 16), ("icmp-maskreq", 17),
    ("icmp-maskreply", 18), ("icmp6type", 0), ("icmp6code", 1), ("icmp6-destinationunreach", 1), ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3), ("icmp6-parameterproblem", 4), ("icmp6-echo", 128), ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130), ("icmp6-multicastlistenerreportv1", 131), ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133), ("icmp6-routeradvert", 134), ("icmp6-neighborsolicit", 135), ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137), ("icmp6-routerrenum", 138), ("icmp6-nodeinformationquery", 139), ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141), ("icmp6-ineighbordiscoveryadvert", 142), ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144), ("icmp6-homeagentdiscoveryreply", 145), ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147), ("icmp6-certpathsolicit", 148), ("icmp6-certpathadvert", 149), ("tcpflags", 13),
    ("tcp-fin", 0x01), ("tcp-syn", 0x02), ("tcp-rst", 0x04), ("tcp-push", 0x08), ("tcp-ack", 0x10), ("tcp-urg", 0x20), ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

pub(crate) fn number(word: &str) -> Option<u32> {
    NUMBERS.iter().find(|row| row.0 == word).map(|row| row.1)
}

/// Every word that means something, for suggestions.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    let others = [
        "src",
        "dst",
        "host",
        "net",
        "mask",
        "port",
        "portrange",
        "proto",
        "and",
        "or",
        "not",
        "len",
        "less",
        "greater",
        "byte",
        "broadcast",
        "multicast",
        "inbound",
        "outbound",
        "ifindex",
        "vlan",
        "mpls",
        "pppoed",
        "pppoes",
        "llc",
    ];
    others
        .into_iter()
        .chain(PROTOS.iter().map(|row| row.0))
        .chain(NUMBERS.iter().map(|row| row.0))
}

/// IP protocols by name (IANA), as `/etc/protocols` has them.
#[rustfmt::skip]
const IP_PROTOS: [(&str, u32); 30] = [
    ("ip", 0), ("hopopt", 0), ("icmp", 1), ("igmp", 2), ("ggp", 3), ("ipencap", 4), ("st", 5), ("tcp", 6), ("egp", 8), ("igp", 9), ("pup", 12),
    ("udp", 17), ("dccp", 33), ("ipv6", 41), ("ipv6-route", 43), ("ipv6-frag", 44), ("rsvp", 46), ("gre", 47), ("esp", 50), ("ah", 51),
    ("ipv6-icmp", 58), ("ipv6-nonxt", 59), ("ipv6-opts", 60), ("ospf", 89), ("ipip", 94), ("pim", 103), ("vrrp", 112), ("l2tp", 115),
    ("sctp", 132), ("udplite", 136),
];

pub(crate) fn ip_proto(word: &str) -> Option<u32> {
    IP_PROTOS.iter().find(|row| row.0 == word).map(|row| row.1)
}

/// Ethernet types by name, and the LLC addresses that the language counts to them.
#[rustfmt::skip]
const ETHER_PROTOS: [(&str, u32); 16] = [
    ("aarp", 0x80f3), ("arp", 0x0806), ("atalk", 0x809b), ("decnet", 0x6003), ("ip", 0x0800), ("ip6", 0x86dd), ("lat", 0x6004),
    ("loopback", 0x9000), ("mopdl", 0x6001), ("moprc", 0x6002), ("rarp", 0x8035), ("sca", 0x6007), ("iso", 0xfe), ("stp", 0x42),
    ("ipx", 0xe0), ("netbeui", 0xf0),
];

pub(crate) fn ether_proto(word: &str) -> Option<u32> {
    ETHER_PROTOS
        .iter()
        .find(|row| row.0 == word)
        .map(|row| row.1)
}

/// Over what a service is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Udp,
    Both,
}

/// Services by name (IANA): those that somebody would write into a filter.
#[rustfmt::skip]
const SERVICES: [(&str, u16, Over); 60] = [
    ("echo", 7, Over::Both), ("discard", 9, Over::Both), ("ftp-data", 20, Over::Tcp), ("ftp", 21, Over::Tcp), ("ssh", 22, Over::Tcp),
    ("telnet", 23, Over::Tcp), ("smtp", 25, Over::Tcp), ("time", 37, Over::Both), ("whois", 43, Over::Tcp), ("tacacs", 49, Over::Both),
    ("domain", 53, Over::Both), ("bootps", 67, Over::Udp), ("bootpc", 68, Over::Udp), ("tftp", 69, Over::Udp), ("finger", 79, Over::Tcp),
    ("http", 80, Over::Tcp), ("www", 80, Over::Tcp), ("kerberos", 88, Over::Both), ("pop3", 110, Over::Tcp), ("sunrpc", 111, Over::Both),
    ("ntp", 123, Over::Udp), ("netbios-ns", 137, Over::Udp), ("netbios-dgm", 138, Over::Udp), ("netbios-ssn", 139, Over::Tcp),
    ("imap2", 143, Over::Tcp), ("imap", 143, Over::Tcp), ("snmp", 161, Over::Both), ("snmp-trap", 162, Over::Both), ("bgp", 179, Over::Tcp), ("irc", 194, Over::Both),
    ("ldap", 389, Over::Both), ("https", 443, Over::Both), ("microsoft-ds", 445, Over::Both), ("kpasswd", 464, Over::Both), ("submissions", 465, Over::Tcp),
    ("isakmp", 500, Over::Udp), ("login", 513, Over::Tcp), ("shell", 514, Over::Tcp), ("syslog", 514, Over::Udp), ("printer", 515, Over::Tcp),
    ("submission", 587, Over::Tcp), ("ldaps", 636, Over::Both), ("rsync", 873, Over::Tcp), ("ftps", 990, Over::Tcp), ("imaps", 993, Over::Tcp), ("pop3s", 995, Over::Tcp),
    ("socks", 1080, Over::Tcp), ("openvpn", 1194, Over::Both), ("ms-sql-s", 1433, Over::Tcp), ("l2f", 1701, Over::Udp), ("radius", 1812, Over::Both),
    ("nfs", 2049, Over::Both), ("mysql", 3306, Over::Tcp), ("sip", 5060, Over::Both), ("mdns", 5353, Over::Udp), ("postgresql", 5432, Over::Tcp),
    ("amqp", 5672, Over::Both), ("x11", 6000, Over::Tcp), ("redis", 6379, Over::Tcp), ("http-alt", 8080, Over::Both),
];

pub(crate) fn service(word: &str) -> Option<(u16, Over)> {
    SERVICES
        .iter()
        .find(|row| row.0 == word)
        .map(|row| (row.1, row.2))
}
