//! What libbpf and the kernel's verifier say, kept so that a refusal can be told with its reason.

use std::cell::RefCell;

use libbpf_rs::PrintLevel;

/// The verifier's last words are what matters; a whole log can have megabytes.
const KEPT: usize = 16 << 10;

thread_local! {
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Takes libbpf's output from stderr.
pub(crate) fn install() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
}

fn keep(_: PrintLevel, text: String) {
    tracing::debug!("libbpf: {}", text.trim_end());
    SAID.with_borrow_mut(|said| {
        said.push_str(&text);
        if said.len() > 2 * KEPT {
            let mut cut = said.len() - KEPT;
            while !said.is_char_boundary(cut) {
                cut += 1;
            }
            said.drain(..cut);
        }
    });
}

/// Forgets what was said so far on this thread.
pub(crate) fn clear() {
    SAID.with_borrow_mut(String::clear);
}

/// `error`, with the verifier's verdict where it gave one.
pub(crate) fn explain(error: &libbpf_rs::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match SAID.with_borrow(|said| verdict(said)) {
        Some(verdict) => format!("{cause}: {verdict}"),
        None => cause.to_string(),
    }
}

/// The program because of which the last object did not load; `None` where it was for another reason.
pub(crate) fn refused() -> Option<String> {
    SAID.with_borrow(|said| refused_in(said))
}

fn refused_in(said: &str) -> Option<String> {
    let (before, _) = said.rsplit_once("': failed to load")?;
    let (_, name) = before.rsplit_once("prog '")?;
    Some(name.to_owned())
}

/// The line before the verifier's statistics is what it objects to.
fn verdict(said: &str) -> Option<String> {
    let statistics = said.rfind("\nprocessed ")?;
    let before = said[..statistics].lines().rev();
    before
        .map(str::trim)
        .find(|line| {
            !line.is_empty()
                && !line.starts_with("verification time")
                && !line.starts_with("stack depth")
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{refused_in, verdict};

    #[test]
    fn the_verdict_is_the_line_before_the_statistics() {
        let log = "12: (85) call x\nR3 is not a scalar\nverification time 4 usec\nstack depth 0\nprocessed 21 insns (limit 1000000)\n";
        assert_eq!(verdict(log).as_deref(), Some("R3 is not a scalar"));
        assert_eq!(verdict("no log at all"), None);
    }

    #[test]
    fn the_program_that_was_refused_is_named() {
        let log = "libbpf: prog 'a__exit': -- END PROG LOAD LOG --\nlibbpf: prog 'b__exit': failed to load: -EINVAL\nlibbpf: failed to load object\n";
        assert_eq!(refused_in(log).as_deref(), Some("b__exit"));
        assert_eq!(refused_in("libbpf: failed to load object"), None);
    }
}
