//! SQL without what its literals hold.

/// What stands for a literal.
const HIDDEN: &str = "...";

/// The shortest word of a literal that is looked for in what a server says.
const SHORTEST_WORD: usize = 4;

/// Statements that hold passwords or connection strings have one of these in them.
const OF_SECRETS: [&str; 5] = [
    "SUBSCRIPTION",
    "USER MAPPING",
    "OPTIONS (",
    "PASSWORD",
    "CONNECTION",
];

/// A text of SQL, what it may show and what it may not.
///
/// A subscription, a user mapping, a server, a role, a view over `dblink`: any literal may be a
/// password, and no list of statements knows all that hold one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Veiled {
    /// The text with `'...'` for each literal, and without comments; in each line what was in it.
    pub shown: String,
    /// What the literals hold, as written.
    hidden: Vec<String>,
    /// Whether it ends within a literal, a quoted name or a comment.
    pub open: bool,
}

/// Tells the literals of SQL from the rest of it.
///
/// A literal that does not end hides all behind it. Mirrors `src/backend/parser/scan.l`.
pub fn veiled(sql: &str) -> Veiled {
    let mut found = Veiled::default();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let next = rest[c.len_utf8()..].chars().next();
        let tag = match c {
            '$' if !found.ends_in_a_word() => dollar_tag(rest),
            _ => None,
        };
        rest = match (c, next, tag) {
            ('\'', ..) => {
                let escapes = found.ends_in_an_escape();
                found.hide(rest, 1, quoted(&rest[1..], '\'', escapes), 1)
            }
            ('"', ..) => found.name(rest),
            ('-', Some('-'), _) => rest.find(['\n', '\r']).map_or("", |end| &rest[end..]),
            ('/', Some('*'), _) => found.comment(rest),
            (_, _, Some(tag)) => {
                let inside = &rest[tag.len()..];
                found.hide(rest, tag.len(), inside.find(tag), tag.len())
            }
            _ => {
                found.shown.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    found
}

/// How long what stands before the closing quote is; twice it is one of the text.
fn quoted(inside: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = inside.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at);
        }
    }
    None
}

/// `$$` or `$tag$` where the text begins with one.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let fits = !tag.starts_with(|c: char| c.is_ascii_digit()) && tag.chars().all(in_a_word);
    fits.then(|| &text[..=end])
}

fn in_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

impl Veiled {
    fn ends_in_a_word(&self) -> bool {
        self.shown.ends_with(|c: char| in_a_word(c) || c == '$')
    }

    /// Whether a literal that begins here is written `E'...'`.
    fn ends_in_an_escape(&self) -> bool {
        let before = self.shown.strip_suffix(['e', 'E']);
        before.is_some_and(|before| !before.ends_with(|c: char| in_a_word(c) || c == '$'))
    }

    /// Hides what is between quotes of these lengths; gives what is behind them.
    fn hide<'t>(
        &mut self,
        text: &'t str,
        opening: usize,
        length: Option<usize>,
        closing: usize,
    ) -> &'t str {
        let inside = &text[opening..];
        let (held, rest) = match length {
            Some(length) => (&inside[..length], &inside[length + closing..]),
            None => (inside, ""),
        };
        self.open |= length.is_none();
        self.shown.push('\'');
        self.shown.push_str(HIDDEN);
        self.keep_lines(held);
        self.shown.push('\'');
        self.hidden.push(held.to_owned());
        rest
    }

    fn name<'t>(&mut self, text: &'t str) -> &'t str {
        match quoted(&text[1..], '"', false) {
            Some(length) => {
                let (name, rest) = text.split_at(length + 2);
                self.shown.push_str(name);
                rest
            }
            None => self.hide(text, 1, None, 0),
        }
    }

    /// Comments may hold comments.
    fn comment<'t>(&mut self, text: &'t str) -> &'t str {
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(found) = text[at..].find(['/', '*']) {
            at += found;
            if text[at..].starts_with("/*") {
                depth += 1;
                at += 2;
            } else if text[at..].starts_with("*/") {
                depth = depth.saturating_sub(1);
                at += 2;
                if depth == 0 {
                    self.keep_lines(&text[..at]);
                    self.shown.push(' ');
                    return &text[at..];
                }
            } else {
                at += 1;
            }
        }
        self.hide(text, 2, None, 0)
    }

    fn keep_lines(&mut self, of: &str) {
        let lines = of.matches('\n').count();
        self.shown.extend(std::iter::repeat_n('\n', lines));
    }

    /// Whether statements of this kind are where passwords are usually kept.
    pub fn is_of_secrets(&self) -> bool {
        let plain = spaced(&self.shown).to_ascii_uppercase();
        OF_SECRETS.iter().any(|word| plain.contains(word))
    }

    /// Whether this excerpt of the statement is in what may be shown of it; with what stands for
    /// its literals.
    ///
    /// One that begins within a literal reads as something else than it is, and is then found
    /// nowhere.
    pub fn excerpt(&self, text: &str) -> Option<String> {
        let bare = text.trim();
        let bare = bare.strip_prefix(HIDDEN).unwrap_or(bare);
        let bare = bare.strip_suffix(HIDDEN).unwrap_or(bare);
        let shown = spaced(&veiled(bare).shown);
        spaced(&self.shown).contains(&shown).then_some(shown)
    }

    /// What a server says of the statement, without words that only its literals hold.
    ///
    /// It quotes what it does not understand: `missing "=" after "sesame"`.
    pub fn said(&self, text: &str) -> String {
        let mut told = String::with_capacity(text.len());
        for (at, piece) in text.split('"').enumerate() {
            if at > 0 {
                told.push('"');
            }
            let quoted = at % 2 == 1;
            let unknown = quoted && !self.shown.contains(piece) && piece != "=";
            told.push_str(if unknown { HIDDEN } else { piece });
        }
        let mut words: Vec<&str> = self.words().collect();
        // What is part of another word must not hide the rest of that one.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        for word in words {
            told = told.replace(word, HIDDEN);
        }
        told
    }

    /// The words of the literals that are nowhere else; names of options are no secrets.
    fn words(&self) -> impl Iterator<Item = &str> {
        let ends = |c: char| c.is_whitespace() || "'\"\\,;&/?@:=".contains(c);
        let pieces = self.hidden.iter().flat_map(move |held| {
            let option = |word: &&str| {
                let behind = word.as_ptr() as usize - held.as_ptr() as usize + word.len();
                held[behind..].trim_start().starts_with('=')
            };
            let words = held.split(ends).filter(move |word| !option(word));
            std::iter::once(held.as_str()).chain(words)
        });
        pieces.filter(|word| word.len() >= SHORTEST_WORD && !self.shown.contains(word))
    }
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_hidden_however_they_are_written() {
        for (sql, wanted) in [
            ("SELECT 'sesame', 1", "SELECT '...', 1"),
            ("SELECT 'a''sesame''b', x", "SELECT '...', x"),
            ("SELECT E'a\\'sesame', x", "SELECT E'...', x"),
            (
                "SELECT 'a\\', \"it's\", 'sesame'",
                "SELECT '...', \"it's\", '...'",
            ),
            ("AS $$ se'same $x$ $$, x", "AS '...', x"),
            ("AS $b_1$ $$ sesame $b_1$;", "AS '...';"),
            ("a$b$ 'sesame' c$b$", "a$b$ '...' c$b$"),
            ("f($1, '$2sesame')", "f($1, '...')"),
            ("-- don't\nx 'sesame'", "\nx '...'"),
            ("-- don't\rx 'sesame'", "\rx '...'"),
            ("/* don't /* so */ it */ x 'sesame'", "  x '...'"),
            ("x 'se\nsa\nme' y", "x '...\n\n' y"),
            ("x U&'sesame' UESCAPE '!'", "x U&'...' UESCAPE '...'"),
        ] {
            let found = veiled(sql);
            assert_eq!(found.shown, wanted);
            assert!(!found.open, "{sql}");
            assert_eq!(veiled(&found.shown).shown, wanted);
        }
    }

    #[test]
    fn what_does_not_end_hides_the_rest() {
        for sql in [
            "x 'sesame",
            "x 'a'' sesame",
            "x E'a\\' sesame",
            "x $$ sesame $",
            "x $t$ sesame $$",
            "x \"a 'sesame'",
            "x /* 'sesame'",
        ] {
            let found = veiled(sql);
            assert_eq!(found.shown.replace('E', ""), "x '...'");
            assert!(found.open);
        }
    }

    const SUBSCRIPTION: &str = "CREATE SUBSCRIPTION \"follows\" CONNECTION 'host=nowhere password=sesame open' PUBLICATION \"p\"";

    #[test]
    fn a_server_repeats_no_secret() {
        let found = veiled(SUBSCRIPTION);
        assert!(found.is_of_secrets());
        assert!(!veiled("CREATE VIEW v AS SELECT 'OPTIONS ('").is_of_secrets());
        for (said, wanted) in [
            (
                "missing \"=\" after \"open\" in it",
                "missing \"=\" after \"...\" in it",
            ),
            (
                "subscription \"follows\" exists",
                "subscription \"follows\" exists",
            ),
            ("no password=sesame there", "no password=... there"),
            ("the password is wrong", "the password is wrong"),
            ("with host=nowhere password=sesame open", "with ..."),
        ] {
            assert_eq!(found.said(said), wanted);
        }
    }

    #[test]
    fn an_excerpt_is_of_what_is_shown_or_of_nothing() {
        let found = veiled("SELECT a,\n  'x sesame y' || gone");
        let shown = |text| found.excerpt(text);
        assert_eq!(
            shown("'x sesame y' || gone").as_deref(),
            Some("'...' || gone")
        );
        assert_eq!(shown("...LECT a,").as_deref(), Some("LECT a,"));
        for within in ["...same y' || gone", "sesame", "'x sesame y"] {
            assert_eq!(shown(within).filter(|text| text.contains("same")), None);
        }
        assert_eq!(shown("...same y' || gone"), None);
    }
}
