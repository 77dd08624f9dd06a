//! Tests of the settings: defaults, refusals, redaction, and the files that list them.

mod documents;
mod outside;

use secrecy::ExposeSecret as _;

use super::settings::Setting;
use super::*;

/// Long enough to sign with, and easy to find where it must not be.
const SECRET: &str = "canary-canary-canary-canary-canary";

fn config<const N: usize>(pairs: [(&str, &str); N]) -> Result<Config, String> {
    let given = [("SESSION_SECRET", SECRET)].into_iter().chain(pairs);
    Config::new(&Given::from_iter(given)).map_err(|error| error.to_string())
}

fn refusal<const N: usize>(pairs: [(&str, &str); N]) -> String {
    match config(pairs) {
        Ok(_) => panic!("{pairs:?} was accepted"),
        Err(sentence) => {
            let is_one_sentence = sentence.ends_with('.') && !sentence.contains(". ") && !sentence.contains('\n');
            assert!(is_one_sentence, "not one sentence: {sentence}");
            assert!(!sentence.contains("canary"), "quotes a secret: {sentence}");
            sentence
        }
    }
}

#[test]
fn with_nothing_set_it_is_the_demo_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(&Given::from_iter([("DATA_DIR", dir.path().to_str().unwrap())])).unwrap();
    assert_eq!(config.address().to_string(), "127.0.0.1:3000");
    assert!(matches!(config.store, StoreConfig::Sqlite));
    assert!(matches!(config.upstream, UpstreamConfig::Demo { .. }));
    assert_eq!(config.chat.default_model, "demo");
    for name in ["demo", "gpt-3.5-turbo", "anything/else"] {
        assert!(config.chat.allowed_models.allows(name), "{name}");
    }
    let kept = std::fs::read_to_string(dir.path().join(kept_secret::FILE_NAME)).unwrap();
    assert_eq!(config.session.secrets[0].expose_secret(), kept.trim().as_bytes());
    assert!(!config.session.https);
}

#[test]
fn the_table_has_the_defaults_that_are_in_force() {
    let by_default = config([]).unwrap();
    for (name, value) in by_default.effective() {
        let setting = settings::find(name).unwrap();
        match name {
            "SESSION_SECRET" => assert_eq!(value, "(set)"),
            "DEFAULT_MODEL" => assert_eq!(value, "demo"),
            "ALLOWED_MODELS" => assert_eq!(value, "*"),
            "COOKIE_NAME" => assert_eq!(value, "sessionId"),
            "COOKIE_SECURE" => assert_eq!(value, "false"),
            "VISITOR_RATE" => assert_eq!(value, "none"),
            "REDIS_KEY_PREFIX" => assert_eq!(value, "", "not in force on SQLite"),
            _ => assert_eq!(value, setting.default, "{name}"),
        }
    }
}

#[test]
fn every_setting_has_an_effect_that_shows() {
    let values = [
        ("APP_ENV", "production"),
        ("HOST", "0.0.0.0"),
        ("PORT", "0"),
        ("DATA_DIR", "/elsewhere"),
        ("OPENAI_API_KEY", "your-key"),
        ("OPENAI_BASE_URL", "http://localhost:9/v1"),
        ("DEFAULT_MODEL", "one"),
        ("ALLOWED_MODELS", "one,two*"),
        ("SYSTEM_PROMPT", "Be brief."),
        ("TEMPERATURE", "0"),
        ("MAX_TOKENS", "7"),
        ("MAX_TOKENS_LIMIT", "70"),
        ("HISTORY_MAX_TOKENS", "700"),
        ("UPSTREAM_CONNECT_TIMEOUT", "1s"),
        ("UPSTREAM_FIRST_TOKEN_TIMEOUT", "2s"),
        ("UPSTREAM_IDLE_TIMEOUT", "3s"),
        ("UPSTREAM_PLAIN_TIMEOUT", "4s"),
        ("UPSTREAM_THINK_TAGS", "false"),
        ("UPSTREAM_MAX_RETRIES", "0"),
        ("API_KEYS", SECRET),
        ("REDIS_URL", "rediss://redis.example.com:6380/2"),
        ("REDIS_USER", "someone"),
        ("REDIS_PASSWORD", "your-password"),
        ("REDIS_KEY_PREFIX", "chat:"),
        ("SESSION_SECRET", SECRET),
        ("SESSION_MAX_AGE", "12h"),
        ("COOKIE_NAME", "chat"),
        ("COOKIE_SAMESITE", "strict"),
        ("COOKIE_SECURE", "true"),
        ("CORS_ORIGIN", "https://a.example.com,http://localhost:5173"),
        ("PRODUCTION_URL", "https://chat.example.com/"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("MAX_PROMPT_CHARS", "10"),
        ("MAX_CHAT_BODY_BYTES", "1024"),
        ("MAX_BODY_BYTES", "2048"),
        ("MAX_BODIES_BYTES", "8192"),
        ("MAX_UPLOAD_BYTES", "4096"),
        ("MAX_CONNECTIONS", "5"),
        ("HEADER_TIMEOUT", "5s"),
        ("IDLE_TIMEOUT", "80s"),
        ("BODY_TIMEOUT", "6s"),
        ("MAX_MODEL_CALLS", "7"),
        ("MAX_MODEL_CALLS_PER_VISITOR", "3"),
        ("VISITOR_RATE", "3/min"),
        ("MAX_WAITING_TURNS", "0"),
        ("MAX_TURN_WAIT", "7s"),
        ("FIRST_EVENT_WAIT", "0s"),
        ("SHUTDOWN_GRACE", "8s"),
        ("RESUME_WINDOW", "9s"),
        ("ON_CRASH", "interrupt"),
        ("LOG_LEVEL", "warn,openai_backend=debug"),
        ("LOG_FORMAT", "json"),
        ("ACCESS_LOG", "all"),
    ];
    let config = config(values).unwrap();
    let effective = config.effective();
    for (name, value) in values {
        let secret = settings::find(name).unwrap().secret;
        let expected = if secret { "(set)" } else { value };
        assert!(effective.contains(&(name, expected.to_owned())), "{name}: {effective:?}");
    }
    let tried: Vec<_> = values.iter().map(|(name, _)| *name).collect();
    let untried: Vec<_> = settings::all().filter(|setting| !tried.contains(&setting.name)).collect();
    assert!(matches!(untried[..], [Setting { name: "DEMO_WORD_DELAY", .. }]), "{untried:?}");
    let demo = self::config([("DEMO_WORD_DELAY", "0")]).unwrap();
    assert!(matches!(demo.upstream, UpstreamConfig::Demo { word_delay } if word_delay.is_zero()));
}

#[test]
fn production_needs_a_model_and_a_secret() {
    let sentence = refusal([("APP_ENV", "production")]);
    assert!(sentence.starts_with("APP_ENV=production needs a model: set OPENAI_API_KEY"), "{sentence}");
    let sentence = refusal([("APP_ENV", "production"), ("OPENAI_API_KEY", "your-key"), ("SESSION_SECRET", ",")]);
    assert!(sentence.starts_with("APP_ENV=production needs SESSION_SECRET, at least 32 characters"), "{sentence}");
    assert!(config([("APP_ENV", "Production"), ("OPENAI_API_KEY", "your-key")]).is_ok());
    assert!(config([("APP_ENV", "production"), ("OPENAI_BASE_URL", "http://localhost:9/v1")]).is_ok());
}

#[test]
fn the_first_secret_signs_and_all_are_kept() {
    let list = format!(" new-{SECRET}, {SECRET} ,");
    let rotated = config([("SESSION_SECRET", &list)]).unwrap();
    let secrets: Vec<&[u8]> = rotated.session.secrets.iter().map(|secret| secret.expose_secret()).collect();
    assert_eq!(secrets, [format!("new-{SECRET}").as_bytes(), SECRET.as_bytes()]);
}

#[test]
fn a_short_secret_is_refused() {
    for short in ["canary", "canary-canary-canary-canary-can", &format!("{SECRET},canary"), &format!("canary,{SECRET}")]
    {
        let sentence = refusal([("SESSION_SECRET", short)]);
        assert!(sentence.starts_with("SESSION_SECRET must have at least 32 characters, and so must each part"));
    }
}

#[test]
fn unknown_values_are_refused_by_name() {
    let cases = [
        ("APP_ENV", "prod", "APP_ENV must be one of development, production, not \"prod\"."),
        ("HOST", "localhost", "HOST must be an IP address such as 127.0.0.1 or ::, not \"localhost\"."),
        ("PORT", "65536", "PORT must be a number from 0 to 65535, not \"65536\"."),
        ("PORT", "http", "PORT must be a number from 0 to 65535, not \"http\"."),
        ("TEMPERATURE", "2.1", "TEMPERATURE must be a number from 0 to 2, not \"2.1\"."),
        ("TEMPERATURE", "NaN", "TEMPERATURE must be a number from 0 to 2, not \"NaN\"."),
        ("MAX_TOKENS", "0", "MAX_TOKENS must be a number from 1 to 16000, not \"0\"."),
        ("ACCESS_LOG", "some", "ACCESS_LOG must be one of off, errors, all, not \"some\"."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be one of text, json, not \"xml\"."),
        ("COOKIE_SAMESITE", "maybe", "COOKIE_SAMESITE must be one of lax, strict, none, not \"maybe\"."),
        ("COOKIE_SECURE", "maybe", "COOKIE_SECURE must be one of true, false, 1, 0, yes, no, not \"maybe\"."),
    ];
    for (name, value, sentence) in cases {
        assert_eq!(refusal([(name, value)]), sentence);
    }
    for (name, value) in [("SESSION_MAX_AGE", "a month"), ("SESSION_MAX_AGE", "0"), ("SHUTDOWN_GRACE", "-1s")] {
        let sentence = refusal([(name, value)]);
        assert!(
            sentence.starts_with(&format!("{name} must be seconds, or a number with ms, s, m, h or d")),
            "{sentence}"
        );
    }
    assert!(
        refusal([("LOG_LEVEL", "loud")]).starts_with("LOG_LEVEL must be one of off, error, warn, info, debug, trace")
    );
}

#[test]
fn no_numeric_setting_takes_a_word() {
    for setting in settings::all().filter(|setting| setting.default.starts_with(|c: char| c.is_ascii_digit())) {
        let sentence = refusal([(setting.name, "x")]);
        assert!(sentence.starts_with(setting.name), "{sentence}");
    }
}

#[test]
fn unreadable_urls_are_refused_and_not_quoted() {
    let cases = [
        ("OPENAI_BASE_URL", "canary", "OPENAI_BASE_URL is not a readable URL"),
        ("OPENAI_BASE_URL", "ftp://canary/", "OPENAI_BASE_URL must be a URL that begins with http:// or https://."),
        ("OPENAI_BASE_URL", "https://a:canary@host/v1", "OPENAI_BASE_URL must not carry a user name or a password."),
        ("OPENAI_BASE_URL", "https://host/v1?key=canary", "OPENAI_BASE_URL must not carry a query or a fragment."),
        ("PRODUCTION_URL", "chat.example.com", "PRODUCTION_URL is not a readable URL"),
        ("REDIS_URL", "canary:6379", "REDIS_URL must be a URL that begins with redis:// or rediss://."),
        ("REDIS_URL", "http://:canary@host", "REDIS_URL must be a URL that begins with redis:// or rediss://."),
        ("REDIS_URL", "redis://:canary@host:port", "REDIS_URL is not a readable URL"),
        ("REDIS_URL", "redis://:canary@host/canary", "REDIS_URL may end in a database number"),
    ];
    for (name, value, start) in cases {
        let sentence = refusal([(name, value)]);
        assert!(sentence.starts_with(start), "{sentence}");
    }
}

#[test]
fn redis_settings_go_together() {
    let of_url = |url| match config([("REDIS_URL", url), ("REDIS_USER", "someone"), ("REDIS_PASSWORD", SECRET)]) {
        Ok(Config { store: StoreConfig::Redis { url, user, password, key_prefix }, .. }) => {
            (url.expose_secret().to_owned(), user.unwrap(), password.unwrap().expose_secret().to_owned(), key_prefix)
        }
        other => panic!("{url}: {other:?}"),
    };
    let (url, user, password, prefix) = of_url("redis://localhost:6379");
    assert_eq!((url.as_str(), user.as_str(), password.as_str()), ("redis://localhost:6379", "someone", SECRET));
    assert_eq!(prefix, "openai-backend:");
    for url in ["rediss://redis.example.com", "redis://[::1]:6380/3", "redis://localhost/"] {
        of_url(url);
    }
    assert_eq!(
        refusal([("REDIS_PASSWORD", SECRET)]),
        "REDIS_PASSWORD is set and REDIS_URL is not: set both, or neither."
    );
    let braces = refusal([("REDIS_URL", "redis://localhost"), ("REDIS_KEY_PREFIX", "{x}")]);
    assert!(braces.starts_with("REDIS_KEY_PREFIX must have at most 100 ASCII characters"), "{braces}");
}

#[test]
fn the_upstream_follows_from_key_and_url() {
    let upstream = |key, url| config([("OPENAI_API_KEY", key), ("OPENAI_BASE_URL", url)]).unwrap().upstream;
    assert!(matches!(upstream("", ""), UpstreamConfig::Demo { .. }));
    assert!(
        matches!(upstream("your-key", ""), UpstreamConfig::OpenAi { base_url, .. } if base_url.as_str() == OPENAI_BASE_URL)
    );
    assert!(matches!(upstream("your-key", "https://api.openai.com/v1/"), UpstreamConfig::OpenAi { .. }));
    assert!(matches!(upstream("", "http://localhost:9/v1"), UpstreamConfig::Compatible { key: None, .. }));
    assert!(matches!(upstream("your-key", "http://localhost:9"), UpstreamConfig::Compatible { key: Some(_), .. }));
    let sentence = refusal([("OPENAI_BASE_URL", OPENAI_BASE_URL)]);
    assert_eq!(sentence, "OPENAI_BASE_URL is the OpenAI API, which needs OPENAI_API_KEY.");
    let sentence = refusal([("OPENAI_API_KEY", "canary canary")]);
    assert!(sentence.starts_with("OPENAI_API_KEY must not hold spaces"), "{sentence}");
}

#[test]
fn the_bill_is_guarded_towards_openai_only() {
    let openai = config([("OPENAI_API_KEY", "your-key")]).unwrap().chat;
    assert_eq!(openai.default_model, "gpt-3.5-turbo");
    assert!(openai.allowed_models.allows("gpt-4o-mini") && !openai.allowed_models.allows("dall-e-3"));
    let own = config([("OPENAI_API_KEY", "your-key"), ("DEFAULT_MODEL", "house-model")]).unwrap().chat;
    assert!(own.allowed_models.allows("house-model"));
    let compatible = config([("OPENAI_BASE_URL", "http://localhost:9/v1")]).unwrap().chat;
    assert!(compatible.allowed_models.allows("whatever"));
    let listed = config([("OPENAI_API_KEY", "your-key"), ("ALLOWED_MODELS", "gpt-4o, gpt-3*")]).unwrap().chat;
    assert_eq!(listed.allowed_models.patterns(), ["gpt-4o", "gpt-3*"]);
    assert!(!listed.allowed_models.allows("gpt-4"));
    let demo = config([("ALLOWED_MODELS", "gpt-4o")]).unwrap().chat;
    assert!(demo.allowed_models.allows("demo") && !demo.allowed_models.allows("gpt-4"));
    let sentence = refusal([("OPENAI_API_KEY", "your-key"), ("ALLOWED_MODELS", "gpt-4o")]);
    assert!(sentence.starts_with("DEFAULT_MODEL, \"gpt-3.5-turbo\", is not among ALLOWED_MODELS"), "{sentence}");
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    let list = " https://Chat.Example.com:443/ ,http://localhost:5173,https://chat.example.com,, http://[::1]:8080 ";
    let web = config([("CORS_ORIGIN", list)]).unwrap().web;
    assert_eq!(web.cors_origins, ["https://chat.example.com", "http://localhost:5173", "http://[::1]:8080"]);
    for bad in [
        "*",
        "null",
        "chat.example.com",
        "https://*.example.com",
        "https://a/path",
        "https://u:p@a",
        "file:///",
        "https://a?q",
    ] {
        let sentence = refusal([("CORS_ORIGIN", bad)]);
        assert!(sentence.starts_with("CORS_ORIGIN must be a comma list of origins"), "{sentence}");
    }
}

#[test]
fn cookies_are_secure_where_the_site_is() {
    let https = |pairs: [(&str, &str); 3]| config(pairs).unwrap().session.https;
    let [url, secure, same_site] = ["PRODUCTION_URL", "COOKIE_SECURE", "COOKIE_SAMESITE"];
    assert!(https([(url, "https://chat.example.com"), (secure, ""), (same_site, "")]));
    assert!(!https([(url, "http://chat.example.com"), (secure, ""), (same_site, "")]));
    assert!(!https([(url, "https://chat.example.com"), (secure, "no"), (same_site, "")]));
    assert!(https([(url, ""), (secure, "TRUE"), (same_site, "")]));
    assert!(https([(url, ""), (secure, ""), (same_site, "none")]));
    let sentence = refusal([(secure, "false"), (same_site, "none")]);
    assert!(sentence.starts_with("COOKIE_SAMESITE=none needs https"), "{sentence}");
}

#[test]
fn nothing_that_prints_shows_a_secret() {
    let key = format!("key-{SECRET}");
    let url = format!("redis://canary-user:{SECRET}@redis.example.com:6379/1");
    let config = config([
        ("OPENAI_API_KEY", key.as_str()),
        ("REDIS_URL", url.as_str()),
        ("REDIS_PASSWORD", SECRET),
        ("API_KEYS", &format!("{SECRET},web:{SECRET}-2")),
        ("SESSION_SECRET", &format!("{SECRET},{SECRET}-2")),
    ])
    .unwrap();
    for printed in
        [config.summary(), format!("{config:?}"), format!("{config:#?}"), format!("{:?}", config.effective())]
    {
        assert!(!printed.contains("canary"), "{printed}");
    }
    let summary = config.summary();
    for line in [
        "OPENAI_API_KEY=(set)",
        "OPENAI_BASE_URL=https://api.openai.com/v1",
        "REDIS_URL=redis://redis.example.com:6379/1",
        "REDIS_PASSWORD=(set)",
        "REDIS_USER is not set",
        "API_KEYS=(2 are set)",
        "SESSION_SECRET=(2 are set)",
    ] {
        assert!(summary.lines().any(|printed| printed == line), "{line} is missing in:\n{summary}");
    }
}

#[test]
fn a_refused_start_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for setting in settings::all().filter(|setting| setting.default.starts_with(|c: char| c.is_ascii_digit())) {
        let pairs = [("DATA_DIR", data.to_str().unwrap()), (setting.name, "x")];
        assert!(Config::new(&Given::from_iter(pairs)).is_err(), "{}", setting.name);
    }
    assert!(!data.exists());
}

#[test]
fn connections_leave_files_for_the_rest() {
    let limits = config([]).unwrap().limits;
    assert_eq!(limits.connections_within(1_024), 768);
    assert_eq!(limits.connections_within(1_000_000), 10_000);
    assert_eq!(limits.connections_within(0), 1);
}
