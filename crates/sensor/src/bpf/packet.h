/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A packet as traffic control hands it over, taken apart as far as its ports. */
#pragma once

#include "event.h"

/* The contexts, as the kernel shows them to such programs. */
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex, ifindex;
};
struct bpf_sock_tuple {
	union {
		struct { __be32 saddr, daddr; __be16 sport, dport; } ipv4;
		struct { __be32 saddr[4], daddr[4]; __be16 sport, dport; } ipv6;
	};
};

#define BPF_F_CURRENT_NETNS (-1ll)

#define TC_ACT_UNSPEC -1 /* the next filter decides: what TCX_NEXT is among links */
#define TC_ACT_SHOT 2

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60
#define TCP_SYN 0x02
#define TCP_ACK 0x10

struct ipv4_header { u8 version_ihl, tos; __be16 length, id, fragment; u8 ttl, protocol; __be16 sum; __be32 source, destination; };
struct ipv6_header { __be32 flow; __be16 length; u8 next, hops; __be32 source[4], destination[4]; };
struct ports { __be16 source, destination; };
struct tcp_rest { u8 offset, flags; };

struct packet {
	__be32 source[4], destination[4];
	u16 source_port, destination_port; /* of this machine's byte order */
	u16 l3, l4;
	u32 network; /* where the network layer begins */
	u32 payload; /* where what TCP or UDP carry begins; 0 for anything else */
	u32 end; /* where the packet ends, without what pads it */
	u8 icmp_type, tcp_flags;
};

static __always_inline bool load(struct __sk_buff *skb, u32 at, void *to, u32 len)
{
	return bpf_skb_load_bytes(skb, at, to, len) == 0;
}

/* The transport layer at `at`. */
static __always_inline void parse_transport(struct __sk_buff *skb, struct packet *p, u32 at)
{
	struct ports ports;
	struct tcp_rest tcp;

	if (p->l4 == PROTO_ICMP || p->l4 == PROTO_ICMPV6) {
		load(skb, at, &p->icmp_type, 1);
		return;
	}
	if ((p->l4 != PROTO_TCP && p->l4 != PROTO_UDP) || !load(skb, at, &ports, sizeof(ports)))
		return;
	p->source_port = __builtin_bswap16(ports.source);
	p->destination_port = __builtin_bswap16(ports.destination);
	if (p->l4 == PROTO_UDP) {
		p->payload = at + 8;
	} else if (load(skb, at + 12, &tcp, sizeof(tcp))) {
		p->tcp_flags = tcp.flags;
		p->payload = at + (tcp.offset >> 4) * 4;
	}
}

/* IPv4 without options, and TCP or UDP: one look at the packet instead of three. A short packet goes the long way. */
struct common { struct ipv4_header ip; struct ports ports; u32 numbers[2]; struct tcp_rest tcp; u8 rest[6]; };

static __always_inline bool parse_common(struct packet *p, const struct common *c)
{
	u32 at = p->network + sizeof(struct ipv4_header);

	if (c->ip.version_ihl != 0x45 || (c->ip.fragment & __builtin_bswap16(0x1fff)) || (p->l4 != PROTO_TCP && p->l4 != PROTO_UDP))
		return false;
	p->source_port = __builtin_bswap16(c->ports.source);
	p->destination_port = __builtin_bswap16(c->ports.destination);
	if (p->l4 == PROTO_UDP) {
		p->payload = at + 8;
	} else {
		p->tcp_flags = c->tcp.flags;
		p->payload = at + (c->tcp.offset >> 4) * 4;
	}
	return true;
}

static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct common common;
	struct ipv4_header ip;
	bool whole = load(skb, p->network, &common, sizeof(common));
	u32 total;

	if (whole)
		ip = common.ip;
	if ((!whole && !load(skb, p->network, &ip, sizeof(ip))) || ip.version_ihl >> 4 != 4)
		return false;
	p->source[0] = ip.source;
	p->destination[0] = ip.destination;
	p->l4 = ip.protocol;
	total = __builtin_bswap16(ip.length);
	if (total && p->network + total < p->end) /* 0 where the card will cut it into pieces */
		p->end = p->network + total;
	if (whole && parse_common(p, &common))
		return true;
	if (!(ip.fragment & __builtin_bswap16(0x1fff))) /* only the first fragment has ports */
		parse_transport(skb, p, p->network + (ip.version_ihl & 15) * 4);
	return true;
}

#define EXTENSIONS 6

static __always_inline bool parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	u32 at = p->network + sizeof(struct ipv6_header), total;
	struct ipv6_header ip;
	u8 next, extension[4];

	if (!load(skb, p->network, &ip, sizeof(ip)) || (ip.flow & 0xf0) != 0x60)
		return false;
	__builtin_memcpy(p->source, ip.source, sizeof(p->source));
	__builtin_memcpy(p->destination, ip.destination, sizeof(p->destination));
	total = __builtin_bswap16(ip.length);
	if (total && at + total < p->end)
		p->end = at + total;
	next = ip.next;
	for (u32 i = 0; i < EXTENSIONS; i++) {
		if (next != PROTO_HOPOPTS && next != PROTO_ROUTING && next != PROTO_FRAGMENT && next != PROTO_AH && next != PROTO_DSTOPTS)
			break;
		if (!load(skb, at, extension, sizeof(extension)))
			break;
		p->l4 = next;
		if (next == PROTO_FRAGMENT && (extension[2] | (extension[3] & 0xf8))) {
			p->l4 = extension[0];
			return true; /* not the first fragment: no ports */
		}
		at += next == PROTO_FRAGMENT ? 8 : next == PROTO_AH ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
		next = extension[0];
	}
	p->l4 = next;
	parse_transport(skb, p, at);
	return true;
}

/*
 * Where the network layer begins is what the kernel says, not what the bytes look like: some interfaces have no link layer, and what their
 * packets begin with the sender chooses.
 */
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	/* Pointers to bytes are but numbers to the verifier, read this way: the context is the kernel's own struct. */
	u64 head = (u64)LOAD(struct sk_buff, skb, head), data = (u64)LOAD(struct sk_buff, skb, data);
	u16 tag[2];

	p->network = head + LOAD(struct sk_buff, skb, network_header) - data;
	p->end = skb->len;
	p->l3 = __builtin_bswap16(skb->protocol);
	if (p->network > 256)
		return false;
	/* Tags that the kernel has not taken off. */
	for (u32 i = 0; i < 2 && (p->l3 == ETH_P_8021Q || p->l3 == ETH_P_8021AD); i++) {
		if (!load(skb, p->network, tag, sizeof(tag)))
			return false;
		p->l3 = __builtin_bswap16(tag[1]);
		p->network += sizeof(tag);
	}
	if (p->l3 == ETH_P_IP)
		return parse_ipv4(skb, p);
	if (p->l3 == ETH_P_IPV6)
		return parse_ipv6(skb, p);
	return false;
}
