//! Instants in milliseconds since 1970, and as the database has them.

/// 2026-11-01 00:00:00 UTC: everything is before.
pub(crate) const END: i64 = 1_793_491_200_000;
/// Two years.
pub(crate) const SPAN: i64 = 730 * 24 * 60 * 60 * 1000;

/// `YYYY-MM-DD HH:MM:SS.fff`, without zeros at the end of the fraction.
pub(crate) fn text(millis: i64) -> String {
    // Instants that jiff cannot represent do not occur here.
    let instant = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    instant.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_of_november() {
        assert_eq!(text(END), "2026-11-01 00:00:00");
        assert_eq!(text(END - 20), "2026-10-31 23:59:59.98");
    }
}
