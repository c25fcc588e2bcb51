//! Patterns with `*` (any number of characters) and `?` (one).

/// A pattern, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Many,
}

impl Glob {
    /// Of characters, each with whether it is meant literally (it was escaped, or in quotation marks).
    pub(crate) fn new(text: impl Iterator<Item = (char, bool)>) -> Self {
        let mut parts = Vec::new();
        for (c, literal) in text {
            match c {
                '*' if !literal => {
                    if parts.last() != Some(&Part::Many) {
                        parts.push(Part::Many);
                    }
                }
                '?' if !literal => parts.push(Part::One),
                c => parts.push(Part::Char(c)),
            }
        }
        Self { parts }
    }

    /// The same for text in lower case.
    pub(crate) fn lower(&self) -> Self {
        let lower = self.parts.iter().flat_map(|part| match part {
            Part::Char(c) => c.to_lowercase().map(Part::Char).collect(),
            other => vec![*other],
        });
        Self {
            parts: lower.collect(),
        }
    }

    /// Everything.
    pub(crate) fn is_any(&self) -> bool {
        self.parts == [Part::Many]
    }

    /// What every match begins with.
    pub(crate) fn prefix(&self) -> String {
        let literal = self.parts.iter().map_while(|part| match part {
            Part::Char(c) => Some(*c),
            _ => None,
        });
        literal.collect()
    }

    /// Whether one word of a text can match it: no separator is in it.
    pub(crate) fn is_word(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Char(c) => c.is_alphanumeric(),
            _ => true,
        })
    }

    /// Words that are in everything that it matches, whole: between separators, or at an end.
    pub(crate) fn words(&self) -> Vec<String> {
        let separates = |part: Option<&Part>| match part {
            None => true,
            Some(Part::Char(c)) => !c.is_alphanumeric(),
            Some(_) => false,
        };
        let mut words = Vec::new();
        let mut at = 0;
        while at < self.parts.len() {
            let run = self.parts[at..].iter().map_while(|part| match part {
                Part::Char(c) if c.is_alphanumeric() => Some(*c),
                _ => None,
            });
            let word: String = run.collect();
            let length = word.chars().count();
            if length == 0 {
                at += 1;
                continue;
            }
            let before = at.checked_sub(1).map(|at| &self.parts[at]);
            if separates(before) && separates(self.parts.get(at + length)) {
                words.push(word);
            }
            at += length;
        }
        words
    }

    /// Whether the whole text is such.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut p, mut t) = (0, 0);
        // Where the last `*` was, and how much of the text it has taken.
        let mut star = None;
        while t < text.len() {
            match self.parts.get(p) {
                Some(Part::Many) => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(Part::One) => (p, t) = (p + 1, t + 1),
                Some(Part::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
                _ => {
                    let Some((at, taken)) = star else {
                        return false;
                    };
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
            }
        }
        self.parts[p..].iter().all(|part| *part == Part::Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text.chars().map(|c| (c, false)))
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbbc"),
            ("a*c*", "ac"),
            ("?b", "äb"),
            ("*/etc/sha*", "/mnt/etc/shadow"),
            ("a*a*a", "aaa"),
        ] {
            assert!(glob(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "acd"), ("?", ""), ("a*a*a", "aa"), ("", "a")] {
            assert!(!glob(pattern).matches(text), "{pattern} {text}");
        }
        assert!(Glob::new([('*', true)].into_iter()).matches("*"));
    }

    #[test]
    fn words_are_those_between_separators() {
        assert_eq!(glob("*/etc/sha*").words(), ["etc"]);
        assert_eq!(glob("/etc/shadow").words(), ["etc", "shadow"]);
        assert_eq!(glob("a?b-c").words(), ["c"]);
        assert_eq!(glob("/etc/sha*").prefix(), "/etc/sha");
    }
}
