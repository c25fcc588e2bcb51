//! Rules that match too much, or for which the kernel cannot filter.

use atalaya_secl::model::{Schema, TextKind, Type};
use atalaya_secl::{Expr, ExprKind, Necessary, Program, Span};

use super::rule::{Remarks, visit};

/// The event types for which the kernel passes only what some rule may match.
const FILTERED: [&str; 12] = [
    "open",
    "chmod",
    "chown",
    "link",
    "mkdir",
    "rename",
    "rmdir",
    "unlink",
    "utimes",
    "setxattr",
    "removexattr",
    "chdir",
];

pub(super) fn remarks(out: &mut Remarks<'_>, expr: &Expr, program: &Program, schema: &dyn Schema) {
    if let Some(span) = everywhere(expr) {
        out.span(
            "over-broad",
            span,
            "this matches every path",
            "name a directory, as in ~\"/etc/**\"",
        );
        return;
    }
    // What an event is about: text, addresses, or who did it; not how it was done.
    let selective = program.fields().iter().any(|field| {
        matches!(field.ty, Type::String | Type::Ip)
            || field.event.is_none() && !field.name.starts_with("event.")
    });
    let reads_variables = contains(expr, |kind| matches!(kind, ExprKind::Variable(_)));
    let numbers_only = [
        "open", "exec", "exit", "unlink", "rename", "mmap", "mprotect",
    ];
    let event = program.event_type().unwrap_or_default();
    if !selective && !reads_variables && numbers_only.contains(&event) {
        let message =
            format!("nothing but flags or results tells which `{event}` events are meant");
        let help = "add a condition on a path, a name or the process";
        out.node("over-broad", message, help);
        return;
    }
    if FILTERED.contains(&event) && *program.necessary() == Necessary::Unknown {
        let help = "give the whole rule a condition on the path or directory that does not begin with `*`, or on exact names";
        match leading_wildcard(expr, event, schema) {
            Some(span) => out.span(
                "no-kernel-filter",
                span,
                format!("a pattern that begins with `*` gives the kernel nothing to filter `{event}` events by: all are sent"),
                help,
            ),
            None => {
                let because = program
                    .unfiltered_because()
                    .map_or_else(String::new, |part| format!(", because of `{part}`"));
                let message = format!(
                    "no condition that the kernel could filter `{event}` events by: all are sent{because}"
                );
                out.node("no-kernel-filter", message, help);
            }
        }
    }
}

/// The condition on every path, if nothing else narrows the rule: it is the whole expression.
fn everywhere(expr: &Expr) -> Option<Span> {
    let ExprKind::Compare(_, left, right) = &expr.bare().kind else {
        return None;
    };
    [left, right]
        .into_iter()
        .any(|side| {
            matches!(&side.bare().kind,
                ExprKind::Str(text) | ExprKind::Pattern(text) if matches!(text.as_str(), "/**" | "**" | "*" | "/*"))
        })
        .then_some(expr.span)
}

/// A pattern for a field of the file that begins with `*`.
fn leading_wildcard(expr: &Expr, event: &str, schema: &dyn Schema) -> Option<Span> {
    let mut found = None;
    visit(expr, &mut |expr| {
        let ExprKind::Compare(_, left, right) = &expr.kind else {
            return;
        };
        let ExprKind::Ident(name) = &left.bare().kind else {
            return;
        };
        let of_file = schema.field(name).is_some_and(|info| {
            info.event.as_deref() == Some(event)
                && (info.text == TextKind::Path || info.name.ends_with(".file.name"))
        });
        if of_file && found.is_none() {
            visit(right, &mut |part| {
                if let ExprKind::Str(text) | ExprKind::Pattern(text) = &part.kind
                    && text.starts_with('*')
                {
                    found.get_or_insert(part.span);
                }
            });
        }
    });
    found
}

fn contains(expr: &Expr, wanted: impl Fn(&ExprKind) -> bool) -> bool {
    let mut found = false;
    visit(expr, &mut |expr| found |= wanted(&expr.kind));
    found
}
