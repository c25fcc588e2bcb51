//! The words of expressions: which macros and variables are used anywhere.

use rustc_hash::FxHashSet;

use crate::action::RawAction;
use crate::source::Policy;

/// The names in the expressions of all definitions, of filtered ones too: they are used on other hosts.
pub(super) fn collect(policies: &[Policy]) -> FxHashSet<String> {
    let mut words = FxHashSet::default();
    for policy in policies {
        let macros = policy.document.macros.iter().map(|item| &item.common);
        let rules = policy.document.rules.iter().map(|rule| &rule.common);
        for common in macros.chain(rules) {
            if let Some(text) = &common.expression {
                add(&text.value, None, &mut words);
            }
        }
        for rule in &policy.document.rules {
            for action in &rule.actions {
                of_action(action, &mut words);
            }
        }
    }
    words
}

fn of_action(action: &RawAction, words: &mut FxHashSet<String>) {
    if let Some(filter) = &action.filter {
        add(&filter.value, None, words);
    }
    if let Some(expression) = action.text("expression") {
        // That a counter counts itself up is no use of it.
        let name = action.text("name").unwrap_or_default();
        let own = match action.text("scope") {
            Some(scope) => format!("{scope}.{name}"),
            None => name.to_owned(),
        };
        add(expression, Some(&own), words);
    }
}

/// Adds the names in a text, but not `own`.
fn add(text: &str, own: Option<&str>, words: &mut FxHashSet<String>) {
    let is_part = |ch: char| ch.is_ascii_alphanumeric() || matches!(ch, '_' | '.');
    for word in text.split(|ch| !is_part(ch)) {
        let name = word.strip_suffix(".length").unwrap_or(word);
        if !name.is_empty() && own != Some(name) && !words.contains(name) {
            words.insert(name.to_owned());
        }
    }
}
