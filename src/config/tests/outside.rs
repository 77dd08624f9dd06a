//! Tests of the settings about what is outside: browsers, proxies, Redis.

use super::{config, refusal};

#[test]
fn the_cookie_has_a_name_that_browsers_take() {
    let name = |pairs: [(&str, &str); 2]| config(pairs).unwrap().session.cookie_name;
    assert_eq!(name([("COOKIE_NAME", ""), ("COOKIE_SECURE", "true")]), "__Host-sessionId");
    assert_eq!(name([("COOKIE_NAME", "chat_session"), ("COOKIE_SECURE", "true")]), "chat_session");
    for prefixed in ["__Host-chat", "__SECURE-chat", "__Http-chat", "__Host-Http-chat"] {
        assert_eq!(name([("COOKIE_NAME", prefixed), ("COOKIE_SAMESITE", "none")]), prefixed);
        assert!(refusal([("COOKIE_NAME", prefixed)]).contains("over https only"), "{prefixed}");
    }
    for bad in ["a b", "a;b", "a=b", "a,b", "\"a\"", "sässion", "a/b", &"a".repeat(101)] {
        assert!(refusal([("COOKIE_NAME", bad)]).starts_with("COOKIE_NAME must have"), "{bad}");
    }
}

#[test]
fn proxies_are_addresses_and_networks() {
    let web = config([("TRUSTED_PROXIES", " 10.0.0.0/8,, ::1 ")]).unwrap().web;
    assert!(web.trusted_proxies.contains("10.2.3.4".parse().unwrap()));
    for bad in ["proxy.example.com", "10.0.0.0/64", "*", "127.0.0.1, x"] {
        assert!(refusal([("TRUSTED_PROXIES", bad)]).starts_with("Each part of TRUSTED_PROXIES must be"), "{bad}");
    }
    assert!(config([]).unwrap().is_open());
    for setting in [
        ("TRUSTED_PROXIES", "10.0.0.1"),
        ("PRODUCTION_URL", "http://box.lan"),
        ("HOST", "0.0.0.0"),
        ("API_KEYS", "canary-of-a-key-0123456789"),
    ] {
        assert!(!config([setting]).unwrap().is_open(), "{}", setting.0);
    }
    let production = [("APP_ENV", "production"), ("OPENAI_BASE_URL", "http://localhost:9/v1")];
    assert!(!config(production).unwrap().is_open());
}

#[test]
fn a_redis_password_that_is_not_encoded_is_refused_with_a_hint() {
    for password in
        ["canary@x", "canary/x", "canary#x", "canary?x", "canary%x", "canary%2", "12#canary", "6379/canary", "a:b"]
    {
        for user in ["", "default"] {
            let sentence = refusal([("REDIS_URL", &format!("redis://{user}:{password}@redis.example.com:6379/1"))]);
            assert!(sentence.contains("%40 for @") && sentence.contains("REDIS_PASSWORD"), "{sentence}");
            assert!(!sentence.contains("12") && !sentence.contains("6379"), "{sentence}");
        }
    }
    for url in ["redis://:p%40%2f%23@host:6379", "redis://user:p$w!d*@host", "redis://host/1", "rediss://h:6380"] {
        assert!(config([("REDIS_URL", url)]).is_ok(), "{url}");
    }
}
