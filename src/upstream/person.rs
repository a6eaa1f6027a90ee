//! Whom a token is for, as templates see them.
//!
//! Guarantees: the id is the one that the backend knows an imported user by, else our own. Where a backend knows no
//! capitals, two of our ids never become one, and the same id always becomes the same.

use std::borrow::Cow;
use std::fmt::Write;

use minijinja::{Value, context};

use super::Subject;
use crate::config::{IdRule, whole};
use crate::domain::address::Address;

/// What templates may name of a person. A text is empty where they have no such thing.
pub(super) const NAMES: [&str; 6] = ["user_id", "phone", "phone_digits", "email", "app_id", "name"];

/// What our own ids begin with.
const PREFIX: &str = "usr_";

/// Whom a token is about.
pub(super) struct Person<'a> {
    pub(super) user_id: Cow<'a, str>,
    pub(super) phone: &'a str,
    pub(super) phone_digits: &'a str,
    pub(super) email: &'a str,
    pub(super) app_id: &'a str,
    pub(super) name: &'a str,
}

/// A user has a number or a mailbox, and templates must do with either.
pub(super) const SAMPLES: [Person<'static>; 2] = [
    Person {
        user_id: Cow::Borrowed("usr_sample"),
        phone: "+18005551234",
        phone_digits: "18005551234",
        email: "",
        app_id: "com.example.app",
        name: "",
    },
    Person {
        user_id: Cow::Borrowed("usr_sample"),
        phone: "",
        phone_digits: "",
        email: "ann@mail.example",
        app_id: "com.example.app",
        name: "Ann",
    },
];

impl<'a> Person<'a> {
    pub(super) fn of(subject: &'a Subject, ids: &Ids) -> Self {
        let (phone, phone_digits, email) = match &subject.address {
            Address::Phone(phone) => (phone.e164(), phone.digits(), ""),
            Address::Email(email) => ("", "", email.as_str()),
        };
        Self {
            user_id: match &subject.upstream_id {
                Some(imported) => imported.into(),
                None => ids.spell(subject.user.as_str()),
            },
            phone,
            phone_digits,
            email,
            app_id: &subject.app_id,
            name: subject.name.as_deref().unwrap_or_default(),
        }
    }

    /// A sample, with its id spelled as the backend wants ours.
    pub(super) fn sample(sample: &Person<'static>, ids: &Ids) -> Person<'static> {
        let user_id = Cow::Owned(ids.spell(&sample.user_id).into_owned());
        Person { user_id, ..*sample }
    }

    /// For templates.
    pub(super) fn context(&self) -> Value {
        let &Self { ref user_id, phone, phone_digits, email, app_id, name } = self;
        let user_id = user_id.as_ref();
        context! { user_id, phone, phone_digits, email, app_id, name }
    }
}

/// Which ids a backend takes, compiled.
pub(super) struct Ids {
    pattern: Option<regex_lite::Regex>,
    lower_case: bool,
    /// For people.
    pub(super) says: String,
}

impl Ids {
    /// A pattern that is none admits everything; shipped ones are tested, and no others come here.
    pub(super) fn new(rule: &IdRule) -> Self {
        let pattern = Some(&rule.pattern).filter(|pattern| !pattern.is_empty());
        Self {
            pattern: pattern.and_then(|pattern| whole(pattern).ok()),
            lower_case: rule.lower_case,
            says: rule.says.clone(),
        }
    }

    /// Whether the backend takes it.
    pub(super) fn admit(&self, id: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
    }

    /// One of our own ids as the backend wants it: `usr_`, and what follows in hex where it knows no capitals.
    pub(super) fn spell<'a>(&self, id: &'a str) -> Cow<'a, str> {
        if !self.lower_case {
            return Cow::Borrowed(id);
        }
        let letters = id.strip_prefix(PREFIX).unwrap_or(id);
        let mut spelled = PREFIX.to_owned();
        for byte in letters.bytes() {
            // Writing to a String does not fail.
            let _ = write!(spelled, "{byte:02x}");
        }
        Cow::Owned(spelled)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ambient::SeededEntropy;
    use crate::domain::ids::UserId;

    #[test]
    fn without_capitals_an_id_is_its_letters_in_hex() {
        let lower = Ids::new(&IdRule { lower_case: true, ..IdRule::default() });
        assert_eq!(lower.spell("usr_0aZ"), "usr_30615a");
        assert_eq!(Ids::new(&IdRule::default()).spell("usr_0aZ"), "usr_0aZ");
        let ids: BTreeSet<String> =
            ["usr_ab", "usr_aB", "usr_Ab", "usr_AB"].map(|id| lower.spell(id).into_owned()).into();
        assert_eq!(ids.len(), 4, "no two become one");
        let longest =
            UserId::generate_at(crate::domain::time::Timestamp::from_millis(0), &SeededEntropy::new(1));
        assert_eq!(lower.spell(longest.as_str()).len(), 4 + 2 * 30);
    }
}
