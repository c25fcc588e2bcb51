//! What is asked of, and shown to, the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use atalaya_cli::ask::out;

/// Colours, where the terminal has them.
#[derive(Clone, Copy)]
pub(crate) struct Colour(pub(crate) bool);

impl Colour {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Yellow.
    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Blue.
    pub(crate) fn step(self, text: &str) -> String {
        self.with("34", text)
    }
}

/// Asks for a line.
pub(crate) fn line(question: &str) -> io::Result<String> {
    out(question);
    io::stdout().flush()?;
    let mut line = String::new();
    // Nobody's answer is longer; what comes from a pipe may be.
    io::stdin().lock().take(4096).read_line(&mut line)?;
    if line.is_empty() {
        out("\n");
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim().to_owned())
}

/// Asks, and takes nothing but `y` for a yes.
pub(crate) fn agreed(question: &str) -> bool {
    line(question).is_ok_and(|answer| answer.eq_ignore_ascii_case("y"))
}

/// How far the upload is, on a terminal.
pub(crate) struct Progress {
    total: u64,
    shown: Option<Instant>,
    visible: bool,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            total: total.max(1),
            shown: None,
            visible: io::stderr().is_terminal(),
        }
    }

    /// So many bytes have gone.
    pub(crate) fn at(&mut self, bytes: u64) {
        let due = self
            .shown
            .is_none_or(|at| at.elapsed() > Duration::from_millis(100))
            || bytes >= self.total;
        if self.visible && due {
            self.shown = Some(Instant::now());
            eprint!("\r{}", bar(bytes, self.total));
        }
    }

    /// Makes place for what is said next.
    pub(crate) fn end(&mut self) {
        if self.shown.is_some() {
            eprintln!();
        }
    }
}

fn bar(bytes: u64, total: u64) -> String {
    const WIDTH: u64 = 40;
    let bytes = bytes.min(total);
    let full = usize::try_from(bytes * WIDTH / total).unwrap_or(0);
    let rest = WIDTH as usize - full;
    format!(
        "[{}{}] {:>3} % of {} KiB",
        "#".repeat(full),
        ".".repeat(rest),
        bytes * 100 / total,
        total.div_ceil(1024)
    )
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn the_bar_fills() {
        assert_eq!(bar(0, 1024), format!("[{}]   0 % of 1 KiB", ".".repeat(40)));
        assert_eq!(
            bar(512, 1024),
            format!("[{}{}]  50 % of 1 KiB", "#".repeat(20), ".".repeat(20))
        );
        assert_eq!(
            bar(9999, 1024),
            format!("[{}] 100 % of 1 KiB", "#".repeat(40))
        );
    }
}
