//! The union of the necessary conditions of all rules of one event type, in the shape that the kernel filters on.

use atalaya_secl::{Necessary, NumberTest, Target};

use crate::Rule;

/// What an event must have for any rule of its type to match. Mirrors what the sensor takes; an event is accepted when
/// `all` is set or any one entry holds for it. Text is compared byte by byte.
///
/// Whoever filters by it must accept an event whose path or flags it does not know for sure (truncated, unresolved).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvers {
    /// Some rule has no condition that can be tested early: accept all.
    pub all: bool,
    /// Why `all` is set: the ids of the rules without a condition.
    pub all_because: Vec<String>,
    /// A file (either file, for rename and link) whose last path element is this, opened with any of these flags (0:
    /// whatever the flags).
    pub basenames: Vec<(String, u32)>,
    /// A file whose full path is this, with flags as above.
    pub paths: Vec<(String, u32)>,
    /// A file directly in this directory or, where the boolean is set, anywhere below it; with flags as above.
    pub directories: Vec<(String, bool, u32)>,
    /// open only: any file, if opened with any of these flags.
    pub flags: u32,
    /// Events of which the first or second of the type's [`KERNEL_NUMBERS`](atalaya_secl::KERNEL_NUMBERS) has this value.
    pub numbers: Vec<(u8, i64)>,
    /// … or has any of these bits.
    pub masks: [i64; 2],
}

impl Approvers {
    pub(crate) fn add(&mut self, rule: &Rule) {
        match rule.program.necessary() {
            Necessary::Unknown => {
                self.all = true;
                self.all_because.push(rule.id.clone());
            }
            Necessary::AnyOf(conditions) => {
                for condition in conditions {
                    let flags = condition.flags;
                    match &condition.target {
                        Target::Any => self.flags |= flags,
                        Target::Number { slot, test } => match test {
                            NumberTest::Equal(value) => self.numbers.push((*slot, *value)),
                            NumberTest::Mask(mask) => {
                                if let Some(all) = self.masks.get_mut(usize::from(*slot)) {
                                    *all |= mask;
                                }
                            }
                        },
                        Target::Path(path) => self.paths.push((path.clone(), flags)),
                        Target::Basename(name) => self.basenames.push((name.clone(), flags)),
                        Target::Directory { path, recursive } => {
                            self.directories.push((path.clone(), *recursive, flags));
                        }
                    }
                }
            }
        }
    }

    /// Once all rules are there: a sort for each of thousands of rules would take minutes.
    pub(crate) fn finish(&mut self) {
        self.paths.sort();
        self.paths.dedup();
        self.basenames.sort();
        self.basenames.dedup();
        self.directories.sort();
        self.directories.dedup();
        self.numbers.sort_unstable();
        self.numbers.dedup();
    }

    /// Whether an event with these numbers can match any rule that is about no file.
    #[must_use]
    pub fn accepts_numbers(&self, values: [i64; 2]) -> bool {
        self.all
            || (0..)
                .zip(values)
                .zip(self.masks)
                .any(|((slot, value), mask)| {
                    value & mask != 0 || self.numbers.binary_search(&(slot, value)).is_ok()
                })
    }

    /// Whether an event with these paths (one, or two for rename and link) and flags can match any rule.
    pub fn accepts(&self, paths: &[&str], flags: u32) -> bool {
        let flags_ok = |wanted: u32| wanted == 0 || flags & wanted != 0;
        self.all
            || flags & self.flags != 0
            || paths.iter().any(|path| {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                let parent = if parent.is_empty() { "/" } else { parent };
                self.paths
                    .iter()
                    .any(|(wanted, mask)| wanted == path && flags_ok(*mask))
                    || self
                        .basenames
                        .iter()
                        .any(|(wanted, mask)| wanted == name && flags_ok(*mask))
                    || self.directories.iter().any(|(directory, recursive, mask)| {
                        flags_ok(*mask)
                            && (parent == directory
                                || *recursive
                                    && parent
                                        .strip_prefix(directory.as_str())
                                        .is_some_and(|rest| rest.starts_with('/')))
                    })
            })
    }
}
