//! What arguments and environments are turned into for rules.

use std::collections::BTreeSet;

/// The names of the flags: short ones one by one and, where they are several, together; long ones by name. What has a
/// value (`=`) is an option, not a flag.
pub(crate) fn flags(args: &[String]) -> Vec<String> {
    let mut flags = Vec::new();
    for arg in args {
        let Some((name, short)) = option_name(arg) else {
            continue;
        };
        if short && name.chars().all(|c| c.is_ascii_alphanumeric()) {
            flags.extend(name.chars().map(String::from));
        }
        if !name.contains('=') && name.chars().count() > 1 {
            flags.push(name.to_owned());
        }
    }
    flags
}

/// The options with a value, as `name=value`.
pub(crate) fn options(args: &[String]) -> Vec<String> {
    let mut options = Vec::new();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some((name, _)) = option_name(arg) else {
            continue;
        };
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        if name.contains('=') {
            options.push(name.to_owned());
        } else if let Some(value) = args.next_if(|next| !next.starts_with('-')) {
            options.push(format!("{name}={value}"));
        }
    }
    options
}

/// What stands after one or two dashes, and whether it was one.
fn option_name(arg: &str) -> Option<(&str, bool)> {
    let name = arg.strip_prefix('-')?;
    let (name, short) = match name.strip_prefix('-') {
        Some(long) => (long, false),
        None => (name, true),
    };
    (!name.is_empty()).then_some((name, short))
}

/// Names of variables, with the value for those in `with_value`.
pub(crate) fn env_names(envp: &[String], with_value: &BTreeSet<String>) -> Vec<String> {
    envp.iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if !with_value.contains(name) => name.to_owned(),
            _ => pair.clone(),
        })
        .collect()
}

/// `path` from `cwd`, without `.`, `..` and double slashes; `None` where it cannot be made absolute.
pub(crate) fn clean(cwd: &str, path: &str) -> Option<String> {
    let absolute = path.starts_with('/');
    if path.is_empty() || (!absolute && !cwd.starts_with('/')) {
        return None;
    }
    // A bare name was looked up in PATH by the caller before it called exec; what the kernel got has a slash or is
    // relative to the working directory either way.
    let mut elements: Vec<&str> = Vec::new();
    let base = if absolute { "" } else { cwd };
    for element in base.split('/').chain(path.split('/')) {
        match element {
            "" | "." => {}
            ".." => {
                elements.pop();
            }
            element => elements.push(element),
        }
    }
    let mut clean = String::with_capacity(cwd.len() + path.len() + 1);
    for element in elements {
        clean.push('/');
        clean.push_str(element);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn flags_are_exploded() {
        let args = strings(&[
            "-ln",
            "--version",
            "-T",
            "8",
            "--width=8",
            "-",
            "--",
            "x",
            "-a.b",
        ]);
        assert_eq!(flags(&args), ["l", "n", "ln", "version", "T", "a.b"]);
    }

    #[test]
    fn options_take_the_next_word() {
        let args = strings(&["-T", "8", "--width=8", "--quiet", "-v", "file", "--last"]);
        assert_eq!(options(&args), ["T=8", "width=8", "v=file"]);
    }

    #[test]
    fn values_only_for_listed_variables() {
        let envp = strings(&["PATH=/bin", "SECRET=x", "NOVALUE", "EMPTY="]);
        let with_value = BTreeSet::from(["PATH".to_owned()]);
        assert_eq!(
            env_names(&envp, &with_value),
            ["PATH=/bin", "SECRET", "NOVALUE", "EMPTY"]
        );
    }

    #[test]
    fn paths_are_made_absolute() {
        assert_eq!(clean("/home/u", "./x/../y").as_deref(), Some("/home/u/y"));
        assert_eq!(clean("", "/a//b/./c").as_deref(), Some("/a/b/c"));
        assert_eq!(clean("/", "../..").as_deref(), Some("/"));
        assert_eq!(clean("", "x"), None);
        assert_eq!(clean("/", ""), None);
    }
}
