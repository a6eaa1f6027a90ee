//! E-mail addresses.
//!
//! Guarantees: an [`Email`] is one plain ASCII address, domain in lower case; the bytes that limits are counted by
//! are the bytes that mail goes to. No quoted local part, comment, list, display name or control character.

/// RFC 5321 §4.5.3.1.3: a path of 256 octets less the angle brackets.
const MAX_BYTES: usize = 254;
/// RFC 5321 §4.5.3.1.1.
const MAX_LOCAL_BYTES: usize = 64;

/// One mailbox. Its `Debug` is masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The text is not one plain address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an e-mail address is name@host.example, in ASCII, without quotes, spaces or lists")]
pub struct EmailError;

impl Email {
    /// Reads an address; the domain is folded to lower case, the local part is kept as it is.
    ///
    /// # Errors
    /// When it is anything but one dot-atom, `@` and a host name with a dot.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let (local, domain) = text.split_once('@').ok_or(EmailError)?;
        let atom = |part: &str| !part.is_empty() && part.bytes().all(is_atom_byte);
        let label = |part: &str| {
            let dash_free = !part.starts_with('-') && !part.ends_with('-');
            (1..=63).contains(&part.len())
                && dash_free
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let local_ok = local.len() <= MAX_LOCAL_BYTES && local.split('.').all(atom);
        let domain_ok = domain.contains('.') && domain.split('.').all(label);
        if text.len() > MAX_BYTES || !local_ok || !domain_ok {
            return Err(EmailError);
        }
        Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `a•••@example.com`, for logs and answers.
    #[must_use]
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.split_once('@').unwrap_or_default();
        format!("{}•••@{domain}", local.chars().take(1).collect::<String>())
    }
}

/// RFC 5322 §3.2.3 `atext`.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plain_address_is_taken_and_its_domain_folded_e4() {
        assert_eq!(Email::parse("Ann.Lee+x@Mail.Example").expect("plain").as_str(), "Ann.Lee+x@mail.example");
        assert_eq!(format!("{:?}", Email::parse("ann@mail.example").expect("plain")), "a•••@mail.example");
    }

    #[test]
    fn lists_quotes_controls_and_look_alikes_are_refused_e4() {
        for bad in [
            "a@x",
            "a@x.example,b@y.example",
            "\"a@x b\"@y.example",
            "a@x.example\r\nBcc: b@y.example",
            "Ann <a@x.example>",
            "a@x.example b@y.example",
            "@x.example",
            "a@",
            "a..b@x.example",
            ".a@x.example",
            "a@-x.example",
            "a@x..example",
            "k\u{212a}@x.example",
            "a@gıthub.example",
            "a(b)@x.example",
            "a@[127.0.0.1]",
            "a@x.example\0",
            "",
        ] {
            assert_eq!(Email::parse(bad), Err(EmailError), "{bad:?}");
        }
        assert!(Email::parse(&format!("{}@x.example", "a".repeat(65))).is_err());
    }
}
