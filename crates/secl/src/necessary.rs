//! What an event must have for a rule to match: sound over-approximations that can be tested before the rule is evaluated,
//! in the kernel.

use rustc_hash::FxHashSet;

use crate::ast::{ArithOp, CompareOp};
use crate::ir::{Iter, Num, Pred, Source};
use crate::pattern::Form;

/// What is known of the events that a rule can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Necessary {
    /// Nothing: any event may match.
    Unknown,
    /// An event that matches satisfies at least one of these. Without any, the rule can never match.
    AnyOf(Vec<Condition>),
}

/// One condition on an event that the kernel can test.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The file, or a number. For events with two files (rename, link) either may be meant.
    pub target: Target,
    /// The flags of an open, of which at least one must be set; 0 stands for no condition.
    pub flags: u32,
}

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any file: the condition is on the flags alone.
    Any,
    /// The file with this absolute path.
    Path(String),
    /// A file whose last path element is this.
    Basename(String),
    /// A file in this directory (`/` for the root, else without a slash at the end).
    Directory {
        /// The directory.
        path: String,
        /// Anywhere below it, not only directly in it.
        recursive: bool,
    },
    /// Whatever the file: one of the event's [`KERNEL_NUMBERS`] is so.
    Number {
        /// Which of the two.
        slot: u8,
        /// What it must be.
        test: NumberTest,
    },
}

/// What a number must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumberTest {
    /// This value.
    Equal(i64),
    /// Any of these bits is set.
    Mask(i64),
}

/// The numbers of an event that the kernel side can test before it sends a record: up to two for each event type.
pub const KERNEL_NUMBERS: &[(&str, [&str; 2])] = &[
    ("accept", ["accept.addr.port", "accept.addr.family"]),
    ("bind", ["bind.addr.port", "bind.addr.family"]),
    ("bpf", ["bpf.cmd", ""]),
    ("connect", ["connect.addr.port", "connect.addr.family"]),
    ("mmap", ["mmap.protection", "mmap.flags"]),
    (
        "mprotect",
        ["mprotect.req_protection", "mprotect.vm_protection"],
    ),
    ("prctl", ["prctl.option", ""]),
    ("ptrace", ["ptrace.request", ""]),
    ("setrlimit", ["setrlimit.resource", ""]),
    ("setsockopt", ["setsockopt.optname", "setsockopt.level"]),
    ("signal", ["signal.type", ""]),
    ("socket", ["socket.domain", "socket.type"]),
    ("unshare", ["unshare.flags", ""]),
];

fn kernel_numbers(event: &str) -> [&'static str; 2] {
    let known = KERNEL_NUMBERS.iter().find(|(name, _)| *name == event);
    known.map_or(["", ""], |(_, fields)| *fields)
}

/// The field of a slot of [`KERNEL_NUMBERS`]; empty where the event type has none.
#[must_use]
pub fn kernel_number(event: &str, slot: u8) -> &'static str {
    let fields = kernel_numbers(event);
    fields.get(usize::from(slot)).copied().unwrap_or_default()
}

/// Whether the kernel side can test anything of events of this type.
fn is_tested(event: &str) -> bool {
    FILE_EVENTS.contains(&event) || kernel_numbers(event) != ["", ""]
}

/// The event types whose files the kernel can test before it sends a record.
const FILE_EVENTS: [&str; 12] = [
    "chdir",
    "chmod",
    "chown",
    "link",
    "mkdir",
    "open",
    "removexattr",
    "rename",
    "rmdir",
    "setxattr",
    "unlink",
    "utimes",
];

/// Derives the condition from a compiled expression.
///
/// It is sound as long as the files of these events have no [`crate::model::EventView::alias`].
pub(crate) fn necessary(pred: &Pred, event: Option<&str>) -> Necessary {
    match event {
        Some(event) if is_tested(event) => match Extract::of(event).conditions(pred) {
            Some(mut conditions) => {
                let mut seen = FxHashSet::default();
                conditions.retain(|condition| seen.insert(condition.clone()));
                Necessary::AnyOf(conditions)
            }
            None => Necessary::Unknown,
        },
        _ if matches!(pred, Pred::Const(false)) => Necessary::AnyOf(Vec::new()),
        _ => Necessary::Unknown,
    }
}

/// The smallest part of the expression because of which nothing is known; `None` where something is.
pub(crate) fn defeat(pred: &Pred, event: Option<&str>) -> Option<String> {
    if necessary(pred, event) != Necessary::Unknown {
        return None;
    }
    let Some(event) = event.filter(|event| is_tested(event)) else {
        return Some(format!(
            "the kernel does not filter {} events",
            event.unwrap_or("such")
        ));
    };
    let mut part = pred;
    // Each term of a conjunction would have to say something; one of a disjunction that says nothing is enough.
    while let Pred::Or(terms) = part {
        match terms
            .iter()
            .find(|term| Extract::of(event).conditions(term).is_none())
        {
            Some(term) => part = term,
            None => break,
        }
    }
    Some(part.to_string())
}

struct Extract<'a> {
    event: &'a str,
    numbers: [&'static str; 2],
}

impl<'a> Extract<'a> {
    fn of(event: &'a str) -> Self {
        Self {
            event,
            numbers: kernel_numbers(event),
        }
    }

    /// `None`: nothing is known.
    fn conditions(&self, pred: &Pred) -> Option<Vec<Condition>> {
        match pred {
            Pred::Const(false) => Some(Vec::new()),
            Pred::Or(terms) => {
                let mut all = Vec::new();
                for term in terms {
                    all.extend(self.conditions(term)?);
                }
                Some(all)
            }
            Pred::And(terms) => self.conjunction(terms),
            Pred::Text(source, matcher) => {
                let path = self.file_field(source)?;
                let mut targets = Vec::new();
                self.targets(matcher.form(), path, &mut targets)?;
                Some(
                    targets
                        .into_iter()
                        .map(|target| Condition { target, flags: 0 })
                        .collect(),
                )
            }
            Pred::Int(op, left, right) => self
                .flags(*op, left, right)
                .or_else(|| self.number(*op, left, right)),
            Pred::IntIn(num, values) if self.is_flags(num) => {
                let mut mask = 0;
                for value in values {
                    mask |= flag_bits(*value).filter(|bits| *bits != 0)?;
                }
                Some(vec![Condition {
                    target: Target::Any,
                    flags: mask,
                }])
            }
            Pred::IntIn(num, values) => {
                let (slot, mask) = self.numbered(num)?;
                let tests = values.iter().map(|value| equal(*value, mask));
                let tests: Option<Vec<_>> = tests.collect();
                let tests = tests?.into_iter().flatten();
                Some(tests.map(|test| number(slot, test)).collect())
            }
            // Nothing may be concluded under a negation, but from "not zero".
            Pred::Not(inner) => match &**inner {
                Pred::Int(CompareOp::Eq, left, Num::Const(0)) => {
                    let zero = Num::Const(0);
                    self.flags(CompareOp::Gt, left, &zero)
                        .or_else(|| self.number(CompareOp::Gt, left, &zero))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// One term is enough; the most selective is taken, with the flags of another.
    fn conjunction(&self, terms: &[Pred]) -> Option<Vec<Condition>> {
        let mut best: Option<Vec<Condition>> = None;
        let mut flags = 0;
        for term in terms {
            let Some(found) = self.conditions(term) else {
                continue;
            };
            if let [
                Condition {
                    target: Target::Any,
                    flags: mask,
                },
            ] = found[..]
            {
                // Each of several masks is necessary; the first one will do.
                if flags == 0 {
                    flags = mask;
                }
                continue;
            }
            if best.as_ref().is_none_or(|known| cost(&found) < cost(known)) {
                best = Some(found);
            }
        }
        let Some(mut best) = best else {
            return (flags != 0).then(|| {
                vec![Condition {
                    target: Target::Any,
                    flags,
                }]
            });
        };
        for condition in &mut best {
            if condition.flags == 0 {
                condition.flags = flags;
            }
        }
        Some(best)
    }

    /// Which of the kernel's numbers it is, and the bits of it that count.
    fn numbered(&self, num: &Num) -> Option<(u8, i64)> {
        let (num, mask) = match num {
            Num::Arith(ArithOp::And, a, b) => match (&**a, &**b) {
                (Num::Const(mask), num) | (num, Num::Const(mask)) => (num, *mask),
                _ => return None,
            },
            num => (num, -1),
        };
        let Num::Source(Source::Field {
            name,
            iter: Iter::None,
            many: false,
            index: None,
            ..
        }) = num
        else {
            return None;
        };
        let slot = self.numbers.iter().position(|field| *field == &*name.0)?;
        Some((u8::try_from(slot).ok()?, mask))
    }

    /// A number, or bits of one, compared with a constant.
    fn number(&self, op: CompareOp, left: &Num, right: &Num) -> Option<Vec<Condition>> {
        let Num::Const(right) = right else {
            return None;
        };
        let (slot, mask) = self.numbered(left)?;
        let test = match op {
            CompareOp::Eq => equal(*right, mask)?,
            // Some bit is set; of all bits, that is hardly worth a test.
            CompareOp::Gt if *right >= 0 && mask != -1 => Some(NumberTest::Mask(mask)),
            CompareOp::Ge if *right > 0 && mask != -1 => Some(NumberTest::Mask(mask)),
            _ => return None,
        };
        Some(test.map(|test| number(slot, test)).into_iter().collect())
    }

    /// Whether the source is the path (true) or the name (false) of the event's file or destination.
    fn file_field(&self, source: &Source) -> Option<bool> {
        let Source::Field {
            name,
            many: false,
            iter: Iter::None,
            index: None,
            ..
        } = source
        else {
            return None;
        };
        match name.0.strip_prefix(self.event)? {
            ".file.path" | ".file.destination.path" => Some(true),
            // Of extended attributes it is the name of the attribute.
            ".file.destination.name" if self.event.ends_with("xattr") => None,
            ".file.name" | ".file.destination.name" => Some(false),
            _ => None,
        }
    }

    fn targets(&self, form: &Form, path: bool, out: &mut Vec<Target>) -> Option<()> {
        match form {
            Form::Equal(text) => out.push(exact(text, path)?),
            Form::Set(texts, others) => {
                for text in texts {
                    out.push(exact(text, path)?);
                }
                for other in others {
                    self.targets(other, path, out)?;
                }
            }
            Form::Glob(glob) if path => out.push(glob.necessary()?),
            _ => return None,
        }
        Some(())
    }

    fn is_flags(&self, num: &Num) -> bool {
        self.event == "open"
            && matches!(num, Num::Source(Source::Field { name, iter: Iter::None, many: false, .. }) if name.0 == "open.flags")
    }

    /// `open.flags & MASK` or `open.flags` compared with a number.
    fn flags(&self, op: CompareOp, left: &Num, right: &Num) -> Option<Vec<Condition>> {
        let Num::Const(limit) = right else {
            return None;
        };
        let mask = match left {
            num if self.is_flags(num) => i64::from(u32::MAX),
            Num::Arith(ArithOp::And, a, b) => match (&**a, &**b) {
                (Num::Const(mask), num) | (num, Num::Const(mask)) if self.is_flags(num) => *mask,
                _ => return None,
            },
            _ => return None,
        };
        let mask = flag_bits(mask)?;
        // What the value is known to be: nonzero, or a certain set of bits.
        let bits = match op {
            CompareOp::Gt if *limit >= 0 => mask,
            CompareOp::Ge if *limit > 0 => mask,
            CompareOp::Eq if *limit != 0 => flag_bits(*limit)? & mask,
            _ => return None,
        };
        if bits == 0 || bits == u32::MAX {
            // No bit can be set, or all opens but those with O_RDONLY alone: not worth a test of its own.
            return None;
        }
        Some(vec![Condition {
            target: Target::Any,
            flags: bits,
        }])
    }
}

fn number(slot: u8, test: NumberTest) -> Condition {
    Condition {
        target: Target::Number { slot, test },
        flags: 0,
    }
}

/// What must hold for `bits & mask == value`: `None` where nothing follows, `Some(None)` where it never holds.
fn equal(value: i64, mask: i64) -> Option<Option<NumberTest>> {
    match (value, mask) {
        (value, -1) => Some(Some(NumberTest::Equal(value))),
        (0, _) => None,
        // A bit outside the mask is never set.
        (value, mask) if value & mask != value => Some(None),
        (value, _) => Some(Some(NumberTest::Mask(value))),
    }
}

fn flag_bits(value: i64) -> Option<u32> {
    u32::try_from(value).ok()
}

/// What the kernel knows of a file without path is the same as of one it could not resolve: nothing.
fn exact(text: &str, path: bool) -> Option<Target> {
    if text.is_empty() || path && !text.starts_with('/') {
        return None;
    }
    Some(if path {
        Target::Path(text.to_owned())
    } else {
        Target::Basename(text.to_owned())
    })
}

/// How much a disjunction lets through: the worst member counts most, then their number.
fn cost(conditions: &[Condition]) -> (u32, usize) {
    let worst = conditions.iter().map(|condition| match &condition.target {
        Target::Path(_) => 0,
        Target::Basename(_) => 1,
        Target::Number {
            test: NumberTest::Equal(_),
            ..
        } => 2,
        Target::Directory {
            recursive: false, ..
        } => 2,
        Target::Directory {
            recursive: true, ..
        }
        | Target::Number { .. } => 3,
        Target::Any => 4,
    });
    (worst.max().unwrap_or(0), conditions.len())
}
