//! The reference page of the configuration.

use std::fmt::Write;

use crate::accepted::ACCEPTED;
use crate::keys::KEYS;
use crate::load::Program;

/// The reference page, as Markdown.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         `/etc/atalaya/system-probe.yaml` and `/etc/atalaya/security-agent.yaml`. Both programs read both files; the\n\
         program's own file wins. An environment variable wins over the files, and a flag over the environment. An\n\
         unknown key, or a value of the wrong type, is reported with its place and has no effect.\n",
    );
    for (title, home) in [
        ("Either file", None),
        ("system-probe.yaml", Some(Program::SystemProbe)),
        ("security-agent.yaml", Some(Program::SecurityAgent)),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n");
        for key in KEYS.iter().filter(|k| k.home == home) {
            let _ = write!(page, "\n### `{}`\n\n", key.name);
            for line in key.doc.lines() {
                let _ = writeln!(page, "{}", line.trim());
            }
            let unit = if key.unit.is_empty() {
                String::new()
            } else {
                format!(" ({})", key.unit)
            };
            let _ = write!(
                page,
                "\n- Value: {}{unit}\n- Default: `{}`\n- Environment: `{}`\n- A change takes effect: {}\n",
                key.expected,
                key.default(),
                key.env(),
                key.effect.text()
            );
            if let Some(alias) = key.alias {
                let _ = writeln!(page, "- Also: `{alias}`");
            }
        }
    }
    page += "\n## Accepted without effect\n\n\
         Settings of the Datadog Agent that are no error here, so that a file made for it can be used as it is. Each is noted in the\n\
         log at start, and by `config check`.\n\n\
         | key | type | default there | why it has no effect |\n| --- | --- | --- | --- |\n";
    for key in ACCEPTED {
        let default = match key.default {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} |",
            key.name, key.kind, key.why
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_on_the_page_with_its_default() {
        let page = markdown();
        for key in KEYS {
            assert!(
                page.contains(&format!("### `{}`\n", key.name)),
                "{}",
                key.name
            );
            assert!(
                page.contains(&format!("- Default: `{}`\n", key.default())),
                "{}",
                key.name
            );
            assert!(key.doc.trim().ends_with('.'), "{}", key.name);
        }
    }
}
