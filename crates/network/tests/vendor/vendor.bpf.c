/* Classifiers as vendors write them, compiled as vendors do: subprograms, maps, constants of the loader, tail calls. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct flow { __u32 from, to; __u16 port; __u16 kind; };

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, struct flow); __type(value, __u32); } policy SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } metrics SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } calls SEC(".maps");

/* Set by the loader, then frozen. */
const volatile int allow = TC_ACT_UNSPEC;
const volatile int chaining = 1;
int changeable = TC_ACT_UNSPEC;

static __noinline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&metrics, &what);

	if (n)
		*n += 1;
}

static __noinline int look(struct __sk_buff *skb, struct flow *flow)
{
	__u8 bytes[20];

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return -1;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, bytes, sizeof(bytes)))
		return -2;
	flow->from = *(__u32 *)(bytes + 12);
	flow->to = *(__u32 *)(bytes + 16);
	flow->kind = bytes[9];
	return bytes[9] == 6;
}

/* Watches and lets everything go on: subprograms, a loop, maps. */
SEC("tc")
int watches(struct __sk_buff *skb)
{
	struct flow flow = {};
	int kind = look(skb, &flow);

	for (int i = 0; i < 4; i++)
		count(i);
	if (kind < 0) {
		count(0);
		return TC_ACT_UNSPEC;
	}
	__u32 *known = bpf_map_lookup_elem(&policy, &flow);

	if (known && *known > 5)
		count(1);
	bpf_map_update_elem(&policy, &flow, &(__u32){ 1 }, BPF_ANY);
	return TC_ACT_UNSPEC;
}

/* Its verdict is a constant of the loader. */
SEC("tc")
int configured(struct __sk_buff *skb)
{
	count(2);
	if (chaining)
		return allow;
	return TC_ACT_OK;
}

/* Its verdict is a variable. */
SEC("tc")
int variable(struct __sk_buff *skb)
{
	return changeable;
}

/* A firewall: passes what it knows and drops the rest. */
SEC("tc")
int firewall(struct __sk_buff *skb)
{
	struct flow flow = {};
	int kind = look(skb, &flow);

	if (kind < 0)
		return TC_ACT_SHOT;
	if (bpf_map_lookup_elem(&policy, &flow))
		return TC_ACT_OK;
	count(3);
	return kind ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* Redirects what it knows. */
SEC("tc")
int redirects(struct __sk_buff *skb)
{
	struct flow flow = {};

	if (look(skb, &flow) == 1)
		return bpf_redirect(flow.port, 0);
	return TC_ACT_UNSPEC;
}

/* Errors of a subprogram are looked at, and never returned. */
SEC("tc")
int handles_errors(struct __sk_buff *skb)
{
	struct flow flow = {};
	int error = look(skb, &flow);
	int verdict = TC_ACT_UNSPEC;

	if (error == -2)
		verdict = TC_ACT_PIPE;
	else if (error < 0)
		verdict = -error - 2;
	return verdict;
}

__noinline int lets_go(struct __sk_buff *skb)
{
	return skb->mark == 7 ? 3 : TC_ACT_UNSPEC;
}

/* A global subprogram, whose value is the verdict; in clsact, 3 is as good as UNSPEC. */
SEC("tc")
int global(struct __sk_buff *skb)
{
	return lets_go(skb);
}

/* Goes on in other programs. */
SEC("tc")
int dispatches(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &calls, skb->protocol & 3);
	return TC_ACT_UNSPEC;
}

static long each(__u32 index, void *context)
{
	*(int *)context += index;
	return 0;
}

/* A verdict that a callback of the kernel's writes. */
SEC("tc")
int calls_back(struct __sk_buff *skb)
{
	int verdict = TC_ACT_UNSPEC;

	bpf_loop(3, each, &verdict, 0);
	return verdict;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
