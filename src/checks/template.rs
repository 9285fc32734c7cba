//! Text with `{columns}` in it.

use std::fmt;

use crate::pg::quote;

/// Text in which `{name}` stands for a column, and `{{` and `}}` for braces.
///
/// `{name:ident}`, `{name:literal}` and `{name:shell}` say how the value is to be quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column { name: String, form: Form },
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Ident,
    Literal,
    Shell,
}

/// What a text is for, which decides how a plain `{column}` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To be read by a person, on a terminal.
    Prose,
    /// To be executed: a plain column is SQL already.
    Code,
}

impl Template {
    /// Reads a text; the error says what is wrong with it.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let placeholder = (brace == "{").then(|| rest.split_once('}')).flatten();
            let (inside, after) = placeholder.ok_or_else(|| format!("a lone {brace}"))?;
            rest = after;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::column(inside)?);
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let source = source.to_owned();
        Ok(Self { source, parts })
    }

    /// The columns it names, and how each is written.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, Form)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Column { name, form } => Some((name.as_str(), *form)),
        })
    }

    /// The text with the values in it, or the first column that has none.
    pub(super) fn render<'v>(
        &self,
        purpose: Use,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<String, String> {
        let mut out = String::with_capacity(self.source.len() + 32);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Column { name, form } => {
                    let value = value(name).ok_or_else(|| name.clone())?;
                    out.push_str(&form.write(purpose, value));
                }
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Part {
    fn column(inside: &str) -> Result<Self, String> {
        let (name, form) = inside.split_once(':').unwrap_or((inside, ""));
        let form = match form {
            "" => Form::Plain,
            "ident" => Form::Ident,
            "literal" => Form::Literal,
            "shell" => Form::Shell,
            other => return Err(format!("nothing is known of {{...:{other}}}")),
        };
        let simple = |c: char| c.is_ascii_lowercase() || c == '_';
        if name.is_empty() || !name.chars().all(simple) {
            return Err(format!("{{{inside}}} is not a column"));
        }
        Ok(Self::Column {
            name: name.to_owned(),
            form,
        })
    }
}

impl Form {
    fn write(self, purpose: Use, value: &str) -> String {
        match (self, purpose) {
            (Self::Plain, Use::Prose) => quote::terminal_safe(value).into_owned(),
            (Self::Plain, Use::Code) => value.to_owned(),
            (Self::Ident, Use::Prose) => quote::terminal_safe(&quote::ident(value)).into_owned(),
            (Self::Ident, Use::Code) => quote::ident(value),
            (Self::Literal, Use::Prose) => {
                quote::terminal_safe(&quote::literal(value)).into_owned()
            }
            (Self::Literal, Use::Code) => quote::literal(value),
            (Self::Shell, _) => quote::shell(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, purpose: Use) -> Result<String, String> {
        let values = [("name", "a\"b\u{1b}'c"), ("sql", "x::text")];
        Template::parse(template)?.render(purpose, |column| {
            values.iter().find(|(n, _)| *n == column).map(|(_, v)| *v)
        })
    }

    #[test]
    fn values_are_quoted_as_the_placeholder_says() {
        assert_eq!(
            render("DROP {name:ident} = {name:literal}, {sql}", Use::Code).unwrap(),
            "DROP \"a\"\"b\u{1b}'c\" = 'a\"b\u{1b}''c', x::text"
        );
        assert_eq!(
            render("{name:shell}", Use::Code).unwrap(),
            r#"$'a"b\033\'c'"#
        );
    }

    #[test]
    fn prose_is_safe_for_a_terminal() {
        assert_eq!(render("<{name}>", Use::Prose).unwrap(), "<a\"b\\u{1b}'c>");
        assert_eq!(
            render("{name:ident}", Use::Prose).unwrap(),
            "\"a\"\"b\\u{1b}'c\""
        );
    }

    #[test]
    fn braces_are_doubled() {
        assert_eq!(
            render("'{{1}}'::int[] {sql}", Use::Code).unwrap(),
            "'{1}'::int[] x::text"
        );
    }

    #[test]
    fn a_column_without_a_value_is_named() {
        assert_eq!(render("a {none}", Use::Prose), Err("none".to_owned()));
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for text in ["{", "}", "{}", "{a b}", "{name:quoted}", "{name", "x } y"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
