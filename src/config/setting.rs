//! What a single value may look like.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::domain::limits::Rate;

/// A value as it was found.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// In the file.
    Toml(toml::Value),
    /// In the environment, where everything is text.
    Env(String),
}

/// A type that a value can be read as.
pub(super) trait Setting: Sized {
    /// What to say is wanted when it cannot.
    fn wanted() -> String;

    /// Reads the value.
    fn read(raw: &Raw) -> Option<Self>;

    /// Writes it as the reference does.
    fn show(&self) -> String;
}

impl Raw {
    /// The same in JSON; a date is text.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Toml(toml::Value::Datetime(date)) => date.to_string().into(),
            Self::Toml(value) => serde_json::to_value(value).unwrap_or_default(),
            Self::Env(text) => text.as_str().into(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Env(text) => Some(text),
        }
    }
}

impl Setting for String {
    fn wanted() -> String {
        "a text in quotes".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        raw.text().map(str::to_owned)
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Setting for bool {
    fn wanted() -> String {
        "true or false".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Env(text) => text.parse().ok(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn wanted() -> String {
        "a whole number from 0 to 4294967295".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Toml(value) => value.as_integer().and_then(|number| number.try_into().ok()),
            Raw::Env(text) => text.parse().ok(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Duration {
    fn wanted() -> String {
        "a time such as \"250ms\", \"30s\", \"5m\", \"24h\" or \"180d\"".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        parse_duration(raw.text()?)
    }

    fn show(&self) -> String {
        format!("{:?}", show_duration(*self))
    }
}

impl Setting for Rate {
    fn wanted() -> String {
        "a rate such as \"10/24h\": so many at once, and as many again in that time".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        let (burst, period) = raw.text()?.split_once('/')?;
        Self::new(burst.trim().parse().ok()?, parse_duration(period.trim())?)
    }

    fn show(&self) -> String {
        format!("{:?}", format!("{}/{}", self.burst(), show_duration(self.period())))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn wanted() -> String {
        format!("a list, each item {}", T::wanted())
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Toml(value) => {
                value.as_array()?.iter().map(|item| T::read(&Raw::Toml(item.clone()))).collect()
            }
            Raw::Env(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| T::read(&Raw::Env(item.to_owned()))).collect()
            }
        }
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

/// Settings that a standard parser reads from text.
macro_rules! parsed_setting {
    ($type:ty, $wanted:literal) => {
        impl Setting for $type {
            fn wanted() -> String {
                $wanted.to_owned()
            }

            fn read(raw: &Raw) -> Option<Self> {
                raw.text()?.parse().ok()
            }

            fn show(&self) -> String {
                format!("{:?}", self.to_string())
            }
        }
    };
}

parsed_setting!(SocketAddr, "an address and port such as \"127.0.0.1:8080\"");
parsed_setting!(Url, "a URL such as \"https://login.example.com\"");
parsed_setting!(IpNet, "a network such as \"10.0.0.0/8\"");

impl Setting for PathBuf {
    fn wanted() -> String {
        "a path in quotes".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        raw.text().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn show(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

/// From the largest down.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads "250ms", "30s", "5m", "24h" or "180d".
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*millis)?))
}

/// In the largest unit that divides it.
fn show_duration(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let fitting = UNITS.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    fitting.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Raw {
        Raw::Toml(toml::Value::String(text.to_owned()))
    }

    #[test]
    fn times_and_rates_read_back_as_they_are_shown() {
        for text in ["250ms", "30s", "5m", "24h", "180d", "90s"] {
            let span = Duration::read(&toml(text)).expect(text);
            assert_eq!(Duration::read(&toml(span.show().trim_matches('"'))), Some(span));
        }
        assert_eq!(Duration::from_hours(24).show(), "\"1d\"");
        let rate = Rate::read(&toml("10/24h")).expect("a rate");
        assert_eq!((rate.burst(), rate.period()), (10, Duration::from_hours(24)));
        for bad in ["5", "m", "5 m", "-5m", "5y", "", "999999999999999999999d"] {
            assert_eq!(Duration::read(&toml(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn the_environment_writes_lists_with_commas() {
        let list: Vec<String> = Vec::read(&Raw::Env("US, GB,".to_owned())).expect("a list");
        assert_eq!(list, ["US", "GB"]);
    }
}
