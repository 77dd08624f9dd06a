//! The one table of settings: `--help`, `.env.example`, docs/settings.md and the parser all follow it.

/// One setting. It is an environment variable, a line of `.env` and, unless it is a secret, a `--flag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    /// Empty where there is none, or where it follows from other settings.
    pub default: &'static str,
    /// One line, without a full stop.
    pub help: &'static str,
    /// Never printed, and has no flag: every user of the machine can read a program's arguments.
    pub secret: bool,
}

impl Setting {
    /// The flag without its dashes: `OPENAI_BASE_URL` is `openai-base-url`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub title: &'static str,
    /// In the order in which they are listed everywhere.
    pub settings: &'static [Setting],
}

const fn plain(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, help, secret: false }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting { name, default: "", help, secret: true }
}

pub const GROUPS: &[Group] = &[
    Group {
        title: "Server",
        settings: &[
            plain("APP_ENV", "development", "production refuses to start without a model and a session secret"),
            plain("HOST", "127.0.0.1", "IP address to listen on; 0.0.0.0 for every IPv4 interface"),
            plain("PORT", "3000", "Port to listen on; 0 for any free one"),
            plain("DATA_DIR", "./data", "Folder of the SQLite database and the session secret made in development"),
        ],
    },
    Group {
        title: "Model",
        settings: &[
            secret("OPENAI_API_KEY", "Key for the OpenAI API, or for the server at OPENAI_BASE_URL"),
            plain("OPENAI_BASE_URL", "", "Base URL of any OpenAI-compatible server, such as http://localhost:11434/v1"),
            plain(
                "DEFAULT_MODEL",
                "",
                "Model of requests that name none; gpt-3.5-turbo, or demo for the built-in demo",
            ),
            plain(
                "ALLOWED_MODELS",
                "",
                "Comma list of models, * as wildcard; OpenAI's chat models there, every name elsewhere",
            ),
            plain("SYSTEM_PROMPT", "You are a helpful AI assistant.", "System prompt of requests that send none"),
            plain("TEMPERATURE", "0.95", "Temperature of requests that set none, 0 to 2"),
            plain("MAX_TOKENS", "1000", "Most tokens of an answer, where the request sets no limit"),
            plain(
                "MAX_TOKENS_LIMIT",
                "",
                "Most tokens that an answer may have: larger wishes are lowered to it at /v1; where unset, 16000 for visitors and none for keys",
            ),
            plain(
                "HISTORY_MAX_TOKENS",
                "8000",
                "Most tokens of system prompt, history and prompt that go to the model",
            ),
            plain("DEMO_WORD_DELAY", "40ms", "Pause between the demo model's words in a stream"),
        ],
    },
    Group {
        title: "Waiting for the model",
        settings: &[
            plain("UPSTREAM_CONNECT_TIMEOUT", "5s", "Longest wait for a connection"),
            plain("UPSTREAM_FIRST_TOKEN_TIMEOUT", "10m", "Longest wait for the first token of a stream"),
            plain("UPSTREAM_IDLE_TIMEOUT", "5m", "Longest silence in a stream; comments break it for an hour at most"),
            plain("UPSTREAM_PLAIN_TIMEOUT", "10m", "Longest wait for an answer that is not streamed"),
            plain(
                "UPSTREAM_THINK_TAGS",
                "",
                "Take <think> at the start of a text for thoughts, true or false; where unset, at every server but OpenAI",
            ),
            plain("UPSTREAM_MAX_RETRIES", "3", "Most retries of a call, all before its first byte, 0 to 10"),
        ],
    },
    Group {
        title: "SDKs",
        settings: &[secret(
            "API_KEYS",
            "Keys for /v1 besides those of `keys create`: name:key or key, comma-separated; without any, open in development on a loopback HOST only",
        )],
    },
    Group {
        title: "Redis or Valkey",
        settings: &[
            plain("REDIS_URL", "", "redis:// or rediss:// URL; keeps everything there instead of in SQLite"),
            plain("REDIS_USER", "", "User name, where it is not in the URL"),
            secret("REDIS_PASSWORD", "Password, where it is not in the URL"),
            plain("REDIS_KEY_PREFIX", "openai-backend:", "Prefix of every key"),
        ],
    },
    Group {
        title: "Sessions and browsers",
        settings: &[
            secret(
                "SESSION_SECRET",
                "Signs cookies, 32 characters or more; a comma list rotates: the first signs, all verify",
            ),
            plain("SESSION_MAX_AGE", "30d", "A session and its history are deleted after this long without use"),
            plain(
                "COOKIE_NAME",
                "",
                "Name of the session cookie; where unset, sessionId, and __Host-sessionId over https",
            ),
            plain("COOKIE_SAMESITE", "lax", "lax or strict; none for a front end on another site, over https"),
            plain(
                "COOKIE_SECURE",
                "",
                "Send cookies over https only: true or false; follows PRODUCTION_URL where unset",
            ),
            plain(
                "CORS_ORIGIN",
                "",
                "Comma list of origins that may call with credentials, such as http://localhost:5173",
            ),
            plain("PRODUCTION_URL", "", "Public URL of this server, for the API document and for https cookies"),
            plain(
                "TRUSTED_PROXIES",
                "",
                "Comma list of addresses and networks whose X-Forwarded-* or Forwarded headers count, such as 10.0.0.0/8",
            ),
        ],
    },
    Group {
        title: "Limits",
        settings: &[
            plain("MAX_PROMPT_CHARS", "100000", "Longest prompt, in characters"),
            plain(
                "MAX_CHAT_BODY_BYTES",
                "1048576",
                "Largest request body at /chat, in bytes; MAX_BODY_BYTES where that is less",
            ),
            plain("MAX_BODY_BYTES", "33554432", "Largest JSON body at /v1, pictures included, in bytes"),
            plain(
                "MAX_BODIES_BYTES",
                "268435456",
                "Most bytes of all request bodies at once; larger ones wait for their room",
            ),
            plain("MAX_UPLOAD_BYTES", "104857600", "Largest file or form passed on at /v1, in bytes"),
            plain("MAX_CONNECTIONS", "10000", "Most connections at once, at most three quarters of them WebSockets"),
            plain("HEADER_TIMEOUT", "10s", "A request whose header takes longer, from its first byte on, is refused"),
            plain(
                "IDLE_TIMEOUT",
                "150s",
                "A connection without a request is closed after this long; longer than what proxies keep theirs",
            ),
            plain("BODY_TIMEOUT", "30s", "A request whose body takes longer is refused"),
            plain("MAX_MODEL_CALLS", "1024", "Most calls to the model at once"),
            plain("MAX_MODEL_CALLS_PER_VISITOR", "8", "Most calls to the model at once for one session"),
            plain(
                "VISITOR_RATE",
                "",
                "Most turns of one session, such as 20/min, or none; where unset, 20/min in production and none in development",
            ),
            plain("MAX_WAITING_TURNS", "16", "Most turns that wait for one conversation"),
            plain("MAX_TURN_WAIT", "30s", "Longest that a turn waits for its conversation"),
            plain(
                "FIRST_EVENT_WAIT",
                "10s",
                "How long a stream's HTTP status is held back for the model's first event",
            ),
            plain("SHUTDOWN_GRACE", "30s", "How long running turns may continue after SIGTERM"),
            plain("RESUME_WINDOW", "1h", "How long the events of an ended turn are kept"),
            plain("ON_CRASH", "rerun", "What happens to a turn whose server died: rerun it once, or interrupt it"),
        ],
    },
    Group {
        title: "Log",
        settings: &[
            plain(
                "LOG_LEVEL",
                "info",
                "error, warn, info, debug or trace; by target as in info,openai_backend::turn=debug",
            ),
            plain("LOG_FORMAT", "text", "text or json, on stderr"),
            plain(
                "ACCESS_LOG",
                "errors",
                "A line for each request: all, errors (those answered with 500 or above) or off",
            ),
        ],
    },
];

/// All settings, in the order of their groups.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}
