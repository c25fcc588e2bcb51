//! Words of texts, as they are indexed and as they are asked for.

use tantivy::tokenizer::{LowerCaser, SimpleTokenizer, TextAnalyzer};

/// The name of the analyzer in the index.
pub(crate) const ANALYZER: &str = "words";

/// Letters and digits, in lower case.
pub(crate) fn analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(LowerCaser)
        .build()
}

/// The same without an index.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is searched for by hand is what the index has.
        #[test]
        fn both_ways_give_the_same_words(text in "\\PC{0,60}") {
            let mut analyzer = analyzer();
            let mut stream = analyzer.token_stream(&text);
            let mut indexed = Vec::new();
            while let Some(token) = stream.next() {
                indexed.push(token.text.clone());
            }
            prop_assert_eq!(indexed, words(&text).collect::<Vec<_>>());
        }
    }
}
