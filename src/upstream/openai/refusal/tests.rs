//! Every kind of error, in the words of those who send it, and nothing private in what is passed on.

use serde_json::json;

use super::*;
use crate::domain::item::Role;

const NOTHING: Private<'static> = Private { key: None, prompt: Prompt::Messages(&[]) };

fn told(value: &Value) -> UpstreamError {
    UpstreamError::read(value.to_string().as_bytes())
}

fn error(message: &str, kind: &str, code: &str) -> UpstreamError {
    told(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn passed_on(words: &str, private: Private<'_>) -> String {
    fault(400, &error(words, "invalid_request_error", ""), private).message
}

#[test]
fn statuses_and_codes_decide_the_kind() {
    use FaultKind::*;
    let none = || UpstreamError::read(b"<html>");
    let llama = json!({"error": {"code": 400, "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error", "n_prompt_tokens": 9001, "n_ctx": 8192}});
    let vllm = |message: &str, kind: &str, code: u16| json!({"object": "error", "message": message, "type": kind, "code": code});
    let cases = [
        (401, error("Incorrect API key", "invalid_request_error", "invalid_api_key"), UpstreamRefusedKey),
        (403, none(), UpstreamRefusedKey),
        (403, error("Project has no access to model", "invalid_request_error", "model_not_found"), UnknownModel),
        (402, none(), QuotaExhausted),
        (429, error("Rate limit reached", "requests", "rate_limit_exceeded"), RateLimited),
        (429, none(), RateLimited),
        (429, error("You exceeded your quota", "insufficient_quota", "insufficient_quota"), QuotaExhausted),
        (429, told(&json!({"error": {"type": "insufficient_quota", "code": null}})), QuotaExhausted),
        (400, error("Billing hard limit", "invalid_request_error", "billing_hard_limit_reached"), QuotaExhausted),
        (400, error("too long", "invalid_request_error", "context_length_exceeded"), ContextTooLong),
        (400, told(&llama), ContextTooLong),
        (400, told(&vllm("This model's maximum context length is 4096", "BadRequestError", 400)), ContextTooLong),
        (400, error("Unsupported parameter", "invalid_request_error", "unsupported_parameter"), UpstreamRefused),
        (404, error("The model `x` does not exist", "invalid_request_error", "model_not_found"), UnknownModel),
        (404, told(&vllm("The model `x` does not exist.", "NotFoundError", 404)), UnknownModel),
        (404, told(&json!({"error": {"message": "model \"x\" not found, try pulling it first"}})), UnknownModel),
        (404, error("Invalid URL (POST /v1/v1/chat/completions)", "invalid_request_error", ""), UpstreamMisaddressed),
        (404, told(&json!({"detail": "Not Found"})), UpstreamMisaddressed),
        (404, none(), UpstreamMisaddressed),
        (302, none(), UpstreamMisaddressed),
        (408, none(), UpstreamTimeout),
        (422, told(&json!({"detail": [{"msg": "field required"}]})), UpstreamRefused),
        (500, error("oops", "server_error", ""), UpstreamUnavailable),
        (502, none(), UpstreamUnavailable),
        (503, told(&json!({"error": {"code": 503, "message": "Loading model"}})), UpstreamUnavailable),
        (504, none(), UpstreamTimeout),
        (529, none(), UpstreamUnavailable),
    ];
    for (status, told, expected) in cases {
        assert_eq!(kind(status, &told), expected, "{status} {} {}", told.code, told.message);
    }
    assert!(fault(400, &told(&llama), NOTHING).message.contains("9001 tokens and the model takes 8192"));
}

#[test]
fn an_error_in_an_answer_keeps_its_kind() {
    use FaultKind::*;
    let cases = [
        (json!({"message": "sorry", "type": "server_error", "code": null}), UpstreamUnavailable),
        (json!("it broke"), UpstreamUnavailable),
        (json!({"code": 429, "message": "slow down"}), RateLimited),
        (json!({"code": 502, "message": "provider"}), UpstreamUnavailable),
        (json!({"code": "rate_limit_exceeded"}), RateLimited),
        (json!({"code": "insufficient_quota"}), QuotaExhausted),
        (json!({"type": "exceed_context_size_error"}), ContextTooLong),
        (json!({"type": "invalid_request_error", "message": "no"}), UpstreamRefused),
    ];
    for (value, expected) in cases {
        let fault = fault_in_answer(&UpstreamError::from_json(&json!({"error": value})));
        assert_eq!(fault.kind, expected, "{value}");
        assert!(!fault.message.contains("sorry") && !fault.message.contains("no:"));
    }
}

#[test]
fn a_refused_key_is_never_quoted() {
    let key = SecretString::from("sk-secret-canary");
    let told = error("Incorrect API key provided: sk-secret-canary.", "invalid_request_error", "invalid_api_key");
    for status in [401, 403] {
        let fault = fault(status, &told, Private { key: Some(&key), prompt: Prompt::Messages(&[]) });
        assert!(!format!("{fault} {fault:?}").contains("canary"));
    }
}

#[test]
fn keys_are_taken_out_of_other_words() {
    let key = SecretString::from("azure0123456789");
    let private = Private { key: Some(&key), prompt: Prompt::Messages(&[]) };
    let words = "bad azure0123456789, (sk-proj-abc) sk-abc***xyz Bearer hunter2 end";
    let message = passed_on(words, private);
    for secret in ["azure0123456789", "sk-", "proj", "xyz", "hunter2"] {
        assert!(!message.contains(secret), "{message}");
    }
    assert!(message.ends_with("end") && message.contains("bad [key],"), "{message}");
}

#[test]
fn words_that_quote_the_prompt_are_not_passed_on() {
    let said = |text: &str| vec![PromptMessage::new(Role::User, text)];
    let words = "Invalid content: 'my mother's maiden name is canary' in messages[3].";
    for text in ["Hello! My dear, my mother's maiden name is canary, thanks", "canary"] {
        let message = passed_on(words, Private { key: None, prompt: Prompt::Messages(&said(text)) });
        assert_eq!(message, "the model's server refused the request (400)");
    }
    assert!(
        passed_on(words, Private { key: None, prompt: Prompt::Messages(&said("another thing")) })
            .ends_with("messages[3].")
    );
}

#[test]
fn long_words_are_cut_and_lines_joined() {
    let message = passed_on(&format!("a\r\nb\u{0}{}", "👌".repeat(400)), NOTHING);
    assert!(message.contains(": a  b 👌") && message.ends_with("👌…"));
    assert!(message.chars().count() < 360);
}

#[test]
fn only_plain_codes_are_logged() {
    assert_eq!(error("m", "t", "invalid_api_key").plain_code(), Some("invalid_api_key"));
    assert_eq!(error("m", "server_error", "sk-Canary").plain_code(), Some("server_error"));
    assert_eq!(error("m", "Bad Request", "no words").plain_code(), None);
    assert_eq!(UpstreamError::read(b"").plain_code(), None);
}

#[test]
fn any_json_can_be_read() {
    for body in ["null", "[]", "[[]]", "5", "\"x\"", "{}", r#"{"error":[]}"#, r#"{"error":{"code":{}}}"#] {
        let told = UpstreamError::read(body.as_bytes());
        assert_eq!(kind(500, &told), FaultKind::UpstreamUnavailable, "{body}");
    }
}
