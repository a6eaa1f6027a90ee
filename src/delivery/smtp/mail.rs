//! The mail itself: the text, the same as HTML, and a head without a word of the user's.

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use zeroize::Zeroizing;

use super::super::{OutgoingCode, SendError};
use crate::config::SmtpProvider;
use crate::domain::address::Address;
use crate::domain::code::Code;
use crate::domain::locale::Locale;

/// A mail and its envelope: one sender, one recipient.
pub(super) struct Letter {
    pub(super) from: lettre::Address,
    pub(super) to: lettre::Address,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// Writes the mail.
pub(super) fn write(config: &SmtpProvider, message: &OutgoingCode) -> Result<Letter, SendError> {
    let Address::Email(recipient) = &message.to else {
        return Err(SendError::Unroutable("a phone number is no mailbox".to_owned()));
    };
    // Nothing of these errors is passed on: they quote the address.
    let no_mailbox = |_error| SendError::BadNumber("not a mailbox that mail can be sent to".to_owned());
    let to: lettre::Address = recipient.as_str().parse().map_err(no_mailbox)?;
    let no_sender = |_error| SendError::Rejected("`from` is no mailbox that mail can come from".to_owned());
    let from: lettre::Address = config.from.as_str().parse().map_err(no_sender)?;
    let id = format!("<{}@{}>", message.id, from.domain());
    let text = message.text.body.to_string();
    let html = to_html(&text, message.code.as_ref().map(Code::reveal), &message.text.locale);
    let mail = Message::builder()
        .from(Mailbox::new(config.from_name.clone(), from.clone()))
        .to(Mailbox::new(None, to.clone()))
        .subject(message.text.subject.clone())
        .message_id(Some(id))
        // RFC 3834: no out-of-office answers to a machine.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ))
        .multipart(MultiPart::alternative_plain_html(text, html))
        .map_err(|_error| SendError::Rejected("the mail cannot be written".to_owned()))?;
    Ok(Letter { from, to, content: Zeroizing::new(mail.formatted()) })
}

/// The text as a page, with the code set off where there is one. Everything in it is escaped.
fn to_html(text: &str, code: Option<&str>, locale: &str) -> String {
    let direction = Locale::parse(locale).filter(Locale::is_right_to_left).map_or("ltr", |_| "rtl");
    let text = escape(text).replace('\n', "<br>\n");
    let set_off =
        |code| text.replacen(code, &format!("<strong style=\"font-size:1.5em\">{code}</strong>"), 1);
    let text = code.map_or_else(|| text.clone(), set_off);
    format!(
        "<!DOCTYPE html>\n<html lang=\"{}\" dir=\"{direction}\">\n<head><meta charset=\"utf-8\"></head>\n\
         <body style=\"font-family:sans-serif\">\n<p>{text}</p>\n</body>\n</html>\n",
        escape(locale)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_html_part_is_escaped_and_sets_the_code_off() {
        let html = to_html("<A&B> 'x' code 123456.\nNever \"share\" it, 123456.", Some("123456"), "ar");
        assert!(html.contains("&lt;A&amp;B&gt; &#39;x&#39; code <strong"), "{html}");
        assert!(html.contains(">123456</strong>.<br>\nNever &quot;share&quot; it, 123456."), "{html}");
        assert!(html.contains("<html lang=\"ar\" dir=\"rtl\">"), "{html}");
    }
}
