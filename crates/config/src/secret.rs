//! A value that nobody shall read in a log, a status page or a debug dump.

use std::fmt;

use crate::value::Setting;
use crate::yaml::Node;

/// What is shown instead of a secret.
const HIDDEN: &str = "\"********\"";

/// A key of an account.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "text (never shown)";
    const SECRET: bool = true;

    fn from_node(node: &Node) -> Option<Self> {
        String::from_node(node).map(|text| Self(text.trim().to_owned()))
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(Self(text.trim().to_owned()))
    }

    fn show(&self) -> String {
        if self.0.is_empty() { "\"\"" } else { HIDDEN }.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_nowhere() {
        let secret = Secret("0123456789abcdef0123456789abcdef".to_owned());
        for shown in [format!("{secret:?}"), secret.show()] {
            assert_eq!(shown, HIDDEN);
        }
        assert_eq!(Secret::default().show(), "\"\"");
        assert_eq!(secret.reveal().len(), 32);
    }
}
