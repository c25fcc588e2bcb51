//! Addresses and networks.

use ipnet::{IpNet, Ipv4Net};

/// The network without host bits; IPv4 in the IPv6-mapped form becomes IPv4, so that both spellings compare as one.
pub(crate) fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(addr) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(addr, v6.prefix_len() - 96)
    {
        return IpNet::V4(v4).trunc();
    }
    net.trunc()
}

/// Whether one of the two networks holds the other. Both must be canonical.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
