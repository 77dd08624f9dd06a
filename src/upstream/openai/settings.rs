//! How the model's server is reached and how much patience it gets.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::wire::Takes;
use crate::domain::provider;
use crate::upstream::health::HealthSettings;

/// Settings of an [`OpenAi`](super::OpenAi) upstream.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// The address that `chat/completions` and `models` are below: `https://api.openai.com/v1`.
    pub base_url: Url,
    /// The key, where the server wants one.
    pub api_key: Option<SecretString>,
    /// The variable of the environment that names a proxy to such a server, if there is one.
    pub proxy: Option<&'static str>,
    /// What it calls itself: `openai` or `compatible`.
    pub kind: &'static str,
    /// Whether thoughts may stand in the text, between tags at its start.
    pub think_tags: bool,
    /// For the name's resolution, the connection and the TLS handshake.
    pub connect_timeout: Duration,
    /// For everything up to the first event of a streamed answer, retries and their pauses included.
    pub first_byte_timeout: Duration,
    /// For the pause between two events of a streamed answer. Comments that keep the connection alive do not count.
    pub idle_timeout: Duration,
    /// For a whole plain answer, retries and their pauses included.
    pub plain_timeout: Duration,
    /// For the figures and the end mark, once the model has finished.
    pub finish_grace: Duration,
    /// The most retries of one call.
    pub max_retries: u32,
    /// How many retries all calls of a model may make, and when none is called for a while.
    pub health: HealthSettings,
}

impl OpenAiSettings {
    /// The defaults for a server at `base_url`.
    #[must_use]
    pub fn new(base_url: Url, api_key: Option<SecretString>, kind: &'static str) -> Self {
        Self {
            base_url,
            api_key,
            proxy: None,
            kind,
            think_tags: kind != "openai",
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            plain_timeout: Duration::from_secs(60),
            finish_grace: Duration::from_secs(2),
            max_retries: 3,
            health: HealthSettings::default(),
        }
    }

    /// Whether instructions go there as one system message at the front: everywhere but at OpenAI, and at Azure's OpenAI.
    #[must_use]
    pub fn takes_one_system(&self) -> bool {
        let host = self.base_url.host_str().unwrap_or_default();
        let is_theirs =
            [".api.openai.com", ".openai.azure.com", ".openai.azure.us"].iter().any(|end| host.ends_with(end));
        self.kind != "openai" && !is_theirs
    }

    /// What the server takes in a prompt for this model. OpenAI has no thoughts to give back in Chat Completions.
    #[must_use]
    pub fn takes(&self, model: &str) -> Takes {
        let one_system = self.takes_one_system();
        Takes { one_system, origin: one_system.then(|| provider::origin(&self.location(), model)) }
    }

    /// The address without credentials, to be shown.
    #[must_use]
    pub fn location(&self) -> String {
        let mut shown = self.base_url.clone();
        // Neither can fail on an address that has a host, and one without has no credentials.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }
}

/// Neither the key nor credentials in the address.
impl fmt::Debug for OpenAiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OpenAiSettings");
        shown.field("kind", &self.kind).field("location", &self.location()).finish_non_exhaustive()
    }
}
