//! Abstract interpretation: which values a program can return, whatever packet, map or clock it meets.
//!
//! Each way through the program is followed with what is known of registers and stack; where ways meet, both are joined. A subprogram is
//! followed anew from each of its calls. What is claimed holds for every run (see `tests/doctor_run.rs`, where the kernel runs what was
//! read here); what cannot be told is [`Stop`] or a number that is not known, never a guess.

use std::collections::{BTreeMap, BTreeSet};

use super::helper;
use super::image::{Image, Instruction, jump};
use super::number::{Number, Why};
use super::operation::{Compare, Operation};
use super::state::{Cell, State, Value};

/// How many instructions are followed in all.
const BUDGET: usize = 600_000;
/// How many functions can be within each other; the kernel allows 8.
const DEPTH: usize = 16;
/// After how many changes at one place numbers that still change are given up.
const PATIENCE: u32 = 24;

/// Why nothing can be said of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has more ways than are followed.
    TooComplex,
    /// It has an instruction that is not known here.
    NotUnderstood,
}

/// What a program can return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Returns {
    /// The value of r0 at each exit; None where it never exits itself.
    pub(crate) number: Option<Number>,
    /// It can go on in another program and not come back.
    pub(crate) tail_call: bool,
}

/// Follows a program from its first instruction.
pub(crate) fn interpret(image: &Image) -> Result<Returns, Stop> {
    let leaders = image.leaders().ok_or(Stop::NotUnderstood)?;
    let callbacks = image
        .code
        .iter()
        .any(|one| one.is_wide_constant() && one.src == 4);
    let follow = |through_calls| {
        let budget = BUDGET;
        let mut walk = Walk {
            image,
            leaders: &leaders,
            callbacks,
            through_calls,
            budget,
            tail_call: false,
        };
        let end = walk.function(0, State::start(), 0)?;
        let number = end.map(|state| state.registers[0].value.number());
        Ok(Returns {
            number,
            tail_call: walk.tail_call,
        })
    };
    match follow(true) {
        // Without a look into subprograms it is shorter.
        Err(Stop::TooComplex) => follow(false),
        result => result,
    }
}

struct Walk<'a> {
    image: &'a Image,
    leaders: &'a BTreeSet<usize>,
    callbacks: bool,
    through_calls: bool,
    budget: usize,
    tail_call: bool,
}

/// What is known where blocks of a function begin.
#[derive(Default)]
struct Blocks {
    known: BTreeMap<usize, (State, u32)>,
    work: BTreeSet<usize>,
    exit: Option<State>,
}

impl Blocks {
    /// A way leads to a block.
    fn reach(&mut self, block: usize, state: State) {
        let Some((known, changes)) = self.known.get_mut(&block) else {
            self.known.insert(block, (state, 0));
            self.work.insert(block);
            return;
        };
        let joined = known.join(&state, *changes > PATIENCE);
        if joined != *known {
            *known = joined;
            *changes += 1;
            self.work.insert(block);
        }
    }

    /// A way leaves the function.
    fn leave(&mut self, state: State) {
        self.exit = Some(match self.exit.take() {
            Some(exit) => exit.join(&state, false),
            None => state,
        });
    }
}

/// What is after an instruction.
enum Next {
    Following,
    End,
}

impl Walk<'_> {
    /// Follows a function; gives what is known where it returns, None where it does not.
    fn function(
        &mut self,
        entry: usize,
        start: State,
        depth: usize,
    ) -> Result<Option<State>, Stop> {
        if depth > DEPTH {
            return Err(Stop::NotUnderstood);
        }
        let mut blocks = Blocks::default();
        blocks.reach(entry, start);
        while let Some(block) = blocks.work.pop_first() {
            let Some((state, _)) = blocks.known.get(&block) else {
                continue;
            };
            let mut state = state.clone();
            let mut at = block;
            loop {
                self.budget = self.budget.checked_sub(1).ok_or(Stop::TooComplex)?;
                let instruction = *self.image.code.get(at).ok_or(Stop::NotUnderstood)?;
                match self.step(&mut state, instruction, at, depth, &mut blocks)? {
                    Next::End => break,
                    Next::Following => at += 1 + usize::from(instruction.is_wide_constant()),
                }
                if self.leaders.contains(&at) {
                    blocks.reach(at, state);
                    break;
                }
            }
        }
        Ok(blocks.exit)
    }

    fn step(
        &mut self,
        state: &mut State,
        instruction: Instruction,
        at: usize,
        depth: usize,
        blocks: &mut Blocks,
    ) -> Result<Next, Stop> {
        if usize::from(instruction.dst.max(instruction.src)) >= state.registers.len() {
            return Err(Stop::NotUnderstood);
        }
        match instruction.class() {
            0 if instruction.is_wide_constant() => self.wide_constant(state, instruction, at)?,
            1 => self.load(state, instruction),
            2 | 3 => self.store(state, instruction, at),
            4 | 7 => arithmetic(state, instruction, at)?,
            5 | 6 => return self.jump(state, instruction, at, depth, blocks),
            // The verifier has replaced all that loads from packets by number (`BPF_LD_ABS`).
            _ => return Err(Stop::NotUnderstood),
        }
        Ok(Next::Following)
    }

    fn wide_constant(
        &self,
        state: &mut State,
        instruction: Instruction,
        at: usize,
    ) -> Result<(), Stop> {
        let second = self.image.code.get(at + 1).ok_or(Stop::NotUnderstood)?;
        let low = instruction.imm.cast_unsigned();
        let high = second.imm.cast_unsigned();
        let value = match instruction.src {
            0 => Value::constant(u64::from(low) | u64::from(high) << 32),
            1 => Value::Handle(low),
            2 => Value::Map {
                map: low,
                offset: Some(high),
            },
            4 => Value::Function,
            _ => Value::unknown(Why::MEMORY),
        };
        state.registers[usize::from(instruction.dst)] = Cell::new(value);
        Ok(())
    }

    fn load(&self, state: &mut State, instruction: Instruction) {
        let signed = match instruction.mode() {
            0x60 => false,
            0x80 => true,
            // Of memory that may not be there.
            _ => {
                state.registers[usize::from(instruction.dst)] = Cell::new(Value::Any);
                return;
            }
        };
        let cell = self.read(
            state,
            instruction.src,
            i32::from(instruction.off),
            instruction.size(),
        );
        state.registers[usize::from(instruction.dst)] = match (signed, cell.value) {
            (true, value) => {
                let bits = u32::from(instruction.size()) * 8;
                Cell::new(Value::Number(value.number().sign_extend(bits)))
            }
            (false, value) => Cell {
                value,
                name: cell.name,
            },
        };
    }

    /// What is where a register points.
    fn read(&self, state: &State, pointer: u8, displacement: i32, size: u8) -> Cell {
        let bits = u32::from(size) * 8;
        match &state.registers[usize::from(pointer)].value {
            Value::Stack {
                frame,
                offset: Some(offset),
            } => match offset.checked_add(displacement) {
                Some(offset) => {
                    let cell = state.load(*frame, offset, size);
                    match cell.value {
                        Value::Any => Cell::new(Value::Any.truncate(bits)),
                        _ => cell,
                    }
                }
                None => Cell::new(Value::Any),
            },
            Value::Stack { .. } | Value::Any if size == 8 => Cell::new(Value::Any),
            Value::Map {
                map,
                offset: Some(offset),
            } => {
                let constant = self.constant(*map, *offset, displacement, size);
                Cell::new(constant.map_or(Value::unknown(Why::MEMORY), Value::constant))
            }
            // Not known to be without sign: a dump does not tell all loads that extend it.
            _ => Cell::new(Value::unknown(Why::MEMORY)),
        }
    }

    /// What a map that never changes holds.
    fn constant(&self, map: u32, offset: u32, displacement: i32, size: u8) -> Option<u64> {
        let contents = self.image.maps.get(&map)?.constant.as_ref()?;
        let from = usize::try_from(offset.checked_add_signed(displacement)?).ok()?;
        let bytes = contents.get(from..from.checked_add(usize::from(size))?)?;
        Some(match *bytes {
            [a] => u64::from(a),
            [a, b] => u64::from(u16::from_ne_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
            _ => u64::from_ne_bytes(bytes.try_into().ok()?),
        })
    }

    fn store(&self, state: &mut State, instruction: Instruction, at: usize) {
        let (size, off) = (instruction.size(), i32::from(instruction.off));
        let (dst, src) = (usize::from(instruction.dst), usize::from(instruction.src));
        let from_register = instruction.class() == 3;
        let pointer = state.registers[dst].value.clone();
        match (instruction.mode(), from_register, instruction.imm) {
            // A barrier for the processor.
            (0xc0, false, _) => {}
            (0x60, false, imm) => {
                let value = Value::constant(i64::from(imm).cast_unsigned());
                let cell = Cell::new(value.truncate(u32::from(size) * 8));
                state.store(&pointer, off, size, Some(cell));
            }
            // Of a register; also with release.
            (0x60, true, _) | (0xc0, true, 0x110) => {
                let cell = copied(state, src, u32::from(size) * 8, at);
                state.store(&pointer, off, size, Some(cell));
            }
            // A load with acquire.
            (0xc0, true, 0x100) => {
                let cell = self.read(state, instruction.src, off, size);
                state.registers[dst] = cell;
            }
            (0xc0 | 0xe0, true, imm) => {
                state.store(&pointer, off, size, None);
                let old = if pointer.may_be_stack() {
                    Value::Any
                } else {
                    Value::unknown(Why::MEMORY)
                };
                if imm == 0xf1 {
                    state.registers[0] = Cell::new(old);
                } else if imm & 1 != 0 || imm >= 0x100 {
                    state.registers[src] = Cell::new(old);
                }
            }
            _ => state.store(&pointer, off, size, None),
        }
    }

    fn jump(
        &mut self,
        state: &mut State,
        instruction: Instruction,
        at: usize,
        depth: usize,
        blocks: &mut Blocks,
    ) -> Result<Next, Stop> {
        match instruction.code {
            0x95 => {
                blocks.leave(state.clone());
                return Ok(Next::End);
            }
            0x85 => return self.call(state, instruction, at, depth, blocks),
            _ => {}
        }
        let target = jump(instruction, at).flatten().ok_or(Stop::NotUnderstood)?;
        match instruction.code & 0xf0 {
            0x00 => {
                blocks.reach(target, state.clone());
                return Ok(Next::End);
            }
            // A loop that the kernel leaves when it has taken too long.
            0xe0 => {
                blocks.reach(target, state.clone());
                return Ok(Next::Following);
            }
            _ => {}
        }
        let compare = Compare::from_code(instruction.code).ok_or(Stop::NotUnderstood)?;
        if let Some(taken) = assume(state, instruction, compare) {
            blocks.reach(target, taken);
        }
        match assume(state, instruction, compare.negated()) {
            Some(other) => {
                *state = other;
                Ok(Next::Following)
            }
            None => Ok(Next::End),
        }
    }

    fn call(
        &mut self,
        state: &mut State,
        instruction: Instruction,
        at: usize,
        depth: usize,
        blocks: &mut Blocks,
    ) -> Result<Next, Stop> {
        if instruction.is_local_call() {
            let target = self.image.target(at).ok_or(Stop::NotUnderstood)?;
            if !self.through_calls {
                state.forget_all();
                state.enter();
                state.leave();
                state.registers[0] = Cell::new(Value::unknown(Why::CALCULATED));
                return Ok(Next::Following);
            }
            let mut inner = state.clone();
            inner.enter();
            let Some(mut after) = self.function(target, inner, depth + 1)? else {
                return Ok(Next::End);
            };
            after.leave();
            *state = after;
            return Ok(Next::Following);
        }
        if self.image.may_tail_call(instruction) {
            if depth == 0 {
                self.tail_call = true;
            } else {
                // The other program returns to the caller of this function.
                let mut gone = state.clone();
                gone.registers[0] = Cell::new(Value::unknown(Why::TAIL_CALL));
                blocks.leave(gone);
            }
        }
        if instruction.src != 0 && instruction.src != 2 {
            return Err(Stop::NotUnderstood);
        }
        helper::call(state, self.image.callee(instruction), self.callbacks);
        Ok(Next::Following)
    }
}

/// A register's value for another place, with the name that both share from now on if it arrives whole.
fn copied(state: &mut State, register: usize, bits: u32, at: usize) -> Cell {
    let value = state.registers[register].value.truncate(bits);
    if value != state.registers[register].value {
        return Cell::new(value);
    }
    state.name(register, at as u32 + 1);
    state.registers[register].clone()
}

/// The other operand of an arithmetic instruction or a jump.
fn operand(state: &State, instruction: Instruction) -> Value {
    if instruction.register_operand() {
        state.registers[usize::from(instruction.src)].value.clone()
    } else {
        Value::constant(i64::from(instruction.imm).cast_unsigned())
    }
}

/// What is known where a comparison holds; None where it cannot.
fn assume(state: &State, instruction: Instruction, compare: Compare) -> Option<State> {
    let wide = instruction.class() == 5;
    let (dst, src) = (usize::from(instruction.dst), usize::from(instruction.src));
    let (Value::Number(left), Value::Number(right)) =
        (&state.registers[dst].value, &operand(state, instruction))
    else {
        return Some(state.clone());
    };
    let (left, right) = Number::assume(compare, left, right, wide)?;
    let mut state = state.clone();
    state.learn(dst, &left);
    if instruction.register_operand() && src != dst {
        state.learn(src, &right);
    }
    Some(state)
}

fn arithmetic(state: &mut State, instruction: Instruction, at: usize) -> Result<(), Stop> {
    let wide = instruction.class() == 7;
    let bits = if wide { 64 } else { 32 };
    let (dst, src) = (usize::from(instruction.dst), usize::from(instruction.src));
    let left = state.registers[dst].value.clone();
    let cell = match (instruction.code & 0xf0, instruction.off) {
        (0xb0, _) if !instruction.register_operand() => {
            Cell::new(operand(state, instruction).truncate(bits))
        }
        (0xb0, 0) => copied(state, src, bits, at),
        (0xb0, width @ (8 | 16 | 32)) => {
            let number = state.registers[src]
                .value
                .number()
                .sign_extend(u32::from(width.cast_unsigned()));
            Cell::new(Value::Number(number.truncate(bits)))
        }
        // Addresses of variables that each processor has, or of memory that is shared with user space.
        (0xb0, _) => Cell::new(Value::Any),
        (0x80, _) => {
            let number = Number::binary(Operation::Sub, &Number::constant(0), &left.number(), wide);
            Cell::new(Value::Number(number))
        }
        (0xd0, _) => {
            let width = instruction.imm.cast_unsigned();
            Cell::new(Value::Number(
                Number::unknown(left.number().range().why.with(Why::CALCULATED)).truncate(width),
            ))
        }
        (0x10 | 0xa0, _) if instruction.register_operand() && src == dst => {
            Cell::new(Value::constant(0))
        }
        (code, off) => {
            let operation = Operation::from_code(code, off == 1).ok_or(Stop::NotUnderstood)?;
            let right = operand(state, instruction);
            Cell::new(match operation {
                Operation::Add | Operation::Sub if wide => {
                    Value::displace(operation, &left, &right)
                }
                _ => Value::Number(Number::binary(
                    operation,
                    &left.number(),
                    &right.number(),
                    wide,
                )),
            })
        }
    };
    state.registers[dst] = cell;
    Ok(())
}
