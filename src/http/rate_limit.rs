//! What is left of a client's rate, in the headers that OpenAI's SDKs know.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::rate::RateLeft;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// Says what is left, where there is a rate.
pub fn tell(headers: &mut HeaderMap, left: Option<RateLeft>) {
    let Some(RateLeft { most, left, full_in_ms }) = left else { return };
    headers.insert(LIMIT, most.into());
    headers.insert(REMAINING, left.into());
    if let Ok(reset) = HeaderValue::from_str(&duration(full_in_ms)) {
        headers.insert(RESET, reset);
    }
}

/// A duration as OpenAI writes it: `120ms`, `8s`, `1m30s`.
fn duration(ms: i64) -> String {
    match ms.max(0) {
        ms @ 0..1000 => format!("{ms}ms"),
        ms @ 1000..60_000 => format!("{}s", (ms + 999) / 1000),
        ms => {
            let seconds = (ms + 999) / 1000;
            format!("{}m{}s", seconds / 60, seconds % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_up_and_have_their_unit() {
        let shown = [0, 120, 1000, 7_001, 59_000, 60_000, 90_000].map(duration);
        assert_eq!(shown, ["0ms", "120ms", "1s", "8s", "59s", "1m0s", "1m30s"]);
    }
}
