//! What a function of the kernel does to what is known: what it returns, and what it writes on the stack.

use super::image::Callee;
use super::number::{Number, Why};
use super::state::{Cell, State, Value};

/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT`
const SHOT: u64 = 2;
const REDIRECT: u64 = 7;
/// The largest stack that a function can have.
const STACK: u64 = 512;

/// What a helper writes through its arguments.
enum Writes {
    Nothing,
    /// Through the pointer in a register, as many bytes as another register says.
    Sized(usize, usize),
    /// Through the pointer in a register, so many bytes.
    Fixed(usize, u64),
    /// Whatever its arguments point to, from there up to the end of the stack that it is on.
    Anywhere,
}

/// Calls a function of the kernel. `callbacks` tells whether the program has functions that it gives to the kernel to call.
pub(crate) fn call(state: &mut State, callee: &Callee, callbacks: bool) {
    let arguments: [Value; 5] =
        std::array::from_fn(|index| state.registers[index + 1].value.clone());
    let pointers = arguments.iter().any(Value::may_be_stack);
    let calls_back = arguments
        .iter()
        .any(|argument| *argument == Value::Function || (callbacks && *argument == Value::Any));
    if calls_back {
        // The callback gets a pointer, and may follow what is there to any stack.
        state.forget_all();
    }
    match writes(callee) {
        Writes::Nothing => {}
        Writes::Sized(pointer, size) => {
            let (_, most) = state.registers[size].value.number().bounds();
            write(state, &arguments[pointer - 1], most);
        }
        Writes::Fixed(pointer, size) => write(state, &arguments[pointer - 1], size),
        Writes::Anywhere => arguments
            .iter()
            .for_each(|argument| write(state, argument, u64::MAX)),
    }
    // r1 to r5 stay as they are: a call that the verifier knows to spare them (`bpf_fastcall`) leaves what was there, and after any
    // other nobody may read them.
    state.registers[0] = Cell::new(match callee {
        Callee::Helper(name) => result(name, &arguments),
        // Some give back what they were given.
        Callee::Kfunc(_) | Callee::Hidden if pointers => Value::Any,
        Callee::Kfunc(_) | Callee::Hidden => Value::unknown(Why::HELPER),
    });
}

/// Up to `size` bytes from where a pointer points may be anything.
fn write(state: &mut State, pointer: &Value, size: u64) {
    match pointer {
        Value::Any => state.forget_all(),
        Value::Stack {
            frame,
            offset: Some(offset),
        } => {
            let from = i64::from(*offset);
            // A negative offset: the stack ends at 0.
            let to = if size <= STACK {
                from + size.cast_signed()
            } else {
                i64::MAX
            };
            state.forget(usize::from(*frame), from, to);
        }
        Value::Stack {
            frame,
            offset: None,
        } => {
            state.forget(usize::from(*frame), i64::MIN, i64::MAX);
        }
        _ => {}
    }
}

/// The helper's value.
fn result(name: &str, arguments: &[Value; 5]) -> Value {
    let flags = |register: usize| arguments[register - 1].number().single();
    let redirect = || Value::Number(Number::constant(REDIRECT));
    match name {
        // These drop the packet where the flags are not theirs; else it is redirected.
        "bpf_redirect" if matches!(flags(2), Some(0 | 1)) => redirect(),
        "bpf_redirect_peer" if flags(2) == Some(0) => redirect(),
        "bpf_redirect" | "bpf_redirect_peer" | "bpf_redirect_neigh" => {
            Number::constants(vec![SHOT, REDIRECT]).map_or(Value::Any, Value::Number)
        }
        "bpf_dynptr_data" => Value::Any,
        _ => Value::unknown(Why::HELPER),
    }
}

/// What is known of the helpers that classifiers use; of any other one, the worst is taken.
fn writes(callee: &Callee) -> Writes {
    let Callee::Helper(name) = callee else {
        return Writes::Anywhere;
    };
    match name.as_str() {
        "bpf_skb_load_bytes" | "bpf_skb_load_bytes_relative" | "bpf_skb_get_xfrm_state" => {
            Writes::Sized(3, 4)
        }
        "bpf_skb_get_tunnel_key" | "bpf_skb_get_tunnel_opt" | "bpf_skb_fib_lookup" => {
            Writes::Sized(2, 3)
        }
        "bpf_get_current_comm"
        | "bpf_probe_read_kernel"
        | "bpf_probe_read_kernel_str"
        | "bpf_probe_read_user"
        | "bpf_probe_read_user_str" => Writes::Sized(1, 2),
        "bpf_skb_check_mtu" => Writes::Fixed(3, 4),
        "bpf_clone_redirect"
        | "bpf_csum_diff"
        | "bpf_csum_level"
        | "bpf_csum_update"
        | "bpf_l3_csum_replace"
        | "bpf_l4_csum_replace"
        | "bpf_perf_event_output"
        | "bpf_redirect"
        | "bpf_redirect_neigh"
        | "bpf_redirect_peer"
        | "bpf_ringbuf_output"
        | "bpf_sk_lookup_tcp"
        | "bpf_sk_lookup_udp"
        | "bpf_skc_lookup_tcp"
        | "bpf_tc_sk_lookup_tcp"
        | "bpf_tc_sk_lookup_udp"
        | "bpf_tc_skc_lookup_tcp"
        | "bpf_skb_event_output"
        | "bpf_skb_set_tunnel_key"
        | "bpf_skb_set_tunnel_opt"
        | "bpf_skb_store_bytes"
        | "bpf_trace_printk"
        | "bpf_trace_vprintk" => Writes::Nothing,
        // A map's keys and values are read. The verifier calls each kind of map's own function, as `__htab_map_lookup_elem`.
        _ if ["_lookup_elem", "_update_elem", "_delete_elem", "_push_elem"]
            .iter()
            .any(|end| name.ends_with(end)) =>
        {
            Writes::Nothing
        }
        _ => Writes::Anywhere,
    }
}
