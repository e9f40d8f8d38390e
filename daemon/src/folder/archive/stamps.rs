//! Times as names of directories.

use crate::disk::Stamp;

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// `2026-11-21T14.03.22Z`; times outside of the years 0 to 9999 are cut to them.
pub(super) fn stamp_text(seconds: i64) -> String {
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}.{minute:02}.{second:02}Z")
}

/// The seconds since 1970 that a stamp says.
pub(super) fn stamp_seconds(stamp: &Stamp) -> Option<i64> {
    let text = stamp.as_str().get(..20)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds =
        days(year, month, day) * DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    (stamp_text(seconds) == text).then_some(seconds)
}

/// Year, month and day of a day since 1970 (Howard Hinnant, «chrono-compatible date algorithms»).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
