//! Text matching: `*` patterns, path globs, regular expressions, and sets of them. All take linear time in the text, but for
//! the `*` pattern, which takes at most (text × parts).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use memchr::memmem::Finder;
use rustc_hash::FxHashSet;

use crate::model::TextKind;
use crate::necessary::Target;
use crate::regexp;

/// Whether two short texts are the same. Most comparisons of a rule differ in the first bytes, and a call of `memcmp`, which
/// `==` is, costs several times what it takes to see that.
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    a.iter()
        .zip(b)
        .all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

fn strip_prefix<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    same(head, prefix).then_some(tail)
}

fn strip_suffix<'t>(text: &'t [u8], suffix: &[u8]) -> Option<&'t [u8]> {
    let (head, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    same(tail, suffix).then_some(head)
}

/// A text with `*`, each of which stands for any run of characters, `/` included.
#[derive(Debug, Clone)]
pub(crate) struct Star {
    /// What the text must begin with.
    prefix: Box<str>,
    /// What must follow in this order; without any, and without star, the prefix is the whole text.
    middle: Vec<Finder<'static>>,
    /// What the text must end with.
    suffix: Box<str>,
    exact: bool,
}

impl Star {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut parts = pattern.split('*');
        let prefix = parts.next().unwrap_or_default().into();
        let mut middle: Vec<&str> = parts.collect();
        let exact = middle.is_empty();
        let suffix = middle.pop().unwrap_or_default().into();
        let middle = middle
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| Finder::new(part).into_owned())
            .collect();
        Self {
            prefix,
            middle,
            suffix,
            exact,
        }
    }

    /// What a text that matches has for sure.
    pub(crate) fn part(&self) -> Part<'_> {
        let longest = self
            .middle
            .iter()
            .map(Finder::needle)
            .max_by_key(|part| part.len());
        let longest = longest
            .and_then(|part| std::str::from_utf8(part).ok())
            .unwrap_or("");
        // The ends are where they are, which is worth more than length.
        if longest.len() > 2 * self.prefix.len().max(self.suffix.len()) {
            Part::Inside(longest)
        } else if self.prefix.len() >= self.suffix.len() {
            Part::Start(&self.prefix)
        } else {
            Part::End(&self.suffix)
        }
    }

    /// The whole text, when there is no star in it.
    fn text(&self) -> Option<&str> {
        self.exact.then_some(&*self.prefix)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        if self.exact {
            return same(text.as_bytes(), self.prefix.as_bytes());
        }
        let rest = strip_prefix(text.as_bytes(), self.prefix.as_bytes());
        let Some(mut rest) = rest.and_then(|rest| strip_suffix(rest, self.suffix.as_bytes()))
        else {
            return false;
        };
        for part in &self.middle {
            match part.find(rest) {
                Some(at) => rest = &rest[at + part.needle().len()..],
                None => return false,
            }
        }
        true
    }
}

/// Calls `f` with the text in lower case; for what is a host name, without an allocation.
pub(crate) fn in_lower_case<R>(text: &str, f: impl FnOnce(&str) -> R) -> R {
    if !text.is_ascii() {
        return f(&text.to_lowercase());
    }
    if !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return f(text);
    }
    // As long as a host name can be.
    let mut buffer = [0; 255];
    match buffer.get_mut(..text.len()) {
        Some(lower) => {
            lower.copy_from_slice(text.as_bytes());
            lower.make_ascii_lowercase();
            f(std::str::from_utf8(lower).unwrap_or(text))
        }
        None => f(&text.to_ascii_lowercase()),
    }
}

/// A part that a text must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Start(&'a str),
    End(&'a str),
    Inside(&'a str),
}

/// A pattern of a path: `*` stays inside one element, `**` stands at the end, for one or more elements, or before a last
/// part without stars, for any number of elements.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// All, or those before `**`.
    elements: Vec<Star>,
    /// Has `**`.
    deep: bool,
    /// What follows `**/`; empty when nothing does.
    tail: Box<str>,
    /// Begins with the element `*`, which stands for `/*`.
    leading_star: bool,
    /// What comes before the first `*`: most paths are told apart by it.
    prefix: Box<str>,
    /// The longest run between two `*` or behind the last.
    inside: Box<str>,
}

fn name_target(name: &str) -> Target {
    Target::Basename(name.to_owned())
}

impl Glob {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        // The reference knows `**` only as the last element. Its own policy has `/a/**/b` all the same, which can mean only
        // one thing; what is before or behind may not make the search ambiguous.
        let (head, tail) = match pattern.split_once("/**/") {
            Some((head, tail)) if !tail.is_empty() && !tail.contains('*') => (Some(head), tail),
            _ => (pattern.strip_suffix("/**"), ""),
        };
        let deep = head.is_some() || pattern == "**";
        let elements: Vec<&str> = match pattern {
            "**" => Vec::new(),
            _ => head.unwrap_or(pattern).split('/').collect(),
        };
        if elements.iter().any(|element| element.contains("**")) {
            return Err("`**` is allowed only at the end of patterns".to_owned());
        }
        Ok(Self {
            leading_star: elements.first() == Some(&"*"),
            prefix: pattern.split('*').next().unwrap_or_default().into(),
            inside: pattern
                .split('*')
                .skip(1)
                .max_by_key(|part| part.len())
                .unwrap_or_default()
                .into(),
            elements: elements.into_iter().map(Star::new).collect(),
            deep,
            tail: tail.into(),
        })
    }

    /// What every path that matches has: a directory or a basename. The longest run of elements without `*` decides.
    pub(crate) fn necessary(&self) -> Option<Target> {
        if self.leading_star
            || self
                .elements
                .first()
                .is_none_or(|root| root.text() != Some(""))
        {
            // `*/x` and the like: only the basename can be known.
            return self.basename().map(name_target);
        }
        let fixed: Vec<&str> = self.elements.iter().skip(1).map_while(Star::text).collect();
        let path = format!("/{}", fixed.join("/"));
        let after = self.elements.len() - 1 - fixed.len();
        if (after > 1 || !self.tail.is_empty())
            && let Some(name) = self.basename()
        {
            return Some(name_target(name));
        }
        let recursive = self.deep || after > 1;
        // Anything below the root is no condition.
        (!recursive || path != "/").then_some(Target::Directory { path, recursive })
    }

    /// The last element of every path that matches.
    pub(crate) fn basename(&self) -> Option<&str> {
        let name = if self.deep {
            self.tail.rsplit('/').next()?
        } else {
            self.elements.last()?.text()?
        };
        (!name.is_empty()).then_some(name)
    }

    /// What a path that matches has for sure.
    pub(crate) fn part(&self) -> Part<'_> {
        // The front is where it is, which is worth more than length.
        if self.inside.len() > 2 * self.prefix.len() {
            Part::Inside(&self.inside)
        } else {
            Part::Start(&self.prefix)
        }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        if path.is_empty() || strip_prefix(path.as_bytes(), self.prefix.as_bytes()).is_none() {
            return false;
        }
        let path = if self.leading_star {
            path.strip_prefix('/').unwrap_or(path)
        } else {
            path
        };
        let mut rest = Some(path);
        for element in &self.elements {
            let Some(text) = rest else { return false };
            // Elements are short: a plain loop beats a vectorised search.
            let (head, tail) = match text.bytes().position(|byte| byte == b'/') {
                Some(at) => (&text[..at], Some(&text[at + 1..])),
                None => (text, None),
            };
            if !element.matches(head) {
                return false;
            }
            rest = tail;
        }
        match rest {
            Some(rest) if self.tail.is_empty() => self.deep && !rest.is_empty(),
            Some(rest) => strip_suffix(rest.as_bytes(), self.tail.as_bytes())
                .is_some_and(|between| between.is_empty() || between.ends_with(b"/")),
            // A last element that is empty is a slash at the end, which names no file.
            None => !self.deep && (path.len() == 1 || !path.ends_with('/')),
        }
    }
}

/// A literal to compare text with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Literal {
    Text(String),
    Pattern(String),
    Regexp(String),
}

/// What a text is compared with: any of some literals. Two are equal when they were made of the same literals.
#[derive(Debug, Clone)]
pub(crate) struct Matcher(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    literals: Box<[Literal]>,
    kind: TextKind,
    form: Form,
}

/// One compiled literal, or several of which one must match.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    Equal(Box<str>),
    Star(Star),
    Glob(Glob),
    Regex(regex::Regex),
    /// Exact texts and others, regular expressions last.
    Set(FxHashSet<Box<str>>, Vec<Self>),
    /// The inner form, which is in lower case, on the text in lower case.
    Fold(Box<Self>),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.kind == other.0.kind && self.0.literals == other.0.literals
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.kind.hash(state);
        self.0.literals.hash(state);
    }
}

impl Matcher {
    /// Compiles the literals for a field of this kind. The error says which literal is wrong.
    pub(crate) fn new(literals: &[Literal], kind: TextKind) -> Result<Self, (usize, String)> {
        Ok(Self(Arc::new(Compiled {
            form: Form::new(literals, kind)?,
            literals: literals.into(),
            kind,
        })))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.form.matches(text)
    }

    /// What one comparison is thought to take, in nanoseconds.
    pub(crate) fn estimate_ns(&self) -> u32 {
        self.0.form.estimate_ns()
    }

    /// The literals that it was made of.
    pub(crate) fn literals(&self) -> &[Literal] {
        &self.0.literals
    }

    pub(crate) fn form(&self) -> &Form {
        &self.0.form
    }

    /// The costs of the reference, for ordering.
    pub(crate) fn weight(&self) -> u32 {
        self.0.form.weight()
    }
}

impl Form {
    fn new(literals: &[Literal], kind: TextKind) -> Result<Self, (usize, String)> {
        let fold = kind == TextKind::DnsName;
        let mut exact = FxHashSet::default();
        let mut others = Vec::new();
        for (index, literal) in literals.iter().enumerate() {
            match Self::one(literal, kind).map_err(|message| (index, message))? {
                Self::Equal(text) => {
                    exact.insert(text);
                }
                other => others.push(other),
            }
        }
        others.sort_by_key(Self::weight);
        let form = match (exact.len(), others.len()) {
            (1, 0) => Self::Equal(exact.into_iter().next().unwrap_or_default()),
            (0, 1) => others.swap_remove(0),
            _ => Self::Set(exact, others),
        };
        Ok(if fold {
            Self::Fold(Box::new(form))
        } else {
            form
        })
    }

    fn one(literal: &Literal, kind: TextKind) -> Result<Self, String> {
        let adapt = |text: &str| match kind {
            TextKind::DnsName => text.to_lowercase(),
            TextKind::Extension if !text.is_empty() && !text.starts_with(['.', '*']) => {
                format!(".{text}")
            }
            _ => text.to_owned(),
        };
        match literal {
            Literal::Text(text) => Ok(Self::Equal(adapt(text).into())),
            Literal::Pattern(text) if kind == TextKind::Path => {
                let glob = Glob::new(text)
                    .map_err(|message| format!("invalid glob `{text}`: {message}"))?;
                Ok(if text.contains('*') {
                    Self::Glob(glob)
                } else {
                    Self::Equal(text.as_str().into())
                })
            }
            Literal::Pattern(text) if text.contains("**") => Err(format!(
                "invalid pattern `{text}`: `**` is not allowed in patterns"
            )),
            Literal::Pattern(text) if text.contains('*') => Ok(Self::Star(Star::new(&adapt(text)))),
            Literal::Pattern(text) => Ok(Self::Equal(adapt(text).into())),
            Literal::Regexp(text) => regexp::compile(text)
                .map(Self::Regex)
                .map_err(|message| format!("invalid regexp `{text}`: {message}")),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(literal) => same(text.as_bytes(), literal.as_bytes()),
            Self::Star(star) => star.matches(text),
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Set(exact, others) => {
                exact.contains(text) || others.iter().any(|other| other.matches(text))
            }
            Self::Fold(inner) => in_lower_case(text, |text| inner.matches(text)),
        }
    }

    fn estimate_ns(&self) -> u32 {
        match self {
            Self::Equal(_) => 3,
            Self::Star(_) => 8,
            Self::Glob(_) => 10,
            Self::Regex(_) => 80,
            Self::Set(exact, others) => others
                .iter()
                .fold(if exact.is_empty() { 0 } else { 10 }, |sum: u32, other| {
                    sum.saturating_add(other.estimate_ns())
                }),
            Self::Fold(inner) => inner.estimate_ns().saturating_add(10),
        }
    }

    fn weight(&self) -> u32 {
        match self {
            Self::Equal(_) => 0,
            Self::Star(_) | Self::Glob(_) => 80,
            Self::Regex(_) => 100,
            Self::Set(_, others) => {
                if others.is_empty() {
                    10
                } else {
                    1000
                }
            }
            Self::Fold(inner) => inner.weight(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, path: &str) -> bool {
        Glob::new(pattern).is_ok_and(|glob| glob.matches(path))
    }

    #[test]
    fn globs() {
        for (pattern, path) in [
            ("/tmp/test/test789", "/tmp/test/test789"),
            ("*/abc/*", "/1/abc/2"),
            ("/tmp/test/test789*", "/tmp/test/test7890"),
            ("/tmp/test/*st*", "/tmp/test/ast"),
            ("/tmp/*/test789", "/tmp/test/test789"),
            ("/tmp/**", "/tmp/test/ast"),
            ("**", "/tmp/test/ast"),
            ("/var/log/*", "/var/log/httpd"),
            ("/var/**", "/var/log/nginx"),
            ("ab*", "abc"),
            ("*b*", "abc"),
            ("*/*/httpd", "/var/log/httpd"),
            ("*/*/http*", "/var/log/httpd"),
            ("/*", "/httpd"),
            ("/var/*", "/var/run"),
            ("/var/**/token", "/var/token"),
            ("/var/**/token", "/var/a/b/token"),
            ("/*/x/**/a/b", "/var/x/1/a/b"),
            ("/**/b", "/b"),
        ] {
            assert!(glob(pattern, path), "{pattern} should match {path}");
        }
        for (pattern, path) in [
            ("/tmp/test/test789*", "/tmp/test"),
            ("/tmp/test/*st*", "/tmp/test"),
            ("/tmp/*/test789", "/tmp/test/test"),
            ("/tmp/*", "/tmp/test/ast"),
            ("*", "/tmp/test/ast"),
            ("/var/*", "/var/log/nginx"),
            ("/var/**", "/var"),
            ("/var/run/*", "abc"),
            ("*d*", "abc"),
            ("/var/**", "/var/"),
            ("/var/*", "/var/"),
            ("/tmp*", ""),
            ("/var/**/token", "/var/atoken"),
            ("/var/**/token", "/var/token/a"),
            ("/var/**/token", "/vartoken"),
            ("/var/**/token", "/var"),
        ] {
            assert!(!glob(pattern, path), "{pattern} should not match {path}");
        }
        for pattern in [
            "**/conf.d",
            "/etc/**/*.conf",
            "/etc/**.conf",
            "/a/***",
            "/a/**/b/**",
            "/a/**/**",
            "/a*/**b/c",
        ] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("*abc*", "/abc/", true),
            ("*test123", "aaatest123", true),
            ("*test456", "aaatest123", false),
            ("*", "test123", true),
            ("*", "", true),
            ("test*", "test123", true),
            ("t*123", "test123", true),
            ("t*1*3", "test123", true),
            ("*t*1*3", "atest123", true),
            ("*t*9*3", "atest123", false),
            ("*.c", "test.ct", false),
            ("ab*ba", "aba", false),
            ("a*b", "a*b", true),
            ("c$t", "c$t", true),
            ("é*é", "éé", true),
        ] {
            assert_eq!(
                Star::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
