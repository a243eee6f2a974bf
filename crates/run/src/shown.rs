//! Names as they are shown to people.

use std::path::Path;

/// A path, with whatever could forge a line or move the cursor of a terminal escaped.
///
/// ```
/// assert_eq!(kappa_run::shown("a\n  WRONG: \u{1b}[2J"), "a\\n  WRONG: \\u{1b}[2J");
/// ```
pub fn shown(path: impl AsRef<Path>) -> String {
    escaped(&path.as_ref().to_string_lossy(), |_| false)
}

/// `text` with its control characters escaped, and with those that turn the direction of writing
/// or break a line, but for those that it `keeps`.
pub fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let unseen = character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if unseen && !keeps(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_escaped_and_letters_are_not() {
        assert_eq!(shown("a\r\u{7}\u{9b}2J\u{202e}b"), "a\\r\\u{7}\\u{9b}2J\\u{202e}b");
        assert_eq!(shown("α/κ′ ü 名.json"), "α/κ′ ü 名.json");
        assert_eq!(escaped("a\n\u{1b}b", |character| character == '\n'), "a\n\\u{1b}b");
    }
}
