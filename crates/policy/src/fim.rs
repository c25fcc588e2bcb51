//! `fim.write.…`: one rule about every way to write a file becomes one rule for each event type.

use atalaya_secl::{Expr, ExprKind, LogicalOp, parse};

/// What a name begins with that stands for all writing events.
pub(crate) const PREFIX: &str = "fim.write.";

/// The event type, what replaces [`PREFIX`] followed by `file.`, and a condition besides.
const VARIANTS: [(&str, &str, &str); 8] = [
    (
        "open",
        "open.file.",
        "open.flags & (O_CREAT|O_TRUNC|O_APPEND|O_RDWR|O_WRONLY) > 0",
    ),
    ("chmod", "chmod.file.", ""),
    ("chown", "chown.file.", ""),
    ("link", "link.file.", ""),
    ("rename", "rename.file.", ""),
    ("rename_destination", "rename.file.destination.", ""),
    ("unlink", "unlink.file.", ""),
    ("utimes", "utimes.file.", ""),
];

/// Whether any name in the expression stands for all writing events.
pub(crate) fn applies(expr: &Expr) -> bool {
    let mut found = false;
    expr.clone()
        .for_each_name(&mut |name| found |= name.starts_with(PREFIX));
    found
}

/// The expression for each event type, with the suffix that tells them apart.
pub(crate) fn expand(expr: &Expr) -> Vec<(&'static str, Expr)> {
    VARIANTS
        .into_iter()
        .map(|(variant, replacement, condition)| {
            let mut body = expr.clone();
            body.for_each_name(&mut |name| {
                if let Some(rest) = name.strip_prefix(PREFIX) {
                    *name = match rest.strip_prefix("file.") {
                        Some(field) => format!("{replacement}{field}"),
                        None => format!(
                            "{}.{rest}",
                            replacement.split('.').next().unwrap_or_default()
                        ),
                    };
                }
            });
            // Most have no condition: the empty text is no expression.
            let expanded = match parse(condition) {
                Ok(condition) => {
                    let span = body.span;
                    let body = Expr {
                        kind: ExprKind::Paren(Box::new(body)),
                        span,
                    };
                    Expr {
                        kind: ExprKind::Logical(LogicalOp::And, vec![condition, body]),
                        span,
                    }
                }
                Err(_) => body,
            };
            (variant, expanded)
        })
        .collect()
}

/// The variant for messages.
pub(crate) fn describe(variant: &str) -> String {
    match variant {
        "rename_destination" => "the destination of `rename`".to_owned(),
        other => format!("`{other}`"),
    }
}
