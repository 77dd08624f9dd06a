//! Tests of the mending: what is missing comes back, and what is whole is left alone.

use serde_json::Value;

use super::*;
use crate::domain::ids::SeededIds;
use crate::domain::turn::FaultKind;

fn mint() -> Mint {
    Mint::new(std::sync::Arc::new(SeededIds::new(7)))
}

fn mended(text: &str) -> String {
    String::from_utf8(plain(text.to_owned().into(), mint()).unwrap().to_vec()).unwrap()
}

#[test]
fn a_whole_answer_is_left_alone() {
    let whole = r#"{ "id":"x" , "choices":[{"index":0,"message":{"role":"assistant","content":"\u00e9 \"refusal\"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"new":{"b":1.50,"a":[ ]}}"#;
    assert_eq!(mended(whole), whole);
}

#[test]
fn missing_keys_are_put_in_and_nothing_else_changes() {
    let bare = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}, {"logprobs":null,"message":{ }}, {}],"n":1.0}"#;
    let expected = r#"{"choices":[{"logprobs":null,"message":{"refusal":null,"content":"a"},"finish_reason":"stop"}, {"logprobs":null,"message":{"refusal":null }}, {"logprobs":null}],"n":1.0}"#;
    assert_eq!(mended(bare), expected);
    serde_json::from_str::<Value>(expected).unwrap();
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for (text, kind) in [
        ("", FaultKind::UpstreamCut),
        (r#"{"choices":[{"mess"#, FaultKind::UpstreamCut),
        ("nonsense", FaultKind::UpstreamGarbage),
        ("{}", FaultKind::UpstreamGarbage),
        (r#"{"choices":[]}"#, FaultKind::UpstreamGarbage),
        (r#"{"choices":[1]}"#, FaultKind::UpstreamGarbage),
        (r#"{"error":{"message":"x","code":429}}"#, FaultKind::RateLimited),
        (r#"{"object":"error","message":"x","code":400}"#, FaultKind::UpstreamRefused),
    ] {
        assert_eq!(plain(text.to_owned().into(), mint()).unwrap_err().kind, kind, "{text}");
    }
}
