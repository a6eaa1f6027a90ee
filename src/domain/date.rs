//! Dates, as signatures and HTTP write them. In UTC: where a signature holds one, both ends agree on the zone.

use super::time::Timestamp;

/// A second, by the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    year: i64,
    month: i64,
    day: i64,
    /// From Thursday, the first of January 1970.
    days: i64,
    /// Of the day.
    second: i64,
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECS: i64 = 86_400;
/// Of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

impl Utc {
    /// The second that a point in time is in.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        let days = time.as_secs().div_euclid(DAY_SECS);
        // Howard Hinnant, "chrono-compatible low-level date algorithms": years that begin in March.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_based = (5 * of_year + 2) / 153;
        let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: of_year - (153 * march_based + 2) / 5 + 1,
            days,
            second: time.as_secs().rem_euclid(DAY_SECS),
        }
    }

    /// `2023-10-26`.
    #[must_use]
    pub fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `2023-10-26T10:22:32Z` (RFC 3339).
    #[must_use]
    pub fn extended(&self) -> String {
        format!("{}T{}Z", self.date(), self.time())
    }

    /// `20231026T102232Z` (ISO 8601, basic).
    #[must_use]
    pub fn basic(&self) -> String {
        self.extended().replace(['-', ':'], "")
    }

    /// `Thu, 26 Oct 2023 10:22:32 GMT` (RFC 9110 §5.6.7).
    #[must_use]
    pub fn http(&self) -> String {
        let name = |list: &'static [&'static str], index: i64| {
            usize::try_from(index).ok().and_then(|index| list.get(index)).copied().unwrap_or_default()
        };
        let (weekday, month) = (name(&DAYS, self.days.rem_euclid(7)), name(&MONTHS, self.month - 1));
        format!("{weekday}, {:02} {month} {:04} {} GMT", self.day, self.year, self.time())
    }

    fn time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.second / 3600, self.second / 60 % 60, self.second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_written_as_each_gateway_wants_it() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "19700101T000000Z"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "19941106T084937Z"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT", "20000229T123456Z"),
            (1_698_315_752, "Thu, 26 Oct 2023 10:22:32 GMT", "20231026T102232Z"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "21000301T000000Z"),
        ];
        for (secs, http, basic) in known {
            let utc = Utc::of(Timestamp::from_millis(secs * 1000 + 999));
            assert_eq!((utc.http().as_str(), utc.basic().as_str()), (http, basic));
        }
        let utc = Utc::of(Timestamp::from_millis(1_698_315_752_000));
        assert_eq!((utc.date().as_str(), utc.extended().as_str()), ("2023-10-26", "2023-10-26T10:22:32Z"));
    }
}
