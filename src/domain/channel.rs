//! The ways in which a code reaches a person.

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// A text message.
    Sms,
    /// A call that speaks the code.
    Voice,
    /// A WhatsApp message.
    Whatsapp,
    /// A Telegram message.
    Telegram,
    /// Mail.
    Email,
}

impl Channel {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Sms, Self::Voice, Self::Whatsapp, Self::Telegram, Self::Email];

    /// As written in configuration, on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
            Self::Email => "email",
        }
    }

    /// Reads what [`Channel::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }
}
