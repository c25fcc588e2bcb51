//! An error and its causes in one line.

use std::error::Error;

/// The error, then each cause after a colon. A cause that the text ends with already is not said again: many errors
/// name their source in their own words and give it as the source as well.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {path}: {source}")]
    struct Tells {
        path: &'static str,
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Hides(#[source] Tells);

    #[test]
    fn a_cause_is_not_told_twice() {
        let tells = || Tells {
            path: "/x",
            source: io::Error::other("no such file"),
        };
        assert_eq!(chain(&tells()), "cannot read /x: no such file");
        assert_eq!(
            chain(&Hides(tells())),
            "cannot start: cannot read /x: no such file"
        );
    }
}
