//! What the doctor says of a program, held against what the kernel's runs of it return.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use atalaya_network::doctor::{Class, Reader};
use atalaya_network::tc::Hook;
use support::{array, id, insn, load, load_logged, test_run};

/// Random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 20) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Constants that verdicts are made of, mostly.
    fn constant(&mut self) -> i32 {
        match self.below(8) {
            0..=4 => self.pick(&[-1, 0, 1, 2, 3, 4, 7, 8, 16, 255, i32::MAX, i32::MIN]),
            5 => self.below(64) as i32,
            6 => self.next() as i32 & 0xffff,
            _ => self.next() as i32,
        }
    }
}

const VALUES: [u8; 5] = [0, 6, 7, 8, 9];

/// Random programs: arithmetic, stack, jumps, loops, calls.
struct Generator<'a> {
    random: Random,
    constant: BorrowedFd<'a>,
    mutable: BorrowedFd<'a>,
    /// Calls to patch: where in the function, and which function.
    calls: Vec<(usize, usize)>,
}

impl Generator<'_> {
    fn value(&mut self) -> u8 {
        self.random.pick(&VALUES)
    }

    fn block(&mut self, code: &mut Vec<u64>, length: u64, depth: u32, function: usize) {
        for _ in 0..length {
            self.statement(code, depth, function);
        }
    }

    fn statement(&mut self, code: &mut Vec<u64>, depth: u32, function: usize) {
        let (dst, src) = (self.value(), self.value());
        let slot = -8 * (1 + self.random.below(6) as i16);
        match self.random.below(20) {
            0..=4 => {
                let operation = self
                    .random
                    .pick(&[0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xc0u8]);
                let class = self.random.pick(&[4u8, 7]);
                if self.random.below(2) == 0 {
                    code.push(insn(operation | class | 8, dst, src, 0, 0));
                } else {
                    let shift = matches!(operation, 0x60 | 0x70 | 0xc0);
                    let imm = if shift {
                        self.random.below(32) as i32
                    } else {
                        self.random.constant()
                    };
                    code.push(insn(operation | class, dst, 0, 0, imm));
                }
            }
            5 => {
                let off = self.random.below(2) as i16;
                let code_of = self.random.pick(&[0x3c, 0x3f, 0x9c, 0x9fu8]);
                code.push(insn(code_of, dst, src, off, 0));
            }
            6 => {
                let class = self.random.pick(&[4u8, 7]);
                let width = self.random.pick(&[0i16, 0, 8, 16]);
                code.push(insn(0xb8 | class, dst, src, width, 0));
            }
            7 => {
                let class = self.random.pick(&[4u8, 7]);
                code.push(insn(0xb0 | class, dst, 0, 0, self.random.constant()));
            }
            8 => code.push(insn(self.random.pick(&[0x84, 0x87]), dst, 0, 0, 0)),
            9 => {
                let width = self.random.pick(&[16, 32, 64]);
                code.push(insn(
                    self.random.pick(&[0xd4, 0xdc, 0xd7]),
                    dst,
                    0,
                    0,
                    width,
                ));
            }
            10 | 11 => {
                let size = self.random.pick(&[0x00, 0x08, 0x10, 0x18u8]);
                code.push(insn(0x63 | size, 10, src, slot, 0));
            }
            12 | 13 => {
                let size = self.random.pick(&[0x00, 0x08, 0x10, 0x18u8]);
                let mode = if size == 0x18 {
                    0x61
                } else {
                    self.random.pick(&[0x61, 0x81u8])
                };
                code.push(insn(mode | size, dst, 10, slot, 0));
            }
            14 | 15 if depth < 3 => {
                let compare = self.random.pick(&[
                    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0u8,
                ]);
                let class = self.random.pick(&[5u8, 6]);
                let mut then = Vec::new();
                let length = 1 + self.random.below(4);
                self.branch(&mut then, length, depth, function, code.len() + 1);
                let imm = self.random.constant();
                let by_register = self.random.below(2) == 0;
                code.push(if by_register {
                    insn(compare | class | 8, dst, src, then.len() as i16, 0)
                } else {
                    insn(compare | class, dst, 0, then.len() as i16, imm)
                });
                code.extend(then);
            }
            16 if depth < 2 => {
                // A loop, whose counter is on the stack.
                code.push(insn(0x7a, 10, 0, -64, 1 + self.random.below(3) as i32));
                let start = code.len();
                let length = 1 + self.random.below(3);
                self.block(code, length, 3, function);
                code.push(insn(0x79, 1, 10, -64, 0));
                code.push(insn(0x07, 1, 0, 0, -1));
                code.push(insn(0x7b, 10, 1, -64, 0));
                let back = start as i64 - code.len() as i64 - 1;
                code.push(insn(0x55, 1, 0, back as i16, 0));
            }
            17 if function < 2 => {
                // A subprogram gets a value and a pointer into this stack.
                code.push(insn(0xbf, 1, src, 0, 0));
                code.push(insn(0xbf, 2, 10, 0, 0));
                code.push(insn(0x07, 2, 0, 0, i32::from(slot)));
                self.calls.push((code.len(), function + 1));
                code.push(insn(0x85, 0, 1, 0, 0));
            }
            18 => {
                let map = if self.random.below(3) == 0 {
                    self.mutable
                } else {
                    self.constant
                };
                let offset = 4 * self.random.below(4) as i32;
                code.push(insn(0x18, 1, 2, 0, map.as_raw_fd()));
                code.push(insn(0, 0, 0, 0, offset));
                code.push(insn(self.random.pick(&[0x61, 0x69, 0x71]), dst, 1, 0, 0));
            }
            _ => match self.random.below(3) {
                // bpf_get_prandom_u32()
                0 => code.push(insn(0x85, 0, 0, 0, 7)),
                // An offset of the stack that is not known.
                1 => {
                    code.push(insn(0xbf, 1, src, 0, 0));
                    code.push(insn(0x57, 1, 0, 0, 0x18));
                    code.push(insn(0xbf, 2, 10, 0, 0));
                    code.push(insn(0x0f, 2, 1, 0, 0));
                    code.push(insn(0x7b, 2, dst, -48, 0));
                }
                // bpf_skb_load_bytes(context, 0, stack, 6)
                _ if function == 0 => {
                    code.push(insn(0x79, 1, 10, -72, 0));
                    code.push(insn(0xb7, 2, 0, 0, 0));
                    code.push(insn(0xbf, 3, 10, 0, 0));
                    code.push(insn(0x07, 3, 0, 0, i32::from(slot)));
                    code.push(insn(0xb7, 4, 0, 0, 6));
                    code.push(insn(0x85, 0, 0, 0, 26));
                }
                // An atomic exchange on the stack.
                _ => code.push(insn(0xdb, 10, src, slot, 0xe1)),
            },
        }
    }

    /// A block at a place of its function, so that its calls are patched where they are.
    fn branch(&mut self, code: &mut Vec<u64>, length: u64, depth: u32, function: usize, at: usize) {
        let from = self.calls.len();
        self.block(code, length, depth + 1, function);
        for call in &mut self.calls[from..] {
            call.0 += at;
        }
    }

    fn function(&mut self, function: usize) -> Vec<u64> {
        let mut code = Vec::new();
        if function == 0 {
            code.push(insn(0x7b, 10, 1, -72, 0));
            code.push(insn(0x61, 6, 1, 0, 0));
            code.push(insn(0x61, 7, 1, 8, 0));
        } else {
            code.push(insn(0xbf, 6, 1, 0, 0));
            code.push(insn(0xb7, 7, 0, 0, self.random.constant()));
            code.push(insn(0x7b, 2, self.random.pick(&[6, 7]), 0, 0));
        }
        for register in [0, 8, 9] {
            code.push(insn(0xb7, register, 0, 0, self.random.constant()));
        }
        for slot in 1..=8 {
            code.push(insn(0x7a, 10, 0, -8 * slot, self.random.constant()));
        }
        let length = 4 + self.random.below(14);
        self.block(&mut code, length, 0, function);
        match self.random.below(4) {
            0 => code.push(insn(0x57, 0, 0, 0, self.random.pick(&[1, 2, 3, 6, 8, 9]))),
            1 => code.push(insn(0xbc, 0, self.value(), 0, 0)),
            _ => {}
        }
        code.push(insn(0x95, 0, 0, 0, 0));
        code
    }

    fn program(&mut self) -> Vec<u64> {
        let mut whole = Vec::new();
        let mut starts = Vec::new();
        let mut calls = Vec::new();
        for function in 0..3 {
            starts.push(whole.len());
            let code = self.function(function);
            calls.extend(self.calls.drain(..).map(|(at, to)| (whole.len() + at, to)));
            whole.extend(code);
            // A function that nobody calls is refused.
            if !calls.iter().any(|(_, to)| *to == function + 1) {
                break;
            }
        }
        for (at, to) in calls {
            let distance = starts[to] as i64 - at as i64 - 1;
            whole[at] = insn(0x85, 0, 1, 0, distance as i32);
        }
        whole
    }
}

#[test]
fn whatever_a_run_returns_was_said_to_be_possible() {
    if let Err(error) = load("probe", &support::returns(0)) {
        return eprintln!("SKIPPED: no programs can be loaded: {error}");
    }
    let words = [2u32, 0xffff_ffff, 7, 0];
    let contents: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (constant, mutable) = (array(&contents, true), array(&contents, false));
    let rounds: u64 = std::env::var("DOCTOR_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_500);
    let first: u64 = std::env::var("DOCTOR_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let mut reader = Reader::default();
    let (mut loaded, mut known, mut continues) = (0, 0, 0);
    for seed in first..first + rounds {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (constant, mutable) = (constant.as_fd(), mutable.as_fd());
        let mut generator = Generator {
            random,
            constant,
            mutable,
            calls: Vec::new(),
        };
        let code = generator.program();
        let program = match load_logged(&code) {
            Ok(program) => program,
            Err(log) => {
                if std::env::var_os("DOCTOR_LOG").is_some() {
                    eprintln!("{seed}: {log}");
                }
                continue;
            }
        };
        loaded += 1;
        let number = id(&program);
        let said = [Hook::Clsact, Hook::Tcx].map(|hook| reader.judge(number, hook, None));
        known += u32::from(said[0].class != Class::Unknown);
        continues += u32::from(said[0].class == Class::Continues);
        for run in 0..6u8 {
            let packet = vec![run.wrapping_mul(51); 64 + usize::from(run)];
            let mark = [0, 1, 2, u32::MAX, 0x8000_0000, 7][usize::from(run)];
            let returned = test_run(program.as_fd(), &packet, mark);
            let context = || format!("seed {seed}: returned {returned:#x}, said {said:?}");
            assert!(reader.may_return(number, returned), "{}", context());
            let ends = |codes: &[u32]| codes.contains(&returned);
            assert!(
                said[0].class != Class::Continues || !ends(&[0, 2, 4, 7, 8]),
                "{}",
                context()
            );
            assert!(
                said[1].class != Class::Continues || !ends(&[0, 2, 7]),
                "{}",
                context()
            );
        }
    }
    println!("{loaded} of {rounds} programs were loaded, {known} known, {continues} continue");
    assert!(
        loaded * 4 > rounds,
        "only {loaded} of {rounds} programs pass the verifier"
    );
}
