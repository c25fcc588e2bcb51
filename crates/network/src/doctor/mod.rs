//! The network doctor: who is on the way of packets, whether we see them all, and what to do where we do not.
//!
//! For each interface of each namespace [`examine`] lists what the kernel runs, in its order, and reads each program: its translated
//! instructions are followed with all values that registers and stack can have (`interpret`), which gives the verdicts that it can
//! return. *Continues* is a proof; what cannot be proved is *unknown*. From that comes one verdict for each interface, and advice
//! (`advice`).

mod advice;
mod examine;
mod helper;
mod image;
mod interpret;
mod number;
mod operation;
mod owner;
mod program;
mod report;
mod state;
mod symbols;
mod text;
mod verdict;

pub use examine::{Options, examine};
pub use owner::{Holder, Owner};
pub use program::Reader;
pub use report::{Classifier, InterfaceReport, NamespaceReport, Report, Verdict};
pub use symbols::Symbols;
pub use text::text;
pub use verdict::{Class, Finding};

/// What a program of these translated instructions (eight bytes each, as the kernel gives them) can return, if it is run directly at this
/// hook. Of what it refers to, maps and functions of the kernel, nothing is known: [`Reader`] asks the kernel for them.
pub fn read_instructions(code: &[u8], hook: crate::tc::Hook) -> Finding {
    let image = image::Image {
        code: code
            .as_chunks()
            .0
            .iter()
            .map(image::Instruction::read)
            .collect(),
        ..image::Image::default()
    };
    verdict::judge(&interpret::interpret(&image), hook, None)
}
