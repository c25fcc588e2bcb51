//! Tests to instructions.

use super::Test;
use crate::MAX_INSTRUCTIONS;
use crate::cbpf::{Insn, Program};
use crate::error::{Error, Span};

/// Instructions whose jumps still name labels.
struct Emitter {
    insns: Vec<Insn>,
    /// Where each label is; `u32::MAX` until it is known.
    places: Vec<u32>,
}

pub(super) fn emit(test: &Test) -> Result<Program, Error> {
    let mut emitter = Emitter {
        insns: Vec::new(),
        places: Vec::new(),
    };
    let (yes, no) = (emitter.label(), emitter.label());
    emitter.test(test, yes, no)?;
    emitter.place(yes);
    emitter.insns.push(Insn::Ret(true));
    emitter.place(no);
    emitter.insns.push(Insn::Ret(false));
    Ok(emitter.finish())
}

impl Emitter {
    fn label(&mut self) -> u32 {
        self.places.push(u32::MAX);
        (self.places.len() - 1) as u32
    }

    /// The label is what comes next.
    fn place(&mut self, label: u32) {
        self.places[label as usize] = self.insns.len() as u32;
    }

    fn test(&mut self, test: &Test, yes: u32, no: u32) -> Result<(), Error> {
        if self.insns.len() > MAX_INSTRUCTIONS {
            let message = format!("the filter takes more than {MAX_INSTRUCTIONS} instructions");
            return Err(Error::new(message, Span::default()).help("make several rules of it"));
        }
        match test {
            Test::Always(true) => self.insns.push(Insn::Ja(yes)),
            Test::Always(false) => self.insns.push(Insn::Ja(no)),
            Test::Leaf(code, cond, src) => {
                self.insns.extend(code);
                self.insns.push(Insn::Jmp(*cond, *src, yes, no));
            }
            Test::Not(inner) => self.test(inner, no, yes)?,
            Test::And(first, second) => {
                let between = self.label();
                self.test(first, between, no)?;
                self.place(between);
                self.test(second, yes, no)?;
            }
            Test::Or(first, second) => {
                let between = self.label();
                self.test(first, yes, between)?;
                self.place(between);
                self.test(second, yes, no)?;
            }
            Test::If(condition, then, otherwise) => {
                let (first, second) = (self.label(), self.label());
                self.test(condition, first, second)?;
                self.place(first);
                self.test(then, yes, no)?;
                self.place(second);
                self.test(otherwise, yes, no)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Program {
        for insn in &mut self.insns {
            match insn {
                Insn::Jmp(_, _, yes, no) => {
                    *yes = self.places[*yes as usize];
                    *no = self.places[*no as usize];
                }
                Insn::Ja(to) => *to = self.places[*to as usize],
                _ => {}
            }
        }
        Program::new(reachable(self.insns))
    }
}

/// Without what no jump leads to: the kernel takes no program that has such instructions.
fn reachable(insns: Vec<Insn>) -> Vec<Insn> {
    let mut used = vec![false; insns.len()];
    if let Some(first) = used.first_mut() {
        *first = true;
    }
    // Jumps only go forward, so one pass sees all.
    for (at, insn) in insns.iter().enumerate() {
        if !used[at] {
            continue;
        }
        match *insn {
            Insn::Jmp(_, _, yes, no) => {
                used[yes as usize] = true;
                used[no as usize] = true;
            }
            Insn::Ja(to) => used[to as usize] = true,
            Insn::Ret(_) => {}
            _ => used[at + 1] = true,
        }
    }
    let mut places = Vec::with_capacity(insns.len());
    let mut count = 0;
    for used in &used {
        places.push(count);
        count += u32::from(*used);
    }
    let moved = |mut insn: Insn| {
        match &mut insn {
            Insn::Jmp(_, _, yes, no) => {
                *yes = places[*yes as usize];
                *no = places[*no as usize];
            }
            Insn::Ja(to) => *to = places[*to as usize],
            _ => {}
        }
        insn
    };
    let kept = insns.into_iter().zip(used).filter(|(_, used)| *used);
    kept.map(|(insn, _)| moved(insn)).collect()
}
