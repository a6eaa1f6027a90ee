//! Texts with placeholders.
//!
//! Guarantees: a [`Template`] that exists has been rendered: its syntax is right, it names [`NAMES`] and nothing else,
//! and what is put in is never read as a template. The work that one may do is bounded.

use std::sync::Arc;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use zeroize::Zeroizing;

use super::message::{is_inert, looks_bound};

/// What a text may name.
pub const NAMES: [&str; 3] = ["app", "code", "minutes"];

/// Instructions: a thousand times what a sentence needs, and over in a moment.
const FUEL: u64 = 10_000;
const MAIN: &str = "text";

/// What is put into a text.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// What the app calls itself.
    pub app: &'a str,
    /// The code.
    pub code: &'a str,
    /// How long it is valid.
    pub minutes: u64,
}

impl Values<'static> {
    /// What a template is tried with.
    const SAMPLE: Self = Self { app: "App", code: "314159", minutes: 5 };

    fn sample(minutes: u64) -> Self {
        Self { minutes, ..Self::SAMPLE }
    }
}

impl Values<'_> {
    /// The least that a message says.
    #[must_use]
    pub fn bare(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}: {}", self.app, self.code))
    }
}

/// A text with placeholders, known to work.
#[derive(Clone)]
pub struct Template {
    source: String,
    engine: Arc<Environment<'static>>,
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl Template {
    /// The text of a message: with a lifetime of so many minutes it holds the code, and no line of it could pass for the
    /// one that binds a code to a host.
    ///
    /// # Errors
    /// With what to change.
    pub fn message(source: &str, minutes: u64) -> Result<Self, String> {
        let template = Self::compile(source)?;
        let text = template.try_render(Values::sample(minutes))?;
        if !text.contains(Values::SAMPLE.code) {
            return Err("must contain {{ code }}".to_owned());
        }
        if text.lines().any(looks_bound) {
            return Err("no line may look like \"@host #code\": set web_domain of the app instead".to_owned());
        }
        if !text.lines().all(is_inert) {
            return Err("must have no control characters and no marks of writing direction".to_owned());
        }
        Ok(template)
    }

    /// A subject of a mail: one line, without the code, which would show on locked screens.
    ///
    /// # Errors
    /// With what to change.
    pub fn subject(source: &str) -> Result<Self, String> {
        let template = Self::compile(source)?;
        let text = template.try_render(Values::SAMPLE)?;
        if text.contains(Values::SAMPLE.code) {
            return Err("must not contain {{ code }}: subjects show on locked screens".to_owned());
        }
        if text.is_empty() || !is_inert(&text) {
            return Err("must be one line without control characters".to_owned());
        }
        Ok(template)
    }

    /// The text of a notice: it tells no code, and nothing in it could pass for one that binds a code to a host.
    ///
    /// # Errors
    /// With what to change.
    pub fn notice(source: &str) -> Result<Self, String> {
        let template = Self::compile(source)?;
        let text = template.try_render(Values::SAMPLE)?;
        if text.contains(Values::SAMPLE.code) {
            return Err("must not contain {{ code }}: a notice has none".to_owned());
        }
        if text.is_empty() || text.lines().any(looks_bound) || !text.lines().all(is_inert) {
            return Err("must be plain text, without control characters and \"@host #code\"".to_owned());
        }
        Ok(template)
    }

    fn compile(source: &str) -> Result<Self, String> {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_fuel(Some(FUEL));
        engine.set_auto_escape_callback(|_| AutoEscape::None);
        // A file from Windows has its own line ends; a message has one kind.
        let source = source.trim().replace("\r\n", "\n");
        engine.add_template_owned(MAIN, source.clone()).map_err(|error| explain(&error))?;
        let named = engine.get_template(MAIN).map_err(|error| explain(&error))?.undeclared_variables(false);
        let mut unknown: Vec<_> = named.into_iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
        unknown.sort();
        if let Some(name) = unknown.first() {
            return Err(format!("there is no {{{{ {name} }}}}; a text knows {}", NAMES.join(", ")));
        }
        Ok(Self { source, engine: Arc::new(engine) })
    }

    fn try_render(&self, values: Values<'_>) -> Result<Zeroizing<String>, String> {
        let Values { app, code, minutes } = values;
        let template = self.engine.get_template(MAIN).map_err(|error| explain(&error))?;
        let text = template.render(context! { app, code, minutes }).map_err(|error| explain(&error))?;
        Ok(Zeroizing::new(text))
    }

    /// Puts the values in. A template that has worked once and fails on these values leaves the bare code: the person
    /// still gets in.
    #[must_use]
    pub fn render(&self, values: Values<'_>) -> Zeroizing<String> {
        self.try_render(values).unwrap_or_else(|_| values.bare())
    }
}

/// minijinja's own words, less the name of the template, which is ours.
fn explain(error: &minijinja::Error) -> String {
    let kind = error.kind().to_string();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("is no template: {kind}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(source: &str) -> String {
        Template::message(source, 5).expect_err(source)
    }

    #[test]
    fn the_placeholders_are_filled_and_what_fills_them_is_inert_d5() {
        let template =
            Template::message(" {{ app }}: {{ code }},\r\n{{ minutes }} min\n", 5).expect("a template");
        let values = Values { app: "<{{ code }}{% raw %}&", code: "000042", minutes: 10 };
        assert_eq!(*template.render(values), "<{{ code }}{% raw %}&: 000042,\n10 min");
    }

    #[test]
    fn an_unknown_placeholder_a_missing_code_and_broken_syntax_are_told_d5() {
        assert_eq!(wrong("{{ name }} {{ code }}"), "there is no {{ name }}; a text knows app, code, minutes");
        assert_eq!(wrong("Hello from {{ app }}"), "must contain {{ code }}");
        assert_eq!(wrong("{% if false %}{{ code }}{% endif %}"), "must contain {{ code }}");
        let five = "{{ app }}{% if minutes == 5 %}{{ code }}{% endif %}";
        assert!(Template::message(five, 5).is_ok());
        assert_eq!(Template::message(five, 10).expect_err("ten"), "must contain {{ code }}");
        for broken in ["{{ code }", "{{ code | upper }}", "{% if %}{{ code }}", "{{ code.x.y }}{{ code }}"] {
            assert!(wrong(broken).starts_with("is no template: "), "{broken}: {}", wrong(broken));
        }
        let loops = "{% for a in [1,2,3,4,5,6,7,8,9] %}".repeat(7) + "{{ code }}" + &"{% endfor %}".repeat(7);
        assert!(wrong(&loops).contains("fuel"), "{}", wrong(&loops));
    }

    #[test]
    fn no_text_can_bind_a_code_to_a_host_or_turn_its_direction_d5() {
        assert!(wrong("Code {{ code }}\n@evil.example #{{ code }}").contains("web_domain"));
        assert!(wrong("Code \u{202e}{{ code }}").contains("direction"));
        assert!(wrong("Code {{ code }}\u{0}").contains("control"));
        assert!(wrong("Code {{ code }}\rx").contains("control"));
        assert!(Template::message("Code {{ code }}\nDo not share it, not with me@example.com #1", 5).is_ok());
    }

    #[test]
    fn a_notice_tells_no_code() {
        assert!(Template::notice("{{ app }} has another number now").is_ok());
        for bad in ["{{ code }}", "", "a\u{202e}b", "{{ x }}", "@evil.example #1"] {
            assert!(Template::notice(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_subject_tells_no_code() {
        assert!(Template::subject("Your {{ app }} code").is_ok());
        for bad in ["{{ code }}", "a\nb", "", "{{ x }}"] {
            assert!(Template::subject(bad).is_err(), "{bad:?}");
        }
    }
}
