//! Texts of the kernel.

/// A text in an array of the kernel's: up to its first NUL; what is not UTF-8 is replaced.
pub(crate) fn c_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A module's parameters one by one, as the kernel takes them apart: at blanks, but for those between double quotes.
pub(crate) fn module_arguments(args: &str) -> Vec<String> {
    let mut quoted = false;
    args.split(|c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c.is_ascii_whitespace() && !quoted
    })
    .filter(|argument| !argument.is_empty())
    .map(str::to_owned)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_at_their_first_nul() {
        assert_eq!(c_string(b"dummy\0\0x"), "dummy");
        assert_eq!(c_string(b"full"), "full");
        assert_eq!(c_string(b"\xff\0"), "\u{fffd}");
        assert_eq!(c_string(b""), "");
    }

    #[test]
    fn a_quoted_blank_is_part_of_a_module_argument() {
        assert_eq!(module_arguments(""), Vec::<String>::new());
        assert_eq!(
            module_arguments("  debug=1 path=\"a b\"\tx \n"),
            ["debug=1", "path=\"a b\"", "x"]
        );
        assert_eq!(module_arguments("a=\"b c"), ["a=\"b c"]);
    }
}
