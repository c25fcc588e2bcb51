//! Reading a loaded program: its instructions, the maps behind them, and what it can return.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::image::{Image, Instruction, MapImage};
use super::interpret::{Returns, Stop, interpret};
use super::symbols::Symbols;
use super::verdict::{self, Class, Finding};
use crate::Error;
use crate::bpf::{self, Map, Program};
use crate::tc::{Action, Hook};

/// How many programs are followed through tail calls.
const TAIL_CALLED: usize = 64;

/// What was read of one program.
struct Read {
    returns: Result<Returns, Stop>,
    throws: bool,
    extended: bool,
    tail_calls: Vec<u32>,
}

/// Reads programs, each once.
#[derive(Default)]
pub struct Reader {
    symbols: OnceCell<Symbols>,
    /// None where the links could not be listed: then any program may be extended.
    extended: OnceCell<Option<BTreeSet<u32>>>,
    read: BTreeMap<u32, Result<Read, Error>>,
}

impl Reader {
    /// Whether the kernel names the functions that programs call; much less can be told where it does not.
    pub fn names_calls(&self) -> bool {
        self.symbols.get_or_init(Symbols::read).known()
    }

    /// What is known of a program's verdicts where it is attached: by which hook, and with the actions of a filter that is not direct.
    pub fn judge(&mut self, id: u32, hook: Hook, actions: Option<&[Action]>) -> Finding {
        let mut finding = self.judge_alone(id, hook, actions);
        // What it tail-calls now can be exchanged, so it proves nothing; but what ends the chain now is worth knowing.
        if actions.is_none() && finding.class != Class::Continues {
            for target in self.tail_called(id) {
                let other = self.judge_alone(target, hook, None);
                if other.class == Class::CanEnd {
                    finding.class = Class::CanEnd;
                    finding.verdicts.extend(other.verdicts);
                }
            }
        }
        finding
    }

    fn judge_alone(&mut self, id: u32, hook: Hook, actions: Option<&[Action]>) -> Finding {
        let read = match self.read(id) {
            Ok(read) => read,
            Err(error) if error.is_gone() => return Finding::unknown("it is gone"),
            Err(_) => {
                return Finding::unknown(
                    "its instructions cannot be read: CAP_SYS_ADMIN is needed",
                );
            }
        };
        let mut finding = verdict::judge(&read.returns, hook, actions);
        for (hidden, reason) in [
            (read.extended, verdict::EXTENDED),
            (read.throws, verdict::THROWS),
        ] {
            if hidden {
                finding.reasons.insert(reason);
                finding.class = finding.class.max(Class::Unknown);
            }
        }
        finding
    }

    /// Whether a run of a program can end with a value in the low half of r0, for all that was read; true where nothing was.
    pub fn may_return(&mut self, id: u32, value: u32) -> bool {
        match self.read(id) {
            Ok(Read {
                returns: Ok(returns),
                throws: false,
                extended: false,
                ..
            }) => {
                returns.tail_call
                    || returns
                        .number
                        .as_ref()
                        .is_some_and(|number| verdict::may_be(number, value))
            }
            _ => true,
        }
    }

    /// The programs that a program's tail calls lead to at present, one after the other.
    pub fn tail_called(&mut self, id: u32) -> BTreeSet<u32> {
        let (mut all, mut work) = (BTreeSet::new(), vec![id]);
        while let Some(program) = work.pop() {
            let Ok(read) = self.read(program) else {
                continue;
            };
            for target in read.tail_calls.clone() {
                if all.len() < TAIL_CALLED && target != id && all.insert(target) {
                    work.push(target);
                }
            }
        }
        all
    }

    fn read(&mut self, id: u32) -> &Result<Read, Error> {
        let symbols = self.symbols.get_or_init(Symbols::read);
        let extended = self.extended.get_or_init(|| {
            bpf::extended_programs()
                .ok()
                .map(|all| all.into_iter().collect())
        });
        self.read.entry(id).or_insert_with(|| {
            let mut image = image(id, symbols)?;
            image.extended = extended.as_ref().is_none_or(|all| all.contains(&id));
            Ok(Read {
                returns: interpret(&image),
                throws: image.may_throw(),
                extended: image.extended,
                tail_calls: image.tail_calls(),
            })
        })
    }
}

/// A program with all that it refers to.
fn image(id: u32, symbols: &Symbols) -> Result<Image, Error> {
    let code = Program::open(id)?.code()?;
    let mut image = Image {
        code: code
            .instructions
            .as_chunks()
            .0
            .iter()
            .map(Instruction::read)
            .collect(),
        functions: code.functions,
        ..Image::default()
    };
    for map in code.maps {
        // Of a map that cannot be opened nothing is known.
        if let Ok(opened) = Map::open(map) {
            let programs = opened.programs().unwrap_or_default();
            image.maps.insert(
                map,
                MapImage {
                    constant: opened.constant(),
                    programs,
                },
            );
        }
    }
    for call in image
        .code
        .iter()
        .filter(|call| call.is_call() && call.src != 1)
    {
        let kfunc = call.src == 2;
        image
            .callees
            .entry((call.imm, kfunc))
            .or_insert_with(|| symbols.callee(call.imm, kfunc));
    }
    Ok(image)
}
