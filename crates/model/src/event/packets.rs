//! Events of packets, as the classifiers see them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atalaya_model_derive::Fields;
use atalaya_packet::dns::{self, Data};
use atalaya_packet::tls;
use atalaya_secl::root_domain;
use ipnet::IpNet;
use serde_json::json;

use super::address::{host, is_public};
use super::imds;
use crate::constants::name_of;
use crate::fields::Cx;
use crate::file::length;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const PROTO_ICMP: u16 = 1;
const PROTO_TCP: u16 = 6;
const PROTO_ICMPV6: u16 = 58;

/// One end of a packet's or flow's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct Endpoint {
    /// The IP address.
    #[field]
    pub ip: Option<IpNet>,
    /// Whether the address is one of the public internet, not of a private network.
    #[field]
    pub is_public: bool,
    /// The port.
    #[field]
    pub port: u16,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct Device {
    /// The name of the network interface.
    #[field]
    pub ifname: String,
    /// The inode number of the network namespace the interface is in.
    #[field]
    pub netns: u32,
    /// The number of the interface in its namespace.
    pub ifindex: u32,
}

/// A packet's way and size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct PacketContext {
    /// The interface it went through.
    #[nested(prefix = "device")]
    pub device: Device,
    /// Where it came from.
    #[nested(prefix = "source")]
    pub source: Endpoint,
    /// Where it went.
    #[nested(prefix = "destination")]
    pub destination: Endpoint,
    /// The protocol of the network layer.
    #[field(constants = "L3 protocols")]
    pub l3_protocol: u16,
    /// The protocol of the transport layer.
    #[field(constants = "L4 protocols")]
    pub l4_protocol: u16,
    /// Whether the packet came in or went out.
    #[field(name = "network_direction", constants = "Network directions")]
    pub direction: u32,
    /// The size of the packet in bytes.
    #[field]
    pub size: u32,
    /// The kind of ICMP message.
    #[field(name = "type", constants = "Network Protocol Types")]
    pub icmp_type: u32,
}

/// A packet passed that a rule's filter asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct PacketEvent {
    /// Its way and size; also `network.*`.
    #[nested]
    pub packet: PacketContext,
    /// The filter that the packet passed, in the language of `pcap-filter(7)`.
    #[field(validator = PacketFilter)]
    pub filter: String,
    /// The version of TLS that the packet speaks.
    #[field(name = "tls.version")]
    pub tls_version: u16,
    /// The number of the filter; who has made the filters knows which it is.
    pub filter_number: u32,
    /// Whether a rule's action had it dropped.
    pub is_dropped: bool,
}

/// A question was asked of a name server, or answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct DnsEvent {
    /// The packet; `network.*`.
    pub packet: PacketContext,
    /// The number that the answer carries as well.
    #[field]
    pub id: u16,
    /// The name that was asked for.
    #[field(name = "question.name", text = DnsName)]
    #[computed(name = "question.name.length", ty = i64, get = DnsEvent::name_length, doc = "The length of that name in bytes.")]
    #[computed(name = "question.name.root_domain", ty = String, get = DnsEvent::root_domain, text = DnsName, doc = "The domain that somebody registered, of that name: `example.co.uk` of `www.example.co.uk`.")]
    pub name: String,
    /// The kind of record that was asked for.
    #[field(name = "question.type", constants = "DNS qtypes")]
    pub question_type: u16,
    /// The class of record that was asked for.
    #[field(name = "question.class", constants = "DNS qclasses")]
    pub question_class: u16,
    /// The size of the question in bytes.
    #[field(name = "question.length")]
    pub size: u16,
    /// How many questions the packet asks.
    #[field(name = "question.count")]
    pub count: u16,
    /// What the server answered: that it succeeded, or how it failed.
    #[field(name = "response.code", constants = "DNS Responses")]
    pub code: u8,
    /// The addresses in the answer.
    #[field(name = "response.ips")]
    pub ips: Vec<IpNet>,
    /// The names in the answer that the name is an alias of.
    #[field(name = "response.cnames", text = DnsName)]
    pub cnames: Vec<String>,
    /// Whether it is the answer.
    pub is_response: bool,
    /// What the answer says, record by record: for who keeps the names of addresses.
    pub answers: Vec<DnsAnswer>,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Whose record it is.
    pub name: String,
    /// What it says.
    pub data: DnsData,
}

/// What a record of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsData {
    /// The name's address.
    Address(IpAddr),
    /// The name that it is an alias of.
    Alias(String),
}

impl DnsEvent {
    fn name_length(&self, _: Cx<'_>) -> i64 {
        length(&self.name)
    }

    fn root_domain<'a>(&'a self, _: Cx<'a>) -> &'a str {
        root_domain(&self.name)
    }
}

/// A cloud provider's metadata service was asked, or answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct ImdsEvent {
    /// The packet; `network.*`.
    pub packet: PacketContext,
    /// Whether it is a `request` or a `response`.
    #[field(name = "type")]
    pub kind: String,
    /// The cloud provider whose service it is.
    #[field]
    pub cloud_provider: String,
    /// What was asked for.
    #[field]
    pub url: String,
    /// The `Host` header of the request.
    #[field]
    pub host: String,
    /// The `User-Agent` header of the request.
    #[field]
    pub user_agent: String,
    /// The `Server` header of the response.
    #[field]
    pub server: String,
    /// Whether the request carries a token, as the second version of AWS's service demands.
    #[field(name = "aws.is_imds_v2")]
    pub aws_is_v2: bool,
    /// The kind of the credentials that AWS's service handed out.
    #[field(name = "aws.security_credentials.type")]
    pub aws_credentials: String,
    /// What else is told of those credentials: nothing that is secret.
    pub aws_metadata: AwsCredentials,
}

/// What the answer that hands out credentials says of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AwsCredentials {
    /// Whether they were handed out: `Success`.
    pub code: String,
    /// Their public identifier.
    pub access_key_id: String,
    /// When they were made.
    pub last_updated: String,
    /// Until when they are good.
    pub expiration: String,
}

/// What went over a network interface in the last while.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct FlowEvent {
    /// The interface.
    #[nested(prefix = "device")]
    pub device: Device,
    /// The flows.
    #[nested(prefix = "flows", each)]
    #[computed(name = "flows.length", ty = i64, get = FlowEvent::flows, doc = "The number of flows.")]
    pub flows: Vec<Flow>,
}

impl FlowEvent {
    fn flows(&self, _: Cx<'_>) -> i64 {
        i64::try_from(self.flows.len()).unwrap_or(i64::MAX)
    }
}

/// The packets between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct Flow {
    /// This end.
    #[nested(prefix = "source")]
    pub source: Endpoint,
    /// The other end.
    #[nested(prefix = "destination")]
    pub destination: Endpoint,
    /// The protocol of the network layer.
    #[field(constants = "L3 protocols")]
    pub l3_protocol: u16,
    /// The protocol of the transport layer.
    #[field(constants = "L4 protocols")]
    pub l4_protocol: u16,
    /// What came in.
    #[nested(prefix = "ingress")]
    pub ingress: Traffic,
    /// What went out.
    #[nested(prefix = "egress")]
    pub egress: Traffic,
}

/// How much went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct Traffic {
    /// The number of bytes that went this way.
    #[field]
    pub data_size: u64,
    /// The number of packets that went this way.
    #[field]
    pub packet_count: u64,
}

/// A DNS message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct FailedDnsEvent {
    /// The packet; `network.*`.
    pub packet: PacketContext,
    /// Why it could not be read.
    #[field]
    pub reason: String,
    /// What TCP or UDP carried, from its beginning, as hexadecimal digits.
    #[field]
    pub payload: String,
}

crate::event_body! {
    struct PacketBody as "packet_body" {
        source: [u8; 16],
        destination: [u8; 16],
        source_port: u16,
        destination_port: u16,
        l3_protocol: u16,
        l4_protocol: u16,
        size: u32,
        netns: u32,
        ifindex: u32,
        filter: u32,
        network: u16,
        transport: u16,
        direction: u8,
        icmp_type: u8,
        dropped: u8,
        reserved: u8,
        ifname: [u8; 16],
    }
}

impl PacketBody {
    fn context(&self) -> PacketContext {
        let end = |bytes: &[u8; 16], port| Endpoint::new(address(self.l3_protocol, bytes), port);
        PacketContext {
            device: Device {
                ifname: interface_name(&self.ifname),
                netns: self.netns,
                ifindex: self.ifindex,
            },
            source: end(&self.source, self.source_port),
            destination: end(&self.destination, self.destination_port),
            l3_protocol: self.l3_protocol,
            l4_protocol: self.l4_protocol,
            direction: self.direction.into(),
            size: self.size,
            icmp_type: self.icmp_type.into(),
        }
    }
}

/// The name of an interface, as the kernel keeps it: up to the first NUL.
#[must_use]
pub fn interface_name(bytes: &[u8; 16]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The address in sixteen bytes, of which IPv4 fills the first four; `None` for what is no IP.
#[must_use]
pub fn address(l3_protocol: u16, bytes: &[u8; 16]) -> Option<IpAddr> {
    match l3_protocol {
        ETH_P_IP => bytes
            .first_chunk::<4>()
            .map(|v4| Ipv4Addr::from(*v4).into()),
        ETH_P_IPV6 => Some(Ipv6Addr::from(*bytes).to_canonical()),
        _ => None,
    }
}

impl Endpoint {
    /// An end with this address and port.
    #[must_use]
    pub fn new(ip: Option<IpAddr>, port: u16) -> Self {
        Self {
            ip: ip.map(host),
            is_public: ip.is_some_and(is_public),
            port,
        }
    }

    fn json(&self) -> serde_json::Value {
        let ip = self.ip.map(|ip| ip.addr().to_string());
        json!({ "ip": ip.unwrap_or_default(), "port": self.port })
    }
}

impl Device {
    fn json(&self) -> serde_json::Value {
        json!({ "netns": self.netns, "ifindex": self.ifindex, "ifname": self.ifname })
    }
}

impl PacketContext {
    fn json(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut all = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| all.insert(name.to_owned(), value);
        put("device", self.device.json());
        put("l3_protocol", l3_name(self.l3_protocol).into());
        put("l4_protocol", l4_name(self.l4_protocol).into());
        put("source", self.source.json());
        put("destination", self.destination.json());
        put("size", self.size.into());
        let direction = name_of("Network directions", self.direction.into());
        put("network_direction", direction.into());
        if matches!(self.l4_protocol, PROTO_ICMP | PROTO_ICMPV6) {
            let kind = name_of("Network Protocol Types", self.icmp_type.into());
            put("type", kind.into());
        }
        all
    }
}

fn l3_name(protocol: u16) -> String {
    name_of("L3 protocols", protocol.into())
}

fn l4_name(protocol: u16) -> String {
    name_of("L4 protocols", protocol.into())
}

/// The message in what a packet carries.
fn message(body: &PacketBody, bytes: &[u8]) -> Result<dns::Message, dns::Malformed> {
    if body.l4_protocol == PROTO_TCP {
        dns::Message::parse_segment(bytes)
    } else {
        dns::Message::parse(bytes)
    }
}

impl EventBody for DnsEvent {
    /// `None` for what is no message: that is a [`FailedDnsEvent`].
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PacketBody = record.body()?;
        let message = message(&body, record.bytes).ok()?;
        let ips = message.addresses().map(host).collect();
        let cnames = message.aliases().map(str::to_owned).collect();
        let answers = message.answers.into_iter().map(|answer| DnsAnswer {
            name: answer.name,
            data: match answer.data {
                Data::Address(address) => DnsData::Address(address),
                Data::Alias(name) => DnsData::Alias(name),
            },
        });
        Some(Self {
            packet: body.context(),
            id: message.id,
            name: message.question.name,
            question_type: message.question.kind,
            question_class: message.question.class,
            size: u16::try_from(record.bytes.len()).unwrap_or(u16::MAX),
            count: message.questions,
            code: message.code,
            ips,
            cnames,
            is_response: message.is_response,
            answers: answers.collect(),
        })
    }

    fn packet(&self) -> Option<&PacketContext> {
        Some(&self.packet)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section("network", self.packet.json().into());
        details.section(
            "dns",
            json!({
                "id": self.id,
                "is_query": !self.is_response,
                "question": {
                    "class": name_of("DNS qclasses", self.question_class.into()),
                    "type": name_of("DNS qtypes", self.question_type.into()),
                    "name": self.name,
                    "size": self.size,
                    "count": self.count,
                },
                "response": { "code": self.code },
            }),
        );
    }
}

/// Bytes of a message that could not be read that are kept.
const FAILED_BYTES: usize = 128;

impl EventBody for FailedDnsEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PacketBody = record.body()?;
        let reason = message(&body, record.bytes).err()?;
        let payload = record.bytes.get(..FAILED_BYTES).unwrap_or(record.bytes);
        Some(Self {
            packet: body.context(),
            reason: reason.to_string(),
            payload: super::network::hex(payload),
        })
    }

    fn packet(&self) -> Option<&PacketContext> {
        Some(&self.packet)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        // What the schema of events has no place for is left out: the reason, and the bytes.
        details.section("network", self.packet.json().into());
    }
}

impl EventBody for ImdsEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PacketBody = record.body()?;
        Some(Self {
            packet: body.context(),
            ..imds::read(record.bytes)
        })
    }

    fn packet(&self) -> Option<&PacketContext> {
        Some(&self.packet)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section("network", self.packet.json().into());
        details.section("imds", imds::json(self));
    }
}

impl EventBody for PacketEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PacketBody = record.body()?;
        let carried = match body.transport {
            0 => &[][..],
            at => record.bytes.get(usize::from(at)..).unwrap_or_default(),
        };
        let tls = (body.l4_protocol == PROTO_TCP).then(|| tls::version(carried));
        Some(Self {
            packet: body.context(),
            filter: String::new(),
            tls_version: tls.flatten().unwrap_or_default(),
            filter_number: body.filter,
            is_dropped: body.dropped != 0,
        })
    }

    fn packet(&self) -> Option<&PacketContext> {
        Some(&self.packet)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut json = self.packet.json();
        if self.tls_version != 0 {
            json.insert(
                "tls".to_owned(),
                json!({ "version": tls::name(self.tls_version) }),
            );
        }
        if self.is_dropped {
            json.insert("dropped".to_owned(), true.into());
        }
        details.section("packet", json.into());
    }
}

impl EventBody for FlowEvent {
    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let traffic = |traffic: &Traffic| json!({ "data_size": traffic.data_size, "packet_count": traffic.packet_count });
        let flows = self.flows.iter().map(|flow| {
            json!({
                "l3_protocol": l3_name(flow.l3_protocol),
                "l4_protocol": l4_name(flow.l4_protocol),
                "source": flow.source.json(),
                "destination": flow.destination.json(),
                "ingress": traffic(&flow.ingress),
                "egress": traffic(&flow.egress),
            })
        });
        let flows: Vec<serde_json::Value> = flows.collect();
        details.section(
            "network_flow_monitor",
            json!({ "device": self.device.json(), "flows": flows }),
        );
    }
}
