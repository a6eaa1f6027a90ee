//! What an expression calls: filters, tests and methods.
//!
//! The engine says so only where it runs them, which is behind a condition when the country is one that nobody tried.

/// One name that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// `| name`.
    Filter(&'a str),
    /// `is name`, `is not name`.
    Test(&'a str),
    /// `.name(`.
    Method(&'a str),
}

/// All that a text calls between its braces, outside of comments.
pub(super) fn in_text(source: &str) -> Vec<Call<'_>> {
    let (mut calls, mut rest) = (Vec::new(), source);
    while let Some((_, behind)) = rest.split_once('{') {
        rest = if let Some(comment) = behind.strip_prefix('#') {
            comment.split_once("#}").map_or("", |(_, behind)| behind)
        } else if let Some(expression) = behind.strip_prefix('{') {
            let (words, behind) = words(expression);
            calls.extend(called(&words));
            behind
        } else {
            behind
        };
    }
    calls
}

/// All that one expression calls.
pub(super) fn in_expression(source: &str) -> Vec<Call<'_>> {
    called(&words(source).0)
}

fn called<'a>(words: &[&'a str]) -> Vec<Call<'a>> {
    let called = |at: usize| {
        let word = |at: usize| words.get(at).copied();
        let name = word(at).filter(|word| is_name(word))?;
        let before = |by: usize| at.checked_sub(by).and_then(word);
        match before(1)? {
            "|" => Some(Call::Filter(name)),
            "is" if name != "not" => Some(Call::Test(name)),
            "not" if before(2) == Some("is") => Some(Call::Test(name)),
            "." if word(at.saturating_add(1)) == Some("(") => Some(Call::Method(name)),
            _ => None,
        }
    };
    (0..words.len()).filter_map(called).collect()
}

/// Names and single signs of an expression, texts in quotes as one, up to its `}}`; and what is behind that.
fn words(source: &str) -> (Vec<&str>, &str) {
    let (mut words, mut open) = (Vec::new(), 0usize);
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        if open == 0 && rest.starts_with("}}") {
            break;
        }
        match first {
            '{' => open = open.saturating_add(1),
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        let end = match first {
            '\'' | '"' => quoted(rest, first).unwrap_or(rest.len()),
            _ if is_part(first) => rest.find(|c: char| !is_part(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, behind) = rest.split_at(end);
        words.push(word);
        rest = behind.trim_start();
    }
    (words, rest)
}

/// Where a text in quotes ends.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, quote)| at.saturating_add(quote.len_utf8()))
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_is_found_behind_any_condition_and_not_in_quotes() {
        use Call::{Filter, Method, Test};
        for (source, called) in [
            ("{{ to|digits }}", vec![Filter("digits")]),
            (
                "+{{ to | digits|int }}, {{code|trunc(3)}}",
                vec![Filter("digits"), Filter("int"), Filter("trunc")],
            ),
            ("{{ to|hex if to is startingwith '+7' else '' }}", vec![Filter("hex"), Test("startingwith")]),
            ("{{ 1 if to is not endingwith('7') and not x }}", vec![Test("endingwith")]),
            ("{{ 'a|b is c' }} a|b is c {{ \"\\\"|d\" }}", vec![]),
            ("{{ to.upper() }} {{ app.name }}", vec![Method("upper")]),
            ("{{ 'open|a }}", vec![]),
            ("{{ {'a': {'b': 1}}|json }}, {{ '{{'|path }}", vec![Filter("json"), Filter("path")]),
            ("{# {{ to|shout }} #}{{ to|hex }}{# ", vec![Filter("hex")]),
            ("{ {to|a} }", vec![]),
            ("no braces|at all is well", vec![]),
        ] {
            assert_eq!(in_text(source), called, "{source}");
        }
        assert_eq!(in_expression("to|digits is startingwith('1')"), [Filter("digits"), Test("startingwith")]);
    }
}
