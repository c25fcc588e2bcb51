//! Commands as pages have them: fenced blocks whose first line says where they are for (```` ```sh docker ````). Blocks that do not
//! say it are not for a test.

use crate::tools::repository;

/// A block of commands of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The language in its first line.
    pub language: String,
    /// What follows the language: what the block is for.
    pub place: String,
    /// The lines, without those that only comment.
    pub text: String,
    /// Where it begins, for messages.
    pub line: usize,
}

/// The blocks of a page of the repository that are for somewhere.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(repository().join(page))
        .unwrap_or_else(|error| panic!("{page}: {error}"));
    parse(&text)
}

fn parse(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let (language, place) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Block {
                    language: language.to_owned(),
                    place: place.trim().to_owned(),
                    text: String::new(),
                    line: index + 1,
                });
            }
            (Some(_), Some(_)) => {
                found.extend(open.take().filter(|b| !b.place.is_empty()));
            }
            (Some(block), None) => {
                if !line.trim_start().starts_with('#') {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end");
    found
}

/// The commands of a block: lines, joined where they end with a backslash.
pub fn commands(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_know_where_they_are_for() {
        let page =
            "```yaml\na: b\n```\ntext\n```sh host\n# first\na \\\n  b\nc\n```\n```sh\nd\n```\n";
        let found = parse(page);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].place.as_str(), found[0].line), ("host", 5));
        assert_eq!(commands(&found[0]), ["a    b", "c"]);
    }
}
