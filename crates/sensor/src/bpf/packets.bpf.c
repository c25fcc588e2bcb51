/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Packets: dns, imds, packet, network_flow_monitor. Classifiers of traffic control, at the interfaces of each network namespace.
 *
 * They only look: the answer is always TC_ACT_UNSPEC, so that every other filter is asked as if these were not there, unless a rule's action
 * has a packet dropped. Nothing of a packet is changed, and none of what filters tell each other by (mark, cb, tc_index).
 */
#include "packet.h"
#include "owners.h"
#include "packet_filter.h"

#define DNS_PORT 53
#define DNS_BYTES 4096
#define HTTP_BYTES 2048
#define PACKET_BYTES 256

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct packet_settings); } packet_settings SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, PACKET_COUNTERS); __type(key, u32); __type(value, u64); } packet_counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, (1 << INTERFACE_BITS) + 1); __type(key, u32); __type(value, struct interface_packets); } interface_packets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct flow_key); __type(value, struct flow_value); } flows SEC(".maps");

/* What this CPU told last, so that a packet is not told again by the interface below the one that it was sent through. */
struct told { u64 skb; u32 ifindex; u32 ports; u32 first; u32 reserved; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct told); } told_last SEC(".maps");

/* What is known of a packet's place beside its bytes. */
struct place { struct net_device *dev; u32 netns, ifindex; u32 direction; bool local; struct socket_owner owner; };

static __always_inline void count_packet(u32 counter)
{
	u64 *n = bpf_map_lookup_elem(&packet_counts, &counter);

	if (n)
		(*n)++;
}

static __always_inline bool wants(u32 kind)
{
	struct filter *filter = get_filter(kind);

	return filter && filter->enabled;
}

static __always_inline void find_place(struct __sk_buff *skb, struct place *place, u32 direction)
{
	struct net *net;

	place->dev = LOAD(struct sk_buff, skb, dev);
	net = LOAD(struct net_device, place->dev, nd_net.net);
	place->netns = net ? LOAD(struct net, net, ns.inum) : 0;
	place->ifindex = skb->ifindex;
	place->direction = direction;
}

/*
 * A table of our own, since a look into a hash map costs more than all else that is done with a packet that nobody wants. Each CPU has its
 * own; an interface that finds both of its places taken is counted as 0.
 */
static __always_inline void count_interface(const struct place *place)
{
	u32 hash = (place->netns * 31 + place->ifindex) * 0x9e3779b1u, at = hash >> (32 - INTERFACE_BITS);
	struct interface_packets *found = bpf_map_lookup_elem(&interface_packets, &at);

	if (!found)
		return;
	if (found->key.netns != place->netns || found->key.ifindex != place->ifindex) {
		if (found->key.netns) {
			at ^= 1;
			found = bpf_map_lookup_elem(&interface_packets, &at);
			if (!found)
				return;
		}
		if (!found->key.netns) {
			found->key.netns = place->netns;
			found->key.ifindex = place->ifindex;
		} else if (found->key.netns != place->netns || found->key.ifindex != place->ifindex) {
			at = 1 << INTERFACE_BITS;
			found = bpf_map_lookup_elem(&interface_packets, &at);
			if (!found)
				return;
		}
	}
	found->n[place->direction == PACKET_INGRESS]++;
}

/* The cookie of the socket here that a packet comes in for; `*local` where there is one. */
static __always_inline u64 receiver(struct __sk_buff *skb, const struct packet *p, bool *local)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = 0;
	u32 size;
	u64 cookie;

	if (p->l3 == ETH_P_IP) {
		tuple.ipv4.saddr = p->source[0];
		tuple.ipv4.daddr = p->destination[0];
		tuple.ipv4.sport = __builtin_bswap16(p->source_port);
		tuple.ipv4.dport = __builtin_bswap16(p->destination_port);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, p->source, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, p->destination, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = __builtin_bswap16(p->source_port);
		tuple.ipv6.dport = __builtin_bswap16(p->destination_port);
	}
	size = p->l3 == ETH_P_IP ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6);
	if (p->l4 == PROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (p->l4 == PROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	*local = true;
	cookie = LOAD(struct sock, number_of(sk), __sk_common.skc_cookie.counter);
	bpf_sk_release(sk);
	return cookie;
}

/* Whose the packet is; `local` says whether it is anybody's here. */
static __always_inline void find_owner(struct __sk_buff *skb, const struct packet *p, struct place *place)
{
	struct port_key key = { .netns = place->netns, .protocol = p->l4 };
	struct socket_owner *owner = 0;
	u64 cookie = 0;

	if (place->direction == PACKET_EGRESS) {
		struct sock *sk = LOAD(struct sk_buff, skb, sk);

		/* A packet that came from another namespace may still have the socket it was sent by. */
		if (sk && netns_of_sock(number_of(sk)) == place->netns) {
			place->local = true;
			place->owner.cgroup_id = bpf_skb_cgroup_id(skb);
			cookie = bpf_get_socket_cookie(skb);
		}
		key.port = p->source_port;
	} else {
		cookie = receiver(skb, p, &place->local);
		key.port = p->destination_port;
	}
	if (!place->local)
		return;
	if (cookie)
		owner = bpf_map_lookup_elem(&socket_owners, &cookie);
	if (!owner && key.port) {
		owner = bpf_map_lookup_elem(&port_owners, &key);
		if (owner && cookie) { /* the port may get another owner, this socket will not */
			struct socket_owner copy = *owner;

			bpf_map_update_elem(&socket_owners, &cookie, &copy, BPF_NOEXIST);
		}
	}
	if (owner)
		place->owner = *owner;
}

/* Begins the record of a packet; it has no task. */
static __always_inline struct packet_body *packet_begin(struct buffer **buffer, u16 kind, const struct packet *p, const struct place *place, u32 size)
{
	struct packet_body *body;
	struct record_header *h;
	struct event_head *head;
	struct buffer *b;
	u32 index;

	b = buffer_take(&index);
	*buffer = b;
	if (!b) {
		count(kind, COUNTER_BUSY);
		count_loss(place->owner.cgroup_id, kind);
		return 0;
	}
	h = (void *)b->data;
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = kind;
	h->flags = HEADER_NO_TASK;
	h->time_ns = bpf_ktime_get_boot_ns();
	h->pid = h->tid = place->owner.pid;
	h->cgroup_id = place->owner.cgroup_id;
	h->start_low = place->owner.start_low;
	h->netns = place->netns;
	h->uid = h->gid = h->euid = h->egid = h->fsuid = h->fsgid = h->auid = h->session = (u32)-1;
	head = reserve(b, sizeof(*head));
	body = reserve(b, sizeof(*body));
	if (!head || !body) {
		buffer_release(b);
		*buffer = 0;
		return 0;
	}
	head->retval = 0;
	head->size = sizeof(*body);
	head->reserved = 0;
	__builtin_memset(body, 0, sizeof(*body));
	__builtin_memcpy(body->source, p->source, sizeof(body->source));
	__builtin_memcpy(body->destination, p->destination, sizeof(body->destination));
	body->source_port = p->source_port;
	body->destination_port = p->destination_port;
	body->l3_protocol = p->l3;
	body->l4_protocol = p->l4;
	body->icmp_type = p->icmp_type;
	body->size = size;
	body->netns = place->netns;
	body->ifindex = place->ifindex;
	body->direction = place->direction;
	bpf_probe_read_kernel_str(body->ifname, sizeof(body->ifname), ADDR(struct net_device, place->dev, name));
	if (!place->owner.pid)
		count_packet(PACKETS_UNATTRIBUTED);
	return body;
}

/* Bytes of the packet from `at` on, `most` at most, which is a power of two. */
static __always_inline void put_packet(struct buffer *b, struct __sk_buff *skb, u32 at, u32 len, u32 most)
{
	u64 off;

	section_begin(b, SECTION_BYTES);
	off = b->off;
	if (len > most)
		len = most;
	if (len && off < BUFFER_DATA) {
		/* Masks that change nothing: the compiler makes one comparison of two, which tells verifiers before 6.18 nothing of `len`. */
		barrier_var(off);
		barrier_var(len);
		off &= BUFFER_DATA - 1;
		len = ((len - 1) & (most - 1)) + 1;
		if (load(skb, at, &b->data[off], len))
			b->off = off + len;
	}
	section_end(b, 0);
}

/* Whether this packet was told a moment ago by the interface that it went through before this one. */
static __always_inline bool told_before(struct __sk_buff *skb, const struct place *place, const struct packet *p, u32 first)
{
	kptr address = number_of(skb);
	u32 zero = 0, ports = p->source_port << 16 | p->destination_port;
	struct told *last = bpf_map_lookup_elem(&told_last, &zero);
	bool again;

	if (!last)
		return false;
	again = last->skb == address && last->ifindex != place->ifindex && last->ports == ports && last->first == first;
	last->skb = address;
	last->ifindex = place->ifindex;
	last->ports = ports;
	last->first = first;
	return again;
}

/* Tells what TCP or UDP carry. Returns whether a record was sent. */
static __always_inline bool tell_payload(struct __sk_buff *skb, u16 kind, const struct packet *p, struct place *place, u32 most)
{
	u32 first = 0, len = p->end > p->payload ? p->end - p->payload : 0;
	struct packet_body *body;
	struct buffer *b;

	find_owner(skb, p, place);
	if (!place->local) {
		count_packet(PACKETS_FORWARDED);
		return false;
	}
	load(skb, p->payload, &first, sizeof(first));
	if (told_before(skb, place, p, first)) {
		count_packet(PACKETS_REPEATED);
		return false;
	}
	body = packet_begin(&b, kind, p, place, skb->len);
	if (!body)
		return false;
	put_packet(b, skb, p->payload, len, most);
	send(b, RING_BULK);
	return true;
}

/* Questions on their way out and answers on their way in. */
static __always_inline bool is_dns(const struct packet *p, u32 direction)
{
	u32 len = p->end > p->payload ? p->end - p->payload : 0;
	u16 port = direction == PACKET_EGRESS ? p->destination_port : p->source_port;

	/* TCP: not what carries nothing, or the length of the message alone. */
	return p->payload && port == DNS_PORT && len > (p->l4 == PROTO_TCP ? 2 : 0);
}

#define WORD(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

/* The beginning of a request to the metadata service, or of its answer; not what follows in further packets. */
static __always_inline bool is_imds(struct __sk_buff *skb, const struct packet *p, u32 direction)
{
	u32 zero = 0, word = 0;
	struct packet_settings *s = bpf_map_lookup_elem(&packet_settings, &zero);

	if (!s || !s->imds_ipv4 || p->l3 != ETH_P_IP || p->l4 != PROTO_TCP || !p->payload)
		return false;
	if ((direction == PACKET_EGRESS ? p->destination[0] : p->source[0]) != s->imds_ipv4)
		return false;
	if (p->payload + sizeof(word) > p->end || !load(skb, p->payload, &word, sizeof(word)))
		return false;
	return word == WORD('G', 'E', 'T', ' ') || word == WORD('P', 'U', 'T', ' ') || word == WORD('H', 'T', 'T', 'P') ||
	       word == WORD('P', 'O', 'S', 'T') || word == WORD('H', 'E', 'A', 'D') || word == WORD('D', 'E', 'L', 'E') ||
	       word == WORD('O', 'P', 'T', 'I') || word == WORD('P', 'A', 'T', 'C');
}

/* Counts a packet to its flow, which is told from this end: its source is here. */
static __always_inline void count_flow(struct __sk_buff *skb, const struct packet *p, struct place *place)
{
	struct flow_key key = { .l3_protocol = p->l3, .l4_protocol = p->l4, .netns = place->netns, .ifindex = place->ifindex };
	bool out = place->direction == PACKET_EGRESS;
	struct flow_value *known, first = {};
	u32 at = !out;

	__builtin_memcpy(key.source, out ? p->source : p->destination, sizeof(key.source));
	__builtin_memcpy(key.destination, out ? p->destination : p->source, sizeof(key.destination));
	key.source_port = out ? p->source_port : p->destination_port;
	key.destination_port = out ? p->destination_port : p->source_port;
	known = bpf_map_lookup_elem(&flows, &key);
	if (!known) {
		find_owner(skb, p, place);
		first.owner = place->owner;
		bpf_probe_read_kernel_str(first.ifname, sizeof(first.ifname), ADDR(struct net_device, place->dev, name));
		bpf_map_update_elem(&flows, &key, &first, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&flows, &key);
		if (!known)
			return;
	}
	__sync_fetch_and_add(&known->bytes[at], skb->len);
	__sync_fetch_and_add(&known->packets[at], 1);
}

static __always_inline int classify(struct __sk_buff *skb, u32 direction)
{
	u32 zero = 0;
	struct packet_settings *s;
	struct place place = {};
	struct packet p = {};
	bool told = false;

	find_place(skb, &place, direction);
	count_interface(&place);
	if (parse(skb, &p)) {
		if (is_dns(&p, direction) && wants(KIND_DNS))
			told = tell_payload(skb, KIND_DNS, &p, &place, DNS_BYTES);
		else if (is_imds(skb, &p, direction) && wants(KIND_IMDS))
			told = tell_payload(skb, KIND_IMDS, &p, &place, HTTP_BYTES);
		if (wants(KIND_NETWORK_FLOW_MONITOR))
			count_flow(skb, &p, &place);
	}
	if (told)
		flush(skb);
	s = bpf_map_lookup_elem(&packet_settings, &zero);
	if (s && s->filters)
		run_filters(skb, direction == PACKET_INGRESS, p.network);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int classifier_egress(struct __sk_buff *skb)
{
	return classify(skb, PACKET_EGRESS);
}

SEC("tc")
int classifier_ingress(struct __sk_buff *skb)
{
	return classify(skb, PACKET_INGRESS);
}

/* Tells that a filter took the packet. */
static __always_inline bool tell_packet(struct __sk_buff *skb, const struct packet *p, const struct place *place, u32 filter, bool dropped)
{
	struct packet_body *body;
	struct buffer *b;

	body = packet_begin(&b, KIND_PACKET, p, place, skb->len);
	if (!body)
		return false;
	body->filter = filter;
	body->dropped = dropped;
	body->network = p->network;
	body->transport = p->payload <= PACKET_BYTES ? p->payload : 0;
	put_packet(b, skb, 0, skb->len, PACKET_BYTES);
	send(b, RING_BULK);
	return true;
}

/* Of a packet that more filters took than this, those that come first are told. */
#define FILTERS_TOLD 4

/* Takes the first bit out of a verdict; gives its number, or PACKET_FILTERS for none. */
static __always_inline u32 take_match(struct packet_verdict *verdict)
{
	for (u32 i = 0; i < PACKET_FILTERS / 64; i++) {
		u64 word = verdict->rules[i], lowest = word & -word, n = lowest - 1;

		if (!word)
			continue;
		verdict->rules[i] = word & (word - 1);
		/* How many bits are below the lowest. */
		n = n - ((n >> 1) & 0x5555555555555555ull);
		n = (n & 0x3333333333333333ull) + ((n >> 2) & 0x3333333333333333ull);
		n = (n + (n >> 4)) & 0x0f0f0f0f0f0f0f0full;
		return i * 64 + (u32)((n * 0x0101010101010101ull) >> 56);
	}
	return PACKET_FILTERS;
}

static __always_inline int after(struct __sk_buff *skb, u32 direction)
{
	u32 zero = 0, ownerless;
	struct packet_verdict *verdict = bpf_map_lookup_elem(&packet_verdict, &zero);
	struct packet_settings *s = bpf_map_lookup_elem(&packet_settings, &zero);
	struct place place = {};
	struct packet p = {};
	bool drop, syn, told = false;
	u64 any;

	if (!verdict || !s)
		return TC_ACT_UNSPEC;
	any = verdict->rules[0] | verdict->rules[1] | verdict->rules[2] | verdict->rules[3];
	if (!(any | verdict->actions))
		return TC_ACT_UNSPEC;
	find_place(skb, &place, direction);
	if (parse(skb, &p))
		find_owner(skb, &p, &place);
	drop = is_dropped(verdict->actions, &place.owner);
	if (drop)
		count_packet(PACKETS_DROPPED);
	ownerless = s->ownerless;
	syn = p.l4 == PROTO_TCP && (p.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (any && (place.owner.pid || ownerless == OWNERLESS_ALL || (ownerless == OWNERLESS_SYN && syn))) {
		for (u32 i = 0; i < FILTERS_TOLD; i++) {
			u32 filter = take_match(verdict);

			if (filter >= PACKET_FILTERS)
				break;
			if (!within_rate(filter, place.owner.pid, s->rate)) {
				count_packet(PACKETS_LIMITED);
				continue;
			}
			told |= tell_packet(skb, &p, &place, filter, drop);
		}
		if (told)
			flush(skb);
	}
	return drop ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int classifier_after_egress(struct __sk_buff *skb)
{
	return after(skb, PACKET_EGRESS);
}

SEC("tc")
int classifier_after_ingress(struct __sk_buff *skb)
{
	return after(skb, PACKET_INGRESS);
}
