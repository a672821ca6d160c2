//! When a member was last changed: Info-ZIP and NTFS extra fields in UTC, or else the DOS time of the header.

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
pub fn modified(entry: &Entry<'_>) -> SystemTime {
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
    precise.unwrap_or_else(|| dos(u16_at(entry.fixed, 14), u16_at(entry.fixed, 12)))
}

/// Impossible dates are moved to the nearest possible one.
fn dos(date: u16, time: u16) -> SystemTime {
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
        let seconds = |date, time| dos(date, time).duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds(0x56A1, 0), 1_682_899_200);
        assert_eq!(seconds((44 << 9) | (2 << 5) | 29, (23 << 11) | (59 << 5) | 29), 1_709_251_198);
        assert_eq!(seconds(0, 0), 315_532_800);
        assert_eq!(
            seconds(0xFFFF, 0xFFFF),
            seconds((127 << 9) | (12 << 5) | 31, (23 << 11) | (59 << 5) | 29) + 1
        );
    }
}
