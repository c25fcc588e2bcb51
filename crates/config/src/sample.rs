//! The annotated sample files: every key of a program with its documentation, commented out with its default.

use std::fmt::Write;

use crate::keys::{Effect, KEYS, Key};
use crate::load::Program;

/// The sample file of a program, as YAML. As it is it sets nothing; without the `#` before a key it sets that key's default.
pub fn sample(program: Program) -> String {
    let mut text = format!(
        "# Configuration of {} (sample, made from the code).\n\
         #\n\
         # Every line that sets something is commented out and shows the default. Take away the `#` of a key, and of the\n\
         # names above it, and change the value. DD_… variables win over this file, flags over both.\n\
         # `{} config check` tells what is wrong; `{} config` shows what is in force and why.\n",
        program.file_name(),
        program.name(),
        program.name(),
    );
    let mut keys: Vec<&Key> = KEYS
        .iter()
        .filter(|key| key.home.is_none_or(|home| home == program))
        .filter(|key| key.effect != Effect::Never)
        .collect();
    // Keys of one map must stand together, in the order in which the table first has the map.
    let rank = |name: &str| keys_rank(&keys, name);
    let mut ranked: Vec<(Vec<usize>, &Key)> =
        keys.iter().map(|key| (rank(key.name), *key)).collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    keys = ranked.into_iter().map(|(_, key)| key).collect();
    let mut open: Vec<&str> = Vec::new();
    for key in keys {
        let parts: Vec<&str> = key.name.split('.').collect();
        let (maps, own) = parts.split_at(parts.len() - 1);
        let common = open.iter().zip(maps).take_while(|(a, b)| a == b).count();
        if common == 0 || maps.is_empty() {
            text.push('\n');
        }
        open.truncate(common);
        for map in &maps[common..] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {}{map}:", "  ".repeat(open.len()));
            open.push(map);
        }
        let indent = "  ".repeat(open.len());
        let unit = match key.unit {
            "" => String::new(),
            unit => format!(" ({unit})"),
        };
        let _ = writeln!(text, "#");
        for line in key.doc.lines() {
            let _ = writeln!(text, "#{indent} # {}", line.trim());
        }
        let _ = writeln!(
            text,
            "#{indent} # Value: {}{unit}. Environment: {}. A change takes effect {}.",
            key.expected,
            key.env(),
            key.effect.text()
        );
        let _ = writeln!(text, "# {indent}{}: {}", own.concat(), yaml(&key.default()));
    }
    text
}

/// Where a key stands: for each of its names, the first key of the table that has the same beginning.
fn keys_rank(keys: &[&Key], name: &str) -> Vec<usize> {
    let ends = name
        .match_indices('.')
        .map(|(at, _)| at)
        .chain([name.len()]);
    ends.map(|end| {
        let beginning = &name[..end];
        let has_it = |key: &&Key| {
            key.name
                .strip_prefix(beginning)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        keys.iter().position(has_it).unwrap_or(keys.len())
    })
    .collect()
}

/// The value in quotes where YAML would take it for something else.
fn yaml(value: &str) -> String {
    let is_version =
        value.split('.').count() == 3 && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_version || value == "off" {
        return format!("{value:?}");
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::{Config, Loaded, Severity, Sources};

    fn load(name: &str, text: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let sources = Sources {
            files: vec![(path, true)],
            ..Sources::default()
        };
        sources.load().unwrap()
    }

    #[test]
    fn the_samples_set_nothing_as_they_are_and_every_default_without_the_marks() {
        for program in [Program::SystemProbe, Program::SecurityAgent] {
            let text = sample(program);
            assert!(load(program.file_name(), &text).set.is_empty());
            // A line that sets something has one blank after the mark, documentation another mark.
            let settings: String = text
                .lines()
                .filter_map(|line| line.strip_prefix("# "))
                .filter(|line| line.contains(':') && !line.trim_start().starts_with('#'))
                .skip_while(|line| !line.ends_with(": true") && !line.ends_with("_config:"))
                .map(|line| format!("{line}\n"))
                .collect();
            let loaded = load(program.file_name(), &settings);
            let bad: Vec<_> = loaded
                .problems
                .iter()
                .filter(|p| p.severity > Severity::Note)
                .collect();
            assert!(bad.is_empty(), "{bad:#?}\n{settings}");
            assert_eq!(loaded.config, Config::default());
            let own = KEYS
                .iter()
                .filter(|k| k.home.is_none_or(|home| home == program) && k.effect != Effect::Never);
            for key in own {
                let set = loaded.set.iter().any(|set| set.key == key.name);
                assert!(set, "{} is not in the sample:\n{settings}", key.name);
            }
        }
    }
}
