//! What is known at one place of a program: registers, and the stack of each function that is being called.

use super::number::{Number, Why};
use super::operation::Operation;

/// What a register or a place on the stack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Anything, also a pointer to the stack.
    Any,
    /// A number, or a pointer to something that is not the stack.
    Number(Number),
    /// A pointer to the stack of a function; None of an offset that is not known.
    Stack { frame: u8, offset: Option<i32> },
    /// A pointer to the contents of a map.
    Map { map: u32, offset: Option<u32> },
    /// A map.
    Handle(u32),
    /// A function of the program, given to the kernel to call.
    Function,
}

impl Value {
    /// A number that nothing is known of.
    pub(crate) fn unknown(why: Why) -> Self {
        Self::Number(Number::unknown(why))
    }

    /// A constant.
    pub(crate) fn constant(value: u64) -> Self {
        Self::Number(Number::constant(value))
    }

    /// Whether this may be a pointer to the stack.
    pub(crate) const fn may_be_stack(&self) -> bool {
        matches!(self, Self::Any | Self::Stack { .. })
    }

    /// As a number: what is none is one of any value.
    pub(crate) fn number(&self) -> Number {
        match self {
            Self::Number(number) => number.clone(),
            _ => Number::unknown(Why::MEMORY),
        }
    }

    /// The low `bits` bits. Part of a pointer is none any more.
    pub(crate) fn truncate(&self, bits: u32) -> Self {
        match self {
            _ if bits >= 64 => self.clone(),
            _ => Self::Number(self.number().truncate(bits)),
        }
    }

    pub(crate) fn join(&self, other: &Self, widen: bool) -> Self {
        match (self, other) {
            _ if self == other => self.clone(),
            (Self::Number(a), Self::Number(b)) if widen => Self::Number(a.widen(b)),
            (Self::Number(a), Self::Number(b)) => Self::Number(a.join(b)),
            (Self::Stack { frame, .. }, Self::Stack { frame: other, .. }) if frame == other => {
                Self::Stack {
                    frame: *frame,
                    offset: None,
                }
            }
            (Self::Map { map, .. }, Self::Map { map: other, .. }) if map == other => Self::Map {
                map: *map,
                offset: None,
            },
            _ if self.may_be_stack() || other.may_be_stack() => Self::Any,
            // What the kernel may call must not be lost sight of.
            (Self::Function, _) | (_, Self::Function) => Self::Any,
            _ => Self::unknown(Why::MEMORY),
        }
    }

    /// An addition or subtraction of 64 bits, which keeps pointers pointers.
    pub(crate) fn displace(operation: Operation, left: &Self, right: &Self) -> Self {
        let numbers = || {
            Self::Number(Number::binary(
                operation,
                &left.number(),
                &right.number(),
                true,
            ))
        };
        let adding = operation == Operation::Add;
        let by = |number: &Number| {
            let distance = i32::try_from(number.single()?.cast_signed()).ok()?;
            if adding {
                Some(distance)
            } else {
                distance.checked_neg()
            }
        };
        match (left, right) {
            (Self::Number(_), Self::Number(_)) => numbers(),
            (Self::Stack { frame, offset }, Self::Number(number)) => Self::Stack {
                frame: *frame,
                offset: offset
                    .zip(by(number))
                    .and_then(|(offset, by)| offset.checked_add(by)),
            },
            (Self::Number(_), Self::Stack { .. }) if adding => {
                Self::displace(operation, right, left)
            }
            (Self::Map { map, offset }, Self::Number(number)) => Self::Map {
                map: *map,
                offset: offset
                    .zip(by(number))
                    .and_then(|(offset, by)| offset.checked_add_signed(by)),
            },
            (Self::Number(_), Self::Map { .. }) if adding => Self::displace(operation, right, left),
            // The difference of two pointers is a number, but what may be a pointer less a number may be one.
            (Self::Stack { .. }, Self::Stack { .. }) if !adding => numbers(),
            _ if left.may_be_stack() || right.may_be_stack() => Self::Any,
            _ => numbers(),
        }
    }
}

/// A value, and a name that it shares with its copies; 0 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) value: Value,
    pub(crate) name: u32,
}

impl Cell {
    pub(crate) const fn new(value: Value) -> Self {
        Self { value, name: 0 }
    }

    fn join(&self, other: &Self, widen: bool) -> Self {
        Self {
            value: self.value.join(&other.value, widen),
            name: if self.name == other.name {
                self.name
            } else {
                0
            },
        }
    }
}

/// A place on the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    offset: i32,
    size: u8,
    cell: Cell,
}

impl Slot {
    fn overlaps(&self, from: i64, to: i64) -> bool {
        i64::from(self.offset) < to && from < i64::from(self.offset) + i64::from(self.size)
    }
}

/// The stack of one function, and what its caller keeps in registers meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// What is known, in the order of the offsets. What is not here may be anything.
    slots: Vec<Slot>,
    /// r6 to r9 of the caller.
    saved: Vec<Cell>,
}

/// Registers and stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// r0 to r10, and the one that the verifier's own instructions use.
    pub(crate) registers: [Cell; 12],
    pub(crate) frames: Vec<Frame>,
}

impl State {
    /// Where a program begins: its context is in r1.
    pub(crate) fn start() -> Self {
        let mut state = Self {
            registers: std::array::from_fn(|_| Cell::new(Value::unknown(Why::MEMORY))),
            frames: vec![Frame::default()],
        };
        state.point_at_frame();
        state
    }

    fn point_at_frame(&mut self) {
        let frame = (self.frames.len() - 1) as u8;
        self.registers[10] = Cell::new(Value::Stack {
            frame,
            offset: Some(0),
        });
    }

    /// Enters a function.
    pub(crate) fn enter(&mut self) {
        let saved = self.registers[6..10].to_vec();
        self.frames.push(Frame {
            slots: Vec::new(),
            saved,
        });
        for register in [0, 6, 7, 8, 9, 11] {
            self.registers[register] = Cell::new(Value::unknown(Why::MEMORY));
        }
        self.point_at_frame();
    }

    /// Returns to the caller.
    pub(crate) fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            for (register, cell) in self.registers[6..10].iter_mut().zip(frame.saved) {
                *register = cell;
            }
        }
        // The verifier lets nobody read these before they are written.
        for register in &mut self.registers[1..6] {
            *register = Cell::new(Value::unknown(Why::MEMORY));
        }
        self.point_at_frame();
    }

    /// What both ways can bring.
    pub(crate) fn join(&self, other: &Self, widen: bool) -> Self {
        let registers = std::array::from_fn(|register| {
            self.registers[register].join(&other.registers[register], widen)
        });
        let frames =
            self.frames
                .iter()
                .zip(&other.frames)
                .map(|(a, b)| Frame {
                    slots: a
                        .slots
                        .iter()
                        .filter_map(|slot| {
                            let other = b.slots.iter().find(|other| {
                                (other.offset, other.size) == (slot.offset, slot.size)
                            })?;
                            Some(Slot {
                                cell: slot.cell.join(&other.cell, widen),
                                ..slot.clone()
                            })
                        })
                        .collect(),
                    saved: a
                        .saved
                        .iter()
                        .zip(&b.saved)
                        .map(|(a, b)| a.join(b, widen))
                        .collect(),
                })
                .collect();
        Self { registers, frames }
    }

    /// All cells, of registers and stacks.
    fn cells(&mut self) -> impl Iterator<Item = &mut Cell> {
        let frames = self.frames.iter_mut().flat_map(|frame| {
            frame
                .slots
                .iter_mut()
                .map(|slot| &mut slot.cell)
                .chain(&mut frame.saved)
        });
        self.registers.iter_mut().chain(frames)
    }

    /// Gives a register's value a name that its copies will share. Who had this name from an earlier time loses it.
    pub(crate) fn name(&mut self, register: usize, name: u32) {
        if self.registers[register].name != 0 {
            return;
        }
        for cell in self.cells().filter(|cell| cell.name == name) {
            cell.name = 0;
        }
        self.registers[register].name = name;
    }

    /// What a comparison told of a register, and so of its copies.
    pub(crate) fn learn(&mut self, register: usize, number: &Number) {
        if !matches!(self.registers[register].value, Value::Number(_)) {
            return;
        }
        let name = self.registers[register].name;
        self.registers[register].value = Value::Number(number.clone());
        if name != 0 {
            for cell in self.cells().filter(|cell| cell.name == name) {
                cell.value = Value::Number(number.clone());
            }
        }
    }

    /// Writes to where a pointer points, `size` bytes. None of a value is: anything.
    pub(crate) fn store(
        &mut self,
        pointer: &Value,
        displacement: i32,
        size: u8,
        cell: Option<Cell>,
    ) {
        let (frame, offset) = match pointer {
            Value::Any => return self.forget_all(),
            Value::Stack { frame, offset } => (usize::from(*frame), *offset),
            _ => return,
        };
        let Some(offset) = offset.and_then(|offset| offset.checked_add(displacement)) else {
            return self.forget(frame, i64::from(i32::MIN), i64::from(i32::MAX));
        };
        self.forget(
            frame,
            i64::from(offset),
            i64::from(offset) + i64::from(size),
        );
        let (Some(cell), Some(frame)) = (cell, self.frames.get_mut(frame)) else {
            return;
        };
        if cell.value != Value::Any {
            let at = frame.slots.partition_point(|slot| slot.offset < offset);
            frame.slots.insert(at, Slot { offset, size, cell });
        }
    }

    /// Reads `size` bytes from a frame's stack.
    pub(crate) fn load(&self, frame: u8, offset: i32, size: u8) -> Cell {
        let (from, to) = (i64::from(offset), i64::from(offset) + i64::from(size));
        let slots = self
            .frames
            .get(usize::from(frame))
            .map_or(&[][..], |frame| &frame.slots);
        let mut slots = slots.iter().filter(|slot| slot.overlaps(from, to));
        let (Some(slot), None) = (slots.next(), slots.next()) else {
            return Cell::new(Value::Any);
        };
        if (slot.offset, slot.size) == (offset, size) {
            return slot.cell.clone();
        }
        let inside =
            i64::from(slot.offset) <= from && to <= i64::from(slot.offset) + i64::from(slot.size);
        match &slot.cell.value {
            // The lowest byte is the first one.
            Value::Number(number) if inside && cfg!(target_endian = "little") => {
                let shift = Number::constant((offset - slot.offset).cast_unsigned() as u64 * 8);
                let part = Number::binary(Operation::Rsh, number, &shift, true);
                Cell::new(Value::Number(part.truncate(u32::from(size) * 8)))
            }
            _ => Cell::new(Value::Any),
        }
    }

    /// What is between two offsets of a frame may be anything from now on.
    pub(crate) fn forget(&mut self, frame: usize, from: i64, to: i64) {
        if let Some(frame) = self.frames.get_mut(frame) {
            frame.slots.retain(|slot| !slot.overlaps(from, to));
        }
    }

    /// All stacks may be anything from now on.
    pub(crate) fn forget_all(&mut self) {
        for frame in &mut self.frames {
            frame.slots.clear();
        }
    }
}
