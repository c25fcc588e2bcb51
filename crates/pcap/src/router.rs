//! Many filters as one program of traffic control: all are asked of each packet, and what passed is noted in a map.

use crate::cbpf::Insn;
use crate::ebpf::{Assembler, FRAME, PACKET, VERDICT, op};
use crate::{Filter, Instruction, Link};

/// What a filter is asked for, as bits: those of rules in four words, then those of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The rules' filters.
    pub rules: [u64; 4],
    /// The filters of actions.
    pub actions: u64,
}

/// The descriptors of the maps that the program uses.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    /// A per-CPU array of one `struct packet_verdict`: `u64 rules[4], actions; u32 next, inbound;`. The last two are given.
    pub verdict: i32,
    /// The array of programs, from which `verdict.next` is called at the end.
    pub programs: i32,
}

/// The most instructions of a router: the kernel looks at a million, some of them more than once.
const MAX_ROUTER: usize = 200_000;

const MAP_LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
const RULES: i16 = 0;
const NEXT: i16 = 40;

/// A program that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter {filter:?} makes the program too large")]
pub struct RouterError {
    /// The first filter that is too much.
    pub filter: String,
}

/// A program that asks filters.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its instructions, for `BPF_PROG_LOAD`.
    pub instructions: Vec<Instruction>,
}

/// Makes the program.
///
/// # Errors
/// The filters are too many for one program.
pub fn router(
    filters: &[(&Filter, Verdict)],
    link: Link,
    maps: Maps,
) -> Result<Router, RouterError> {
    let mut asm = Assembler::default();
    asm.push(op::MOV, PACKET, 1, 0, 0);
    // The verdict of this processor.
    asm.push(op::ST_W, FRAME, 0, -4, 0);
    asm.wide(1, 1, maps.verdict as u32 as u64);
    asm.push(op::MOV, 2, FRAME, 0, 0);
    asm.push(op::ADD_K, 2, 0, 0, -4);
    asm.push(op::CALL, 0, 0, 0, MAP_LOOKUP);
    asm.push(op::MOV, VERDICT, 0, 0, 0);
    let there = asm.label();
    asm.jump(op::JNE_K, VERDICT, 0, 0, there);
    asm.push(op::MOV_K, 0, 0, 0, -1);
    asm.push(op::EXIT, 0, 0, 0, 0);
    asm.place(there);
    for word in 0..5 {
        asm.push(op::ST_DW, VERDICT, 0, RULES + 8 * word, 0);
    }
    for (filter, verdict) in filters {
        one(&mut asm, filter, link, *verdict);
        if asm.insns.len() > MAX_ROUTER {
            let filter = filter.text().to_owned();
            return Err(RouterError { filter });
        }
    }
    asm.push(op::MOV, 1, PACKET, 0, 0);
    asm.wide(2, 1, maps.programs as u32 as u64);
    asm.push(op::LDX_W, 3, VERDICT, NEXT, 0);
    asm.push(op::CALL, 0, 0, 0, TAIL_CALL);
    // Nothing there to go on with: the next classifier (TC_ACT_UNSPEC).
    asm.push(op::MOV_K, 0, 0, 0, -1);
    asm.push(op::EXIT, 0, 0, 0, 0);
    let instructions = asm.finish().map_err(|_| RouterError {
        filter: largest(filters, link),
    })?;
    Ok(Router { instructions })
}

fn one(asm: &mut Assembler, filter: &Filter, link: Link, verdict: Verdict) {
    let program = filter.program(link);
    let passes = |insn: &Insn| matches!(insn, Insn::Ret(true));
    if !program.instructions().iter().any(passes) {
        return;
    }
    let (yes, no) = (asm.label(), asm.label());
    asm.filter(program, yes, no);
    asm.place(yes);
    let words = verdict.rules.into_iter().chain([verdict.actions]);
    for (word, bits) in (0i16..).zip(words).filter(|(_, bits)| *bits != 0) {
        let at = RULES + 8 * word;
        asm.push(op::LDX_DW, 1, VERDICT, at, 0);
        asm.wide(2, 0, bits);
        asm.push(op::OR, 1, 2, 0, 0);
        asm.push(op::STX_DW, VERDICT, 1, at, 0);
    }
    asm.place(no);
}

/// The one that a jump is too far in.
fn largest(filters: &[(&Filter, Verdict)], link: Link) -> String {
    filters
        .iter()
        .max_by_key(|(filter, _)| filter.program(link).instructions().len())
        .map_or_else(String::new, |(filter, _)| filter.text().to_owned())
}
