//! The errors that OpenAI, compatible servers and proxies really send.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::record::RecordedRequest;
use crate::reply::{Body, Reply};

/// OpenAI's error object.
pub(crate) fn error_json(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn openai(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    Reply::error(status, &error_json(message, kind, param, code))
}

/// Errors.
impl Reply {
    /// Any error: a status and its JSON.
    pub fn error(status: u16, body: &Value) -> Self {
        Self::json(status, body)
    }

    /// 401 `invalid_api_key`, the key sent masked as OpenAI masks it.
    pub fn invalid_api_key() -> Self {
        Self::new(401, Body::Json(|request| wrong_key(&masked(request.key().unwrap_or_default()))))
    }

    /// 401 `invalid_api_key` with the whole key in its message: what must never reach a user or a log.
    pub fn invalid_api_key_leaking() -> Self {
        Self::new(401, Body::Json(|request| wrong_key(request.key().unwrap_or_default())))
    }

    /// 404 `model_not_found`, naming the model asked for.
    pub fn model_not_found() -> Self {
        Self::new(404, Body::Json(|request| unknown_model(request.model())))
    }

    /// 400 `context_length_exceeded`.
    pub fn context_length_exceeded() -> Self {
        let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 \
                       tokens. Please reduce the length of the messages.";
        let code = Some("context_length_exceeded");
        openai(400, message, "invalid_request_error", Some("messages"), code)
    }

    /// 400 `exceed_context_size_error`, llama.cpp's word for the same.
    pub fn llama_context_exceeded() -> Self {
        let message = "the request exceeds the available context size, try increasing it";
        let details = json!({"code": 400, "message": message, "type": "exceed_context_size_error",
                             "n_prompt_tokens": 9001, "n_ctx": 8192});
        Self::error(400, &json!({"error": details}))
    }

    /// 400 for a parameter that the model does not take.
    pub fn unsupported_parameter(name: &str) -> Self {
        let message = format!("Unsupported parameter: '{name}' is not supported with this model.");
        openai(400, &message, "invalid_request_error", Some(name), Some("unsupported_parameter"))
    }

    /// 429 `rate_limit_exceeded`, without a word on when to come back.
    pub fn rate_limited() -> Self {
        let message = "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again \
                       in 20s. Visit https://platform.openai.com/account/rate-limits to learn more.";
        openai(429, message, "requests", None, Some("rate_limit_exceeded"))
            .header("x-ratelimit-limit-requests", "3")
            .header("x-ratelimit-remaining-requests", "0")
    }

    /// 429 with `Retry-After` in seconds.
    pub fn rate_limited_for(seconds: u64) -> Self {
        Self::rate_limited().header("Retry-After", seconds.to_string())
    }

    /// 429 with `Retry-After` as a date.
    pub fn rate_limited_until(time: SystemTime) -> Self {
        Self::rate_limited().header("Retry-After", http_date(time))
    }

    /// 429 with `retry-after-ms`.
    pub fn rate_limited_for_ms(time: Duration) -> Self {
        Self::rate_limited().header("retry-after-ms", time.as_millis().to_string())
    }

    /// 429 `insufficient_quota`: no retry helps.
    pub fn insufficient_quota() -> Self {
        let message = "You exceeded your current quota, please check your plan and billing details.";
        openai(429, message, "insufficient_quota", None, Some("insufficient_quota"))
    }

    /// 500 `server_error`.
    pub fn server_error() -> Self {
        let message = "The server had an error while processing your request. Sorry about that!";
        openai(500, message, "server_error", None, None)
    }

    /// 503 of OpenAI.
    pub fn overloaded() -> Self {
        let message = "The engine is currently overloaded, please try again later";
        openai(503, message, "service_unavailable", None, None)
    }

    /// 503 of llama.cpp, whose `code` is a number and which has no `param`.
    pub fn llama_loading() -> Self {
        let error = json!({"code": 503, "message": "Loading model", "type": "unavailable_error"});
        Self::error(503, &json!({"error": error}))
    }

    /// 502 of a proxy: a page, not JSON.
    pub fn bad_gateway() -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                    Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
        Self::raw(502, "text/html", page)
    }

    /// 404 for a path that there is not.
    pub(crate) fn unknown_path() -> Self {
        Self::new(
            404,
            Body::Json(|request| {
                let message = format!("Invalid URL ({} {})", request.method, request.path);
                error_json(&message, "invalid_request_error", None, None)
            }),
        )
    }

    /// 401 when no key was sent.
    pub(crate) fn missing_api_key() -> Self {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header \
                       using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        openai(401, message, "invalid_request_error", None, None)
    }
}

fn wrong_key(key: &str) -> Value {
    let message = format!(
        "Incorrect API key provided: {key}. You can find your API key at https://platform.openai.com/account/api-keys."
    );
    error_json(&message, "invalid_request_error", None, Some("invalid_api_key"))
}

pub(crate) fn unknown_model(model: &str) -> Value {
    let message = format!("The model `{model}` does not exist or you do not have access to it.");
    error_json(&message, "invalid_request_error", None, Some("model_not_found"))
}

/// The first eight characters, stars, the last four. A key too short for that is shown whole, as OpenAI does.
fn masked(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    let Some(stars) = letters.len().checked_sub(12).filter(|stars| *stars > 0) else {
        return key.to_owned();
    };
    let (head, tail) = (&letters[..8], &letters[8 + stars..]);
    head.iter().copied().chain(std::iter::repeat_n('*', stars)).chain(tail.iter().copied()).collect()
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 0;
    while day >= month_days(year, month) {
        day -= month_days(year, month);
        month += 1;
    }
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month]);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let day = day + 1;
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

fn year_days(year: u64) -> u64 {
    365 + u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
}

fn month_days(year: u64, month: usize) -> u64 {
    match month {
        1 => year_days(year) - 337,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// The error for a request that is no HTTP.
pub(crate) fn bad_request(what: &str) -> String {
    error_json(&format!("Bad request: {what}"), "invalid_request_error", None, None).to_string()
}

/// Which error a wrong or missing key gets, if any.
pub(crate) fn key_error(request: &RecordedRequest, required: &str) -> Option<Reply> {
    match request.key() {
        None => Some(Reply::missing_api_key()),
        Some(key) if key == required => None,
        Some(_) => Some(Reply::invalid_api_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let at = |seconds| http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn keys_are_masked_as_openai_does() {
        assert_eq!(masked("sk-abcdefghijklmnop"), "sk-abcde*******mnop");
        assert_eq!(masked("short"), "short");
    }
}
