//! How many columns of a terminal a text takes.

use unicode_width::UnicodeWidthChar;

/// What stands for what was cut off.
const ELLIPSIS: char = '…';

/// The columns of one character: none for those that join the one before.
fn of_char(c: char) -> usize {
    match c {
        // Makes a wide picture of a narrow character before it. Where that was wide already, this is one too many.
        '\u{fe0f}' => 1,
        c => c.width().unwrap_or(0),
    }
}

/// The columns of a text without control characters; a sequence of joined pictures counts as if they were apart, as
/// many terminals show it.
pub(crate) fn of(text: &str) -> usize {
    text.chars().map(of_char).sum()
}

/// The text in so many columns at most, with a mark where it was cut.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    // Marks that take no column are not endless either.
    let most = columns.saturating_mul(4);
    if of(text) <= columns && text.chars().count() <= most {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let mut taken = 0;
    let mut short: String = text
        .chars()
        .take(most)
        .take_while(|c| {
            taken += of_char(*c);
            taken <= room
        })
        .collect();
    short.push(ELLIPSIS);
    short
}

/// The text, filled up with blanks to so many columns.
pub(crate) fn filled(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(of(text));
    format!("{text}{}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns_and_marks_none() {
        assert_eq!(of("abc"), 3);
        assert_eq!(of("租约"), 4);
        assert_eq!(of("e\u{301}"), 1);
        assert_eq!(of("\u{2764}\u{fe0f}"), 2);
        assert_eq!(of(""), 0);
    }

    #[test]
    fn what_is_too_long_is_cut_with_a_mark_and_never_takes_more() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("abcdef", 1), "…");
        assert_eq!(cut("abcdef", 0), "");
        // Half of a wide character is not shown.
        assert_eq!(cut("租约租约", 6), "租约…");
        assert_eq!(cut("租约租约", 5), "租约…");
        let odd = "a\u{301}👩\u{200d}👩\u{2764}\u{fe0f}租".repeat(9);
        for columns in 0..40 {
            let short = cut(&odd, columns);
            assert!(of(&short) <= columns, "{columns}: {short}");
            assert_eq!(of(&filled(&short, columns)), columns);
        }
        let tower = format!("a{}", "\u{301}".repeat(500));
        assert!(cut(&tower, 10).chars().count() <= 41);
    }
}
