//! From a text to the rules that it concerns.

use aho_corasick::AhoCorasick;
use rustc_hash::FxHashMap;

use super::Scratch;
use super::key::TextProbe;

/// The rules that are behind one condition.
type Rules = Box<[u32]>;

/// The conditions on one text.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    equal: Exact,
    /// By the last element of a path.
    names: Exact,
    starts: Affixes,
    /// Ends, spelled backwards.
    ends: Affixes,
    inside: Option<(AhoCorasick, Vec<(String, Rules)>)>,
    not_empty: Rules,
    /// Whatever the text.
    any: Rules,
}

/// Collects conditions.
#[derive(Debug, Default)]
pub(super) struct Builder {
    equal: FxHashMap<String, Vec<u32>>,
    names: FxHashMap<String, Vec<u32>>,
    starts: FxHashMap<String, Vec<u32>>,
    ends: FxHashMap<String, Vec<u32>>,
    inside: FxHashMap<String, Vec<u32>>,
    not_empty: Vec<u32>,
}

impl Builder {
    pub(super) fn add(&mut self, probe: TextProbe, rule: u32) {
        let rules = match probe {
            TextProbe::Equal(text) => self.equal.entry(text).or_default(),
            TextProbe::Name(text) => self.names.entry(text).or_default(),
            TextProbe::Start(text) => self.starts.entry(text).or_default(),
            TextProbe::End(text) => self.ends.entry(text).or_default(),
            TextProbe::Inside(text) => self.inside.entry(text).or_default(),
            TextProbe::NotEmpty => &mut self.not_empty,
        };
        // A rule's conditions come one after the other.
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    pub(super) fn finish(self) -> TextIndex {
        let mut index = TextIndex {
            equal: Exact::new(self.equal),
            names: Exact::new(self.names),
            starts: Affixes::new(self.starts, false),
            ends: Affixes::new(self.ends, true),
            not_empty: self.not_empty.into(),
            ..TextIndex::default()
        };
        if !self.inside.is_empty() {
            let inside: Vec<(String, Rules)> = self
                .inside
                .into_iter()
                .map(|(text, rules)| (text, rules.into()))
                .collect();
            match AhoCorasick::new(inside.iter().map(|(text, _)| text)) {
                Ok(automaton) => index.inside = Some((automaton, inside)),
                // More states than there are numbers for: the rules are evaluated each time.
                Err(_) => {
                    index.any = inside
                        .iter()
                        .flat_map(|(_, rules)| &**rules)
                        .copied()
                        .collect();
                }
            }
        }
        index
    }
}

impl TextIndex {
    /// Marks the rules that a field with this value can concern.
    pub(super) fn find(&self, text: &str, scratch: &mut Scratch) {
        scratch.set(&self.any);
        if !text.is_empty() {
            scratch.set(&self.not_empty);
        }
        self.equal.find(text, scratch);
        if !self.names.map.is_empty() {
            let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
            self.names.find(name, scratch);
        }
        self.starts.find(text.as_bytes(), scratch);
        self.ends.find(text.as_bytes(), scratch);
        if let Some((automaton, rules)) = &self.inside {
            for found in automaton.find_overlapping_iter(text) {
                if let Some((_, rules)) = rules.get(found.pattern().as_usize()) {
                    scratch.set(rules);
                }
            }
        }
    }
}

impl TextIndex {
    /// What leads to the rule.
    pub(super) fn conditions(&self, rule: u32) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |rules: &Rules, text: &dyn Fn() -> String| {
            if rules.contains(&rule) {
                all.push(text());
            }
        };
        for (text, rules) in &self.equal.map {
            add(rules, &|| format!("== \"{text}\""));
        }
        for (text, rules) in &self.names.map {
            add(rules, &|| format!("last element \"{text}\""));
        }
        for affix in &self.starts.sorted {
            let text = String::from_utf8_lossy(&affix.text);
            add(&affix.rules, &|| format!("begins with \"{text}\""));
        }
        for affix in &self.ends.sorted {
            let text: Vec<u8> = affix.text.iter().rev().copied().collect();
            let text = String::from_utf8_lossy(&text);
            add(&affix.rules, &|| format!("ends with \"{text}\""));
        }
        for (text, rules) in self.inside.iter().flat_map(|(_, inside)| inside) {
            add(rules, &|| format!("contains \"{text}\""));
        }
        add(&self.not_empty, &|| "!= \"\"".to_owned());
        add(&self.any, &|| "any".to_owned());
        all
    }
}

/// Whole texts.
#[derive(Debug, Default)]
struct Exact {
    map: FxHashMap<Box<str>, Rules>,
    /// One bit for each [`sketch`] that there is: most texts need not be hashed.
    sketches: [u64; 16],
}

/// A number below 1024 from what is seen of a text at a glance.
fn sketch(text: &str) -> usize {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().map_or(0, usize::from);
    let last = bytes.len().saturating_sub(1);
    (bytes.len() + 37 * at(last) + 101 * at(last / 2) + 7 * at(0)) % 1024
}

impl Exact {
    fn new(texts: FxHashMap<String, Vec<u32>>) -> Self {
        let mut exact = Self::default();
        for (text, rules) in texts {
            let sketch = sketch(&text);
            exact.sketches[sketch / 64] |= 1 << (sketch % 64);
            exact.map.insert(text.into(), rules.into());
        }
        exact
    }

    fn find(&self, text: &str, scratch: &mut Scratch) {
        let sketch = sketch(text);
        if self.sketches[sketch / 64] & 1 << (sketch % 64) != 0
            && let Some(rules) = self.map.get(text)
        {
            scratch.set(rules);
        }
    }
}

/// Texts that others begin with, or end with, in order. None is empty.
#[derive(Debug, Default)]
struct Affixes {
    sorted: Vec<Affix>,
    /// Ends, spelled backwards.
    backwards: bool,
    /// As many bytes as all of them have, up to 6.
    head: usize,
    /// One bit for each [`sketch_of_head`] that there is: most texts need not be searched for.
    heads: [u64; 4],
}

#[derive(Debug)]
struct Affix {
    text: Box<[u8]>,
    rules: Rules,
    /// The longest other one that this one begins with.
    shorter: Option<usize>,
}

/// A number below 256 from the first bytes.
fn sketch_of_head<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    let sum = bytes.fold(0, |sum: u32, byte| sum.rotate_left(5) ^ u32::from(*byte));
    sum.wrapping_mul(0x9e37_79b9).to_be_bytes()[0].into()
}

impl Affixes {
    fn new(texts: FxHashMap<String, Vec<u32>>, backwards: bool) -> Self {
        let mut sorted: Vec<Affix> = texts
            .into_iter()
            .map(|(text, rules)| {
                let mut text = text.into_bytes();
                if backwards {
                    text.reverse();
                }
                Affix {
                    text: text.into(),
                    rules: rules.into(),
                    shorter: None,
                }
            })
            .collect();
        sorted.sort_by(|a, b| a.text.cmp(&b.text));
        // The ones that the last one begins with, longest last.
        let mut open: Vec<usize> = Vec::new();
        for at in 0..sorted.len() {
            while let Some(&last) = open.last()
                && !sorted[at].text.starts_with(&sorted[last].text)
            {
                open.pop();
            }
            sorted[at].shorter = open.last().copied();
            open.push(at);
        }
        let shortest = sorted.iter().map(|affix| affix.text.len()).min();
        let head = shortest.unwrap_or(0).min(6);
        let mut heads = [0; 4];
        for affix in &sorted {
            let sketch = sketch_of_head(affix.text.iter().take(head));
            heads[sketch / 64] |= 1u64 << (sketch % 64);
        }
        Self {
            sorted,
            backwards,
            head,
            heads,
        }
    }

    /// Whether any of them can fit, at a glance.
    fn can_fit(&self, text: &[u8]) -> bool {
        if self.sorted.is_empty() || text.len() < self.head {
            return false;
        }
        let sketch = if self.backwards {
            sketch_of_head(text.iter().rev().take(self.head))
        } else {
            sketch_of_head(text.iter().take(self.head))
        };
        self.heads[sketch / 64] >> (sketch % 64) & 1 == 1
    }

    /// Whatever a text begins with stands before it in the order, and all between the two begin with it too: so the last one
    /// that is not behind the text leads to all of them.
    fn find(&self, text: &[u8], scratch: &mut Scratch) {
        if !self.can_fit(text) {
            return;
        }
        let after = if self.backwards {
            self.sorted
                .partition_point(|affix| affix.text.iter().le(text.iter().rev()))
        } else {
            self.sorted.partition_point(|affix| *affix.text <= *text)
        };
        let mut at = after.checked_sub(1);
        let mut found = false;
        while let Some(affix) = at.and_then(|at| self.sorted.get(at)) {
            found = found || self.fits(affix, text);
            if found {
                scratch.set(&affix.rules);
            }
            at = affix.shorter;
        }
    }

    fn fits(&self, affix: &Affix, text: &[u8]) -> bool {
        if self.backwards {
            text.len() >= affix.text.len()
                && affix
                    .text
                    .iter()
                    .eq(text.iter().rev().take(affix.text.len()))
        } else {
            text.starts_with(&affix.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(probes: &[TextProbe], text: &str) -> Vec<usize> {
        let mut builder = Builder::default();
        for (probe, rule) in probes.iter().zip(0..) {
            builder.add(probe.clone(), rule);
        }
        let index = builder.finish();
        let mut scratch = Scratch::default();
        scratch.start(&[0], 0);
        index.find(text, &mut scratch);
        let mut found = Vec::new();
        while let Some(next) = scratch.next_candidate(found.last().map_or(0, |last| last + 1)) {
            found.push(next);
        }
        found
    }

    #[test]
    fn each_kind_of_condition() {
        let text = |text: &str| text.to_owned();
        let probes = [
            TextProbe::Equal(text("/usr/bin/cat")),
            TextProbe::Name(text("cat")),
            TextProbe::Start(text("/usr/")),
            TextProbe::Start(text("/usr/bin/c")),
            TextProbe::Start(text("/usr/bin/d")),
            TextProbe::Start(text("/u")),
            TextProbe::End(text("/cat")),
            TextProbe::End(text("at")),
            TextProbe::End(text("bat")),
            TextProbe::Inside(text("/bin/")),
            TextProbe::Inside(text("bin")),
            TextProbe::NotEmpty,
            TextProbe::Equal(text("")),
        ];
        assert_eq!(
            found(&probes, "/usr/bin/cat"),
            [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]
        );
        assert_eq!(found(&probes, "cat"), [1, 7, 11]);
        assert_eq!(found(&probes, "/u"), [5, 11]);
        assert_eq!(found(&probes, ""), [12]);
        assert_eq!(found(&probes, "/usr/bin/"), [2, 5, 9, 10, 11]);
    }

    #[test]
    fn affixes_as_a_search_would() {
        let words = ["a", "ab", "abc", "abd", "b", "ba", "bab", "abab"];
        let starts: Vec<_> = words.map(|word| TextProbe::Start(word.to_owned())).into();
        let ends: Vec<_> = words.map(|word| TextProbe::End(word.to_owned())).into();
        for text in ["", "a", "abab", "abc", "abdx", "babab", "c", "aab", "xabc"] {
            let all = |test: &dyn Fn(&str) -> bool| -> Vec<usize> {
                (0..words.len()).filter(|at| test(words[*at])).collect()
            };
            assert_eq!(
                found(&starts, text),
                all(&|word| text.starts_with(word)),
                "{text}"
            );
            assert_eq!(
                found(&ends, text),
                all(&|word| text.ends_with(word)),
                "{text}"
            );
        }
    }
}
