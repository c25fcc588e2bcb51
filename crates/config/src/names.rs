//! Keys that take a version or names of hash functions.

use semver::Version;

use crate::value::Setting;
use crate::yaml::Node;

/// A version of the Datadog Agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentVersion(Version);

impl AgentVersion {
    pub(crate) const DEFAULT: Self = Self(Version::new(7, 83, 0));

    /// The version, without anything after its three numbers.
    pub fn get(&self) -> &Version {
        &self.0
    }
}

impl Setting for AgentVersion {
    const EXPECTED: &'static str = "a version such as \"7.83.0\" (in quotes)";

    /// Not from a number: `7.80` would be 7.8.
    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// `7.83` is 7.83.0; what follows the numbers (`-rc.1`) does not count.
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let full = match text.split('.').count() {
            2 => format!("{text}.0"),
            _ => text.to_owned(),
        };
        let version = Version::parse(&full).ok()?;
        Some(Self(Version::new(
            version.major,
            version.minor,
            version.patch,
        )))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Names of hash functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashNames(Vec<String>);

impl HashNames {
    const KNOWN: [&str; 4] = ["md5", "sha1", "sha256", "ssdeep"];

    /// Each once, in the order of the configuration.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl Default for HashNames {
    fn default() -> Self {
        Self(vec!["sha1".to_owned(), "sha256".to_owned()])
    }
}

impl Setting for HashNames {
    const EXPECTED: &'static str = "a list of md5, sha1, sha256, ssdeep";

    fn from_node(node: &Node) -> Option<Self> {
        Vec::from_node(node).and_then(known)
    }

    fn from_text(text: &str) -> Option<Self> {
        Vec::from_text(text).and_then(known)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

fn known(names: Vec<String>) -> Option<HashNames> {
    let mut found = Vec::new();
    for name in names {
        let name = name.to_ascii_lowercase();
        if !HashNames::KNOWN.contains(&name.as_str()) {
            return None;
        }
        if !found.contains(&name) {
            found.push(name);
        }
    }
    Some(HashNames(found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn versions() {
        let read = |text| AgentVersion::from_text(text).map(|version| version.show());
        assert_eq!(read("7.83.1").unwrap(), "7.83.1");
        assert_eq!(read("7.64").unwrap(), "7.64.0");
        assert_eq!(read("7.70.0-rc.1").unwrap(), "7.70.0");
        for wrong in ["", "7", "seven", "7.x", "7.1.2.3", "-1.2.3", "latest"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hashes() {
        let read = |text| HashNames::from_text(text).map(|names| names.0);
        assert_eq!(read("SHA256 md5,md5").unwrap(), ["sha256", "md5"]);
        assert_eq!(read("sha1 crc32"), None);
        assert_eq!(read("").unwrap(), [""; 0]);
    }
}
