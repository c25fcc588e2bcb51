//! Keys that take IP addresses and networks.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::value::Setting;
use crate::yaml::Node;

impl Setting for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address such as 169.254.169.254";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for IpAddr {
    const EXPECTED: &'static str = "an IP address such as 127.0.0.1";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Networks, each as `10.0.0.0/8`; a single address is one, too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Those that are not of the public internet: private, shared, of one link or machine, for documentation, multicast, reserved.
    pub(crate) fn private() -> Self {
        let all = [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "100.64.0.0/10",
            "fc00::/7",
            "::1/128",
        ];
        Self(all.iter().filter_map(|text| network(text)).collect())
    }

    /// The networks.
    pub fn get(&self) -> &[IpNet] {
        &self.0
    }
}

fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.into()))
        .ok()
}

impl Setting for Networks {
    const EXPECTED: &'static str = "a list of networks such as 10.0.0.0/8";

    fn from_node(node: &Node) -> Option<Self> {
        let texts = Vec::<String>::from_node(node)?;
        texts
            .iter()
            .map(|text| network(text))
            .collect::<Option<_>>()
            .map(Self)
    }

    fn from_text(text: &str) -> Option<Self> {
        let texts = Vec::<String>::from_text(text)?;
        texts
            .iter()
            .map(|text| network(text))
            .collect::<Option<_>>()
            .map(Self)
    }

    fn show(&self) -> String {
        self.0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        let read = |text| Networks::from_text(text).map(|networks| networks.0.len());
        assert_eq!(read("10.0.0.0/8 2001:db8::/32,192.0.2.1"), Some(3));
        assert_eq!(read(""), Some(0));
        assert_eq!(read("10.0.0.0/33"), None);
        assert_eq!(read("example.com"), None);
        assert_eq!(Networks::private().get().len(), 16);
        assert_eq!(
            Ipv4Addr::from_text(" 10.1.2.3"),
            Some(Ipv4Addr::new(10, 1, 2, 3))
        );
        assert_eq!(Ipv4Addr::from_text("::1"), None);
    }
}
