//! When a member was last changed, both ways: Info-ZIP and NTFS extra fields in UTC, or else the DOS time of the
//! header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::zip::{Entry, extra_fields, u16_at, u32_at, u64_at};

/// Extended timestamp of Info-ZIP: flags, then the modification time in seconds since 1970.
const EXTENDED_TIMESTAMP: u16 = 0x5455;
/// NTFS times (APPNOTE 4.5.5): in units of 100 ns since 1601.
const NTFS: u16 = 0x000A;

const DAY: u64 = 24 * 60 * 60;
/// Seconds from 1601-01-01 to 1970-01-01.
const NTFS_EPOCH: u64 = 11_644_473_600;

/// Returns the modification time. A DOS time has no zone; it is taken for UTC, so that it is the same everywhere.
pub(crate) fn modified(entry: &Entry<'_>) -> SystemTime {
    let mut fields = extra_fields(entry.extra);
    let precise = fields.find_map(|(id, data)| match id {
        EXTENDED_TIMESTAMP if data.len() >= 5 && data[0] & 1 != 0 => {
            let seconds = i64::from(u32_at(data, 1) as i32);
            Some(match u64::try_from(seconds) {
                Ok(after) => UNIX_EPOCH + Duration::from_secs(after),
                Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()),
            })
        }
        NTFS if data.len() >= 16 && u16_at(data, 4) == 1 && u16_at(data, 6) >= 8 => {
            let ticks = u64_at(data, 8);
            let since_1601 = Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as u32 * 100);
            Some(UNIX_EPOCH + since_1601.saturating_sub(Duration::from_secs(NTFS_EPOCH)))
        }
        _ => None,
    });
    precise.unwrap_or_else(|| from_dos(u16_at(entry.fixed, 14), u16_at(entry.fixed, 12)))
}

/// Returns the DOS date and time of an instant, in UTC, to the two seconds; years outside 1980 to 2107 are moved to
/// the nearest end.
pub(crate) fn to_dos(instant: SystemTime) -> (u16, u16) {
    const FIRST: u64 = 315_532_800;
    const LAST: u64 = 4_354_819_199;
    let seconds = instant.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).clamp(FIRST, LAST);
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date_of(days);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
    (date as u16, time as u16)
}

/// Appends the extended timestamp; none for an instant that its 32 bits cannot hold.
pub(crate) fn write_timestamp(extra: &mut Vec<u8>, instant: SystemTime) {
    let seconds = match instant.duration_since(UNIX_EPOCH) {
        Ok(after) => i32::try_from(after.as_secs()),
        Err(before) => i32::try_from(before.duration().as_secs()).map(|seconds| -seconds),
    };
    if let Ok(seconds) = seconds {
        extra.extend(EXTENDED_TIMESTAMP.to_le_bytes());
        extra.extend(5u16.to_le_bytes());
        extra.push(1);
        extra.extend(seconds.to_le_bytes());
    }
}

/// The date that is `days` after 1970-01-01: the inverse of [`days_to`].
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era_day = days % 146_097;
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let day_of_year = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = days / 146_097 * 400 + era_year + u64::from(month <= 2);
    (year, month, day)
}

/// Impossible dates are moved to the nearest possible one.
fn from_dos(date: u16, time: u16) -> SystemTime {
    let (year, month, day) = (1980 + u64::from(date >> 9), u64::from(date >> 5 & 15), u64::from(date & 31));
    let (hour, minute, second) = (u64::from(time >> 11), u64::from(time >> 5 & 63), u64::from(time & 31) * 2);
    let (month, day) = (month.clamp(1, 12), day.max(1));
    let seconds = hour.min(23) * 3600 + minute.min(59) * 60 + second.min(59);
    UNIX_EPOCH + Duration::from_secs(days_to(year, month, day) * DAY + seconds)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, years beginning in March.
fn days_to(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times() {
        let seconds = |date, time| from_dos(date, time).duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds(0x56A1, 0), 1_682_899_200);
        assert_eq!(seconds((44 << 9) | (2 << 5) | 29, (23 << 11) | (59 << 5) | 29), 1_709_251_198);
        assert_eq!(seconds(0, 0), 315_532_800);
        assert_eq!(
            seconds(0xFFFF, 0xFFFF),
            seconds((127 << 9) | (12 << 5) | 31, (23 << 11) | (59 << 5) | 29) + 1
        );
    }

    #[test]
    fn dos_times_are_written_as_they_are_read() {
        for day in (3652..50_404).step_by(13) {
            let instant = UNIX_EPOCH + Duration::from_secs(day * DAY + day % DAY / 2 * 2);
            let (date, time) = to_dos(instant);
            assert_eq!(from_dos(date, time), instant);
        }
        assert_eq!(to_dos(UNIX_EPOCH), ((1 << 5) | 1, 0));
        assert_eq!(to_dos(UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 2)).0 >> 9, 127);
    }
}
