//! Event types by kernels and tiers: what passing tests saw where.

use std::collections::BTreeSet;

use crate::report::Report;

/// One kernel and tier.
pub(crate) struct Column {
    /// `6.12 lsm`.
    pub(crate) name: String,
    /// What its run told.
    pub(crate) report: Report,
    /// Why there is nothing, or less, to tell.
    pub(crate) trouble: Option<String>,
}

/// What is known of one event type on one kernel in one tier.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// A test that passed saw it.
    Yes,
    /// A test of it failed.
    Failed(String),
    /// The probe says that it cannot be seen here.
    Unavailable(String),
    /// The probe captures it, and no test that ran saw it.
    No,
    /// Nobody asked.
    Unknown,
}

fn cell(report: &Report, event: &str) -> Cell {
    let failed: Vec<&str> = report
        .tests
        .iter()
        .filter(|(_, test)| test.failed() && test.about.as_deref() == Some(event))
        .map(|(name, _)| name.as_str())
        .collect();
    if !failed.is_empty() {
        return Cell::Failed(failed.join(", "));
    }
    if report
        .tests
        .values()
        .any(|test| test.passed() && test.seen.contains(event))
    {
        return Cell::Yes;
    }
    match report.events.get(event) {
        Some(Some(why)) => Cell::Unavailable(why.clone()),
        Some(None) => Cell::No,
        None => Cell::Unknown,
    }
}

/// The table, its footnotes, and the counts of each column. Empty when no run told of any event type.
pub(crate) fn render(columns: &[Column]) -> String {
    let events: BTreeSet<&str> = columns
        .iter()
        .flat_map(|column| column.report.events.keys().map(String::as_str))
        .collect();
    let mut notes: Vec<String> = Vec::new();
    let mut note = |text: String| {
        let at = notes.iter().position(|known| *known == text);
        at.unwrap_or_else(|| {
            notes.push(text);
            notes.len() - 1
        }) + 1
    };
    let mut rows: Vec<Vec<String>> = vec![
        std::iter::once("event".to_owned())
            .chain(columns.iter().map(|column| column.name.clone()))
            .collect(),
    ];
    for event in events {
        let cells = columns
            .iter()
            .map(|column| match cell(&column.report, event) {
                Cell::Yes => "yes".to_owned(),
                Cell::No => "no".to_owned(),
                Cell::Failed(tests) => {
                    format!("FAILED [{}]", note(format!("{}: {tests}", column.name)))
                }
                Cell::Unavailable(why) => format!("unavailable [{}]", note(reason(event, &why))),
                Cell::Unknown => "-".to_owned(),
            });
        let mut row = vec![event.to_owned()];
        row.extend(cells);
        rows.push(row);
    }
    if rows.len() == 1 && columns.iter().all(|column| column.trouble.is_none()) {
        return String::new();
    }
    for (title, number) in [
        (
            "tests passed",
            (|r: &Report| r.passed) as fn(&Report) -> usize,
        ),
        ("tests failed", |r| r.failed),
        ("tests skipped", |r| r.skipped),
    ] {
        let mut row = vec![title.to_owned()];
        row.extend(
            columns
                .iter()
                .map(|column| number(&column.report).to_string()),
        );
        rows.push(row);
    }
    let mut text = table(&rows);
    text.push_str("no: captured here, but no test that ran and passed saw it\n");
    for (number, note) in notes.iter().enumerate() {
        text.push_str(&format!("[{}] {note}\n", number + 1));
    }
    for column in columns {
        if let Some(trouble) = &column.trouble {
            text.push_str(&format!("{}: {trouble}\n", column.name));
        }
    }
    text
}

/// A reason without the words that the cell has said already.
fn reason(event: &str, why: &str) -> String {
    let why = why
        .strip_prefix("event not available here: ")
        .unwrap_or(why);
    let why = why.strip_prefix(&format!("{event}: ")).unwrap_or(why);
    why.strip_prefix(&format!("{event} events cannot be seen on this host: "))
        .unwrap_or(why)
        .replace(&format!("`{event}` is not"), "not")
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(String::len).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, cell, render};
    use crate::report::Report;

    fn report(lines: &str) -> Report {
        let mut report = Report::default();
        for line in lines.lines() {
            report.read("vm", line.trim());
        }
        report
    }

    const LINES: &str = "test a ... SEEN: a: open
        SEEN: a: mmap
        ok
        test b ... SEEN: b: open
        UNSEEN: b: bpf
        FAILED
        test c ... SKIPPED: c: no
        SEEN: c: bind
        ok
        test d ... EVENT: open: available
        EVENT: bpf: available
        EVENT: mmap: available
        EVENT: bind: available
        EVENT: selinux: unavailable: selinux events cannot be seen on this host: no SELinux
        ok
        test result: FAILED. 3 passed; 1 failed; 0 ignored;";

    #[test]
    fn a_cell_is_what_the_tests_of_the_event_showed() {
        let report = report(LINES);
        assert_eq!(cell(&report, "open"), Cell::Yes);
        assert_eq!(cell(&report, "mmap"), Cell::Yes);
        assert_eq!(cell(&report, "bpf"), Cell::Failed("b".into()));
        assert_eq!(
            cell(&report, "bind"),
            Cell::No,
            "a skipped test shows nothing"
        );
        assert!(matches!(cell(&report, "selinux"), Cell::Unavailable(_)));
        assert_eq!(cell(&report, "chdir"), Cell::Unknown);
    }

    #[test]
    fn the_table_has_a_column_a_run_and_tells_reasons_once() {
        let columns = [
            Column {
                name: "6.1 lsm".into(),
                report: report(LINES),
                trouble: None,
            },
            Column {
                name: "5.10 lsm".into(),
                report: Report::default(),
                trouble: Some("not run: no kernel 5.10 could be had".into()),
            },
        ];
        let text = render(&columns);
        assert!(
            text.starts_with("event          6.1 lsm          5.10 lsm\n"),
            "{text}"
        );
        assert!(
            text.contains("\nselinux        unavailable [2]  -\n"),
            "{text}"
        );
        assert!(
            text.contains("\nbpf            FAILED [1]       -\n"),
            "{text}"
        );
        assert!(
            text.contains("\n[1] 6.1 lsm: b\n[2] no SELinux\n"),
            "{text}"
        );
        assert!(
            text.contains("\ntests passed   2                0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("5.10 lsm: not run: no kernel 5.10 could be had\n"),
            "{text}"
        );
    }

    #[test]
    fn nothing_told_is_no_table() {
        let column = Column {
            name: "6.1 lsm".into(),
            report: report("test a ... ok\ntest result: ok. 1 passed; 0 failed;"),
            trouble: None,
        };
        assert_eq!(render(&[column]), "");
    }
}
