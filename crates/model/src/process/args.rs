//! What arguments and environments are turned into for rules.

use crate::context::NameSet;

/// The names of the flags: short ones one by one and, where they are several, together; long ones by name. What has a
/// value (`=`) is an option, not a flag.
pub(crate) fn flags(args: &[String]) -> Vec<String> {
    collect(|test| any_flag(args, test))
}

/// Whether the test holds for any of the [`flags`].
pub(crate) fn any_flag(args: &[String], test: &mut dyn FnMut(&str) -> bool) -> bool {
    args.iter()
        .filter_map(|arg| option_name(arg))
        .any(|(name, short)| {
            let letters = if short && name.chars().all(|c| c.is_ascii_alphanumeric()) {
                name
            } else {
                ""
            };
            (0..letters.len()).any(|at| letters.get(at..=at).is_some_and(&mut *test))
                || !name.contains('=') && name.chars().nth(1).is_some() && test(name)
        })
}

/// The options with a value, as `name=value`.
pub(crate) fn options(args: &[String]) -> Vec<String> {
    collect(|test| any_option(args, test))
}

/// Whether the test holds for any of the [`options`].
pub(crate) fn any_option(args: &[String], test: &mut dyn FnMut(&str) -> bool) -> bool {
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some((name, _)) = option_name(arg) else {
            continue;
        };
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let found = if name.contains('=') {
            test(name)
        } else if let Some(value) = args.next_if(|next| !next.starts_with('-')) {
            with_joined([name, value].into_iter(), "=", &mut *test)
        } else {
            false
        };
        if found {
            return true;
        }
    }
    false
}

fn collect(any: impl FnOnce(&mut dyn FnMut(&str) -> bool) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    any(&mut |text| {
        all.push(text.to_owned());
        false
    });
    all
}

/// How long a text is put together on the stack.
const ON_STACK: usize = 1024;

/// Calls `f` with the words joined, without an allocation for what is not unusually long.
pub(crate) fn with_joined<'a, R>(
    words: impl Iterator<Item = &'a str> + Clone,
    between: &str,
    f: impl FnOnce(&str) -> R,
) -> R {
    let mut buffer = [0; ON_STACK];
    let mut length = 0;
    let mut fits = true;
    for (number, word) in words.clone().enumerate() {
        for part in [if number == 0 { "" } else { between }, word] {
            match buffer.get_mut(length..length + part.len()) {
                Some(room) => {
                    room.copy_from_slice(part.as_bytes());
                    length += part.len();
                }
                None => fits = false,
            }
        }
        if !fits {
            break;
        }
    }
    match buffer.get(..length).map(std::str::from_utf8) {
        Some(Ok(joined)) if fits => f(joined),
        _ => f(&words.collect::<Vec<_>>().join(between)),
    }
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
pub(crate) fn env_names(envp: &[String], with_value: &NameSet) -> Vec<String> {
    envp.iter()
        .map(|pair| env_name(pair, with_value).to_owned())
        .collect()
}

/// The name of one variable, with the value if it is in `with_value`.
pub(crate) fn env_name<'a>(pair: &'a str, with_value: &NameSet) -> &'a str {
    // Names are short: a plain loop beats a vectorised search.
    let name = pair.bytes().position(|byte| byte == b'=');
    match name.and_then(|end| pair.get(..end)) {
        Some(name) if !with_value.contains(name) => name,
        _ => pair,
    }
}

/// Whether [`clean`] would change nothing.
pub(crate) fn is_clean(path: &str) -> bool {
    path.starts_with('/')
        && (path.len() == 1
            || path
                .split('/')
                .skip(1)
                .all(|element| !matches!(element, "" | "." | "..")))
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
        let with_value = NameSet::from_iter(["PATH".to_owned()]);
        assert_eq!(
            env_names(&envp, &with_value),
            ["PATH=/bin", "SECRET", "NOVALUE", "EMPTY"]
        );
    }

    #[test]
    fn words_are_joined() {
        for length in [0, 1, 500, 1019, 1020, 1021, 1024, 5000] {
            let long = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let words = ["ab", &long, "c"];
            with_joined(words.into_iter(), " ", |joined| {
                assert_eq!(joined, words.join(" "), "{length}");
            });
        }
        with_joined([].into_iter(), " ", |joined| assert_eq!(joined, ""));
    }

    #[test]
    fn what_is_clean_stays() {
        for path in [
            "/", "/a", "/a/b", "/a/", "/a//b", "/a/./b", "/..", "", "a", "//", "/.a/..b",
        ] {
            let same = clean("", path).is_some_and(|clean| clean == path);
            assert_eq!(is_clean(path), same, "{path}");
        }
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
