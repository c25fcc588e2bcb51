//! Several hashes in one pass.

use std::fmt::Write as _;

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::DynDigest;

use super::HashAlgorithm;

pub(super) struct Digests(Vec<(HashAlgorithm, Box<dyn DynDigest>)>);

impl Digests {
    pub(super) fn new(algorithms: &[HashAlgorithm]) -> Self {
        let digest = |algorithm| -> Box<dyn DynDigest> {
            match algorithm {
                HashAlgorithm::Md5 => Box::new(Md5::default()),
                HashAlgorithm::Sha1 => Box::new(Sha1::default()),
                HashAlgorithm::Sha256 => Box::new(Sha256::default()),
            }
        };
        Self(algorithms.iter().map(|a| (*a, digest(*a))).collect())
    }

    pub(super) fn update(&mut self, block: &[u8]) {
        for (_, digest) in &mut self.0 {
            digest.update(block);
        }
    }

    /// `algorithm:hex` of each.
    pub(super) fn finish(self) -> Vec<String> {
        let text = |(algorithm, digest): (HashAlgorithm, Box<dyn DynDigest>)| {
            let mut text = format!("{}:", algorithm.name());
            for byte in digest.finalize() {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        };
        self.0.into_iter().map(text).collect()
    }
}
