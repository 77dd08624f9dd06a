//! Numbers in queries and headers.

/// A number of nothing but digits.
#[must_use]
pub fn read(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!((read("0"), read("007"), read("18446744073709551615")), (Some(0), Some(7), Some(u64::MAX)));
        for bad in ["", "+1", "-1", " 1", "1.0", "1e3", "x", "18446744073709551616"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
