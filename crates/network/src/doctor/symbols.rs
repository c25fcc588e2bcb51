//! Names of the kernel's functions by their addresses, for the calls in translated instructions.

use std::fs;

use super::image::Callee;

/// `/proc/kallsyms`, in the order of addresses.
#[derive(Debug, Default)]
pub struct Symbols {
    text: String,
    /// Address, and where the name is in the text.
    entries: Vec<(u64, std::ops::Range<usize>)>,
    /// What calls are relative to.
    base: Option<u64>,
}

impl Symbols {
    /// Reads them. Without CAP_SYSLOG, or where `kernel.kptr_restrict` is 2, all addresses are 0 and no call has a name.
    pub fn read() -> Self {
        Self::parse(fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    fn parse(text: String) -> Self {
        let mut entries = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .and_then(|word| u64::from_str_radix(word, 16).ok());
            // Code only: functions, local or weak.
            let code = words
                .next()
                .is_some_and(|kind| matches!(kind, "t" | "T" | "w" | "W"));
            if let (Some(address), true, Some(name)) = (address, code, words.next())
                && address != 0
                && let Some(offset) = line.find(name)
            {
                entries.push((address, at + offset..at + offset + name.len()));
            }
            at += line.len();
        }
        entries.sort_by_key(|(address, _)| *address);
        let base = entries
            .iter()
            .find(|(_, name)| &text[name.clone()] == "__bpf_call_base");
        let base = base.map(|(address, _)| *address);
        Self {
            text,
            entries,
            base,
        }
    }

    /// Whether calls have names.
    pub fn known(&self) -> bool {
        self.base.is_some()
    }

    /// The function that a call of the kernel's goes to.
    pub(crate) fn callee(&self, imm: i32, kfunc: bool) -> Callee {
        // Some architectures give a kfunc's number of type instead, which means nothing here.
        if kfunc && !cfg!(target_arch = "x86_64") {
            return Callee::Hidden;
        }
        let Some(base) = self.base.filter(|_| imm != 0) else {
            return Callee::Hidden;
        };
        let address = base.wrapping_add_signed(i64::from(imm));
        let from = self.entries.partition_point(|(other, _)| *other < address);
        let mut names = self.entries[from..]
            .iter()
            .take_while(|(other, _)| *other == address)
            // What a compiler appends to a function that it has changed.
            .map(|(_, name)| {
                self.text[name.clone()]
                    .split('.')
                    .next()
                    .unwrap_or_default()
            });
        let Some(first) = names.next() else {
            return Callee::Hidden;
        };
        // Several functions at one place are the same code: the name that says more is taken.
        let name = names.fold(
            first,
            |best, name| if name.starts_with("bpf_") { name } else { best },
        );
        if kfunc {
            Callee::Kfunc(name.into())
        } else {
            Callee::Helper(name.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_relative_to_their_base() {
        let symbols = Symbols::parse(
            "0000000000001000 T __bpf_call_base\n\
             0000000000001000 d data\n\
             0000000000001200 t bpf_redirect.llvm.77\n\
             0000000000000f00 T bpf_throw\t[module]\n"
                .into(),
        );
        assert_eq!(
            symbols.callee(0x200, false),
            Callee::Helper("bpf_redirect".into())
        );
        assert_eq!(
            symbols.callee(-0x100, true),
            Callee::Kfunc("bpf_throw".into())
        );
        assert_eq!(symbols.callee(0x201, false), Callee::Hidden);
        assert_eq!(symbols.callee(0, false), Callee::Hidden);
    }

    #[test]
    fn hidden_addresses_give_no_names() {
        let symbols = Symbols::parse("0000000000000000 T __bpf_call_base\n".into());
        assert!(!symbols.known());
        assert_eq!(symbols.callee(5, false), Callee::Hidden);
    }
}
