//! Rust source as tokens, as far as the rooms are concerned.

/// A word or a sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it says; nothing for a literal.
    pub text: String,
    /// Where, from 1.
    pub line: usize,
}

/// Identifiers, numbers and single signs; `::` is one token. Literals become empty strings.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = after(&chars, at);
        let text: String = chars[at..end].iter().collect();
        let first = chars[at];
        let comment = text.starts_with("//") || text.starts_with("/*");
        if !comment && !first.is_whitespace() {
            let literal = text.ends_with(['"', '\'', '#']) && text.len() > 1;
            let text = if literal { String::new() } else { text.clone() };
            found.push(Token { text, line });
        }
        line += text.matches('\n').count();
        at = end;
    }
    found
}

/// Where the token ends that begins at `at`.
fn after(chars: &[char], at: usize) -> usize {
    let is = |offset: usize, wanted: char| chars.get(at + offset) == Some(&wanted);
    let until = |from: usize, done: &dyn Fn(usize) -> Option<usize>| {
        (from..chars.len()).find_map(done).unwrap_or(chars.len())
    };
    let first = chars[at];
    match first {
        '/' if is(1, '/') => until(at, &|i| (chars[i] == '\n').then_some(i)),
        '/' if is(1, '*') => {
            let mut open = 0usize;
            let mut i = at;
            while i + 1 < chars.len() {
                match (chars[i], chars[i + 1]) {
                    ('/', '*') => (open, i) = (open + 1, i + 2),
                    ('*', '/') => (open, i) = (open - 1, i + 2),
                    _ => i += 1,
                }
                if open == 0 {
                    return i;
                }
            }
            chars.len()
        }
        '"' => end_of_string(chars, at),
        ':' if is(1, ':') => at + 2,
        '\'' => {
            let escaped = is(1, '\\');
            if escaped {
                return until(at + 3, &|i| (chars[i] == '\'').then_some(i + 1));
            }
            if is(2, '\'') { at + 3 } else { at + 1 }
        }
        'r' | 'b' | 'c' if starts_literal(chars, at) => {
            let marks = chars[at..]
                .iter()
                .take_while(|c| c.is_ascii_alphabetic())
                .count();
            let hashes = chars[at + marks..]
                .iter()
                .take_while(|c| **c == '#')
                .count();
            let quote = at + marks + hashes;
            let raw = chars[at..quote].contains(&'r');
            if chars[quote] == '\'' {
                return after(chars, quote);
            }
            if !raw {
                return end_of_string(chars, quote);
            }
            until(quote + 1, &|i| {
                let closed = chars[i] == '"'
                    && chars[i + 1..]
                        .iter()
                        .take(hashes)
                        .filter(|c| **c == '#')
                        .count()
                        == hashes;
                closed.then_some(i + 1 + hashes)
            })
        }
        c if c.is_alphanumeric() || c == '_' => until(at, &|i| {
            (!chars[i].is_alphanumeric() && chars[i] != '_').then_some(i)
        }),
        _ => at + 1,
    }
}

fn end_of_string(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"`, `r#"`, `b"`, `b'`, `br#"`, `c"` and the like.
fn starts_literal(chars: &[char], at: usize) -> bool {
    let letters: String = chars[at..]
        .iter()
        .take_while(|c| c.is_ascii_alphabetic())
        .collect();
    if !["r", "b", "c", "br", "cr"].contains(&letters.as_str()) {
        return false;
    }
    let mut rest = chars[at + letters.len()..].iter();
    match rest.find(|c| **c != '#') {
        Some('"') => true,
        Some('\'') => letters == "b",
        _ => false,
    }
}

/// Whether the tokens from `at` on are these.
pub fn is(tokens: &[Token], at: usize, wanted: &[&str]) -> bool {
    wanted
        .iter()
        .enumerate()
        .all(|(offset, text)| tokens.get(at + offset).is_some_and(|t| t.text == *text))
}

/// The index after the bracket that closes the one at `open`.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Tokens without items behind `#[cfg(test)]`, and the names of modules declared there.
pub fn split_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut shipped, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if !is(tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            shipped.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += 7;
        while is(tokens, at, &["#", "["]) {
            at = closing(tokens, at + 1);
        }
        let start = at;
        while at < tokens.len() && !["{", ";"].contains(&tokens[at].text.as_str()) {
            at = if ["(", "["].contains(&tokens[at].text.as_str()) {
                closing(tokens, at)
            } else {
                at + 1
            };
        }
        let item = &tokens[start..at];
        if let Some(name) = item.iter().position(|t| t.text == "mod")
            && is(tokens, at, &[";"])
        {
            modules.push(item[name + 1].text.clone());
        }
        at = if is(tokens, at, &["{"]) {
            closing(tokens, at)
        } else {
            at + 1
        };
    }
    (shipped, modules)
}
