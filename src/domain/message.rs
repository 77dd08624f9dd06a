//! The messages of a prompt, typed. Each upstream puts them into its own words.

use std::borrow::Cow;

use super::item::Role;
use super::provider::ProviderData;

/// One message of a prompt. Each upstream puts it into its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptMessage {
    /// A role and a text.
    Text {
        /// Who speaks.
        role: Role,
        /// What is said.
        text: String,
    },
    /// Texts with images or files between them.
    Parts {
        /// Who speaks.
        role: Role,
        /// In order.
        parts: Vec<Part>,
    },
    /// The model asks for functions to be called. An [`PromptMessage::Output`] for each follows at once.
    Calls {
        /// What it said before it asked; often empty.
        text: String,
        /// At least one.
        calls: Vec<FunctionCall>,
    },
    /// What a function gave back.
    Output {
        /// The call that it answers.
        call_id: String,
        /// What the model is shown of it.
        text: String,
    },
    /// The model's own text or calls, with what its server wants back with them.
    Own {
        /// What it said or asked for.
        message: Box<PromptMessage>,
        /// Its thoughts, where they go back: only to a model that calls functions before the person speaks again.
        thoughts: Option<String>,
        /// What else goes back, and where to; its calls go by their ids.
        data: Box<ProviderData>,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// An address, or the image itself as a `data:` URL.
        url: String,
        /// How closely it is to be looked at.
        detail: Option<String>,
    },
    /// A file, by its id at the upstream or with what is in it.
    File {
        /// Its id.
        file_id: Option<String>,
        /// What is in it, as a `data:` URL.
        file_data: Option<String>,
        /// Its name.
        filename: Option<String>,
    },
}

/// A call of a function, as a model asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall {
    /// What its output names.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// JSON, as the model wrote it.
    pub arguments: String,
}

impl PromptMessage {
    /// A role and a text.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self::Text { role, text: text.into() }
    }

    /// On whose side of the conversation it stands.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Text { role, .. } | Self::Parts { role, .. } => *role,
            Self::Calls { .. } | Self::Own { .. } => Role::Assistant,
            Self::Output { .. } => Role::User,
        }
    }

    /// All its text; of calls, their arguments, too, and of what is the model's own, its thoughts.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text { text, .. } | Self::Output { text, .. } => Cow::Borrowed(text),
            Self::Parts { parts, .. } => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text(text) => Some(text.as_str()),
                    Part::Image { .. } | Part::File { .. } => None,
                });
                Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
            }
            Self::Calls { text, calls } => {
                Cow::Owned(calls.iter().fold(text.clone(), |text, call| text + &call.arguments))
            }
            Self::Own { message, thoughts, .. } => match thoughts {
                Some(thoughts) => Cow::Owned(format!("{thoughts}\n{}", message.text())),
                None => message.text(),
            },
        }
    }
}

/// What a model's server wants back with the next of the model's own messages.
#[derive(Debug, Default)]
pub struct Own {
    thoughts: String,
    data: ProviderData,
}

impl Own {
    /// Adds thoughts, where it is known that they may go back.
    pub fn think(&mut self, text: &str, data: Option<ProviderData>) {
        let Some(data) = data.filter(|data| data.thoughts.is_some()) else { return };
        self.add(Some(data));
        self.thoughts.push_str(text);
    }

    /// Adds what else there is to give back.
    pub fn add(&mut self, data: Option<ProviderData>) {
        let Some(data) = data else { return };
        if self.data.origin != data.origin {
            self.thoughts.clear();
        }
        self.data.add(data);
    }

    /// Puts it to the model's message, and begins anew.
    pub fn put_to(&mut self, message: PromptMessage) -> PromptMessage {
        let Self { mut thoughts, data } = std::mem::take(self);
        if data.is_empty() {
            return message;
        }
        if !data.said.is_empty() {
            thoughts.clone_from(&data.said);
        }
        let thoughts = data.thoughts.map(|_| thoughts);
        PromptMessage::Own { message: Box::new(message), thoughts, data: Box::new(data) }
    }

    /// Takes from a message what was put to it, before what came since.
    pub fn take_from(&mut self, message: PromptMessage) -> PromptMessage {
        let PromptMessage::Own { message, thoughts, data } = message else { return message };
        let later = std::mem::replace(self, Self { thoughts: thoughts.unwrap_or_default(), data: *data });
        if !later.data.is_empty() {
            self.add(Some(later.data));
            self.thoughts.push_str(&later.thoughts);
        }
        *message
    }
}

/// Thoughts go back where the model calls functions before the person speaks again: there DeepSeek insists on all of
/// them, and elsewhere they are read over, or refused by older models.
/// Source: <https://api-docs.deepseek.com/guides/thinking_mode>.
pub fn forget_idle_thoughts(messages: &mut [PromptMessage]) {
    let speaks = |message: &PromptMessage| {
        matches!(message, PromptMessage::Text { role: Role::User, .. } | PromptMessage::Parts { role: Role::User, .. })
    };
    let calls = |message: &PromptMessage| match message {
        PromptMessage::Own { message, .. } => matches!(**message, PromptMessage::Calls { .. }),
        message => matches!(message, PromptMessage::Calls { .. }),
    };
    for round in messages.split_mut(speaks).filter(|round| !round.iter().any(calls)) {
        for message in round {
            if let PromptMessage::Own { thoughts, .. } = message {
                *thoughts = None;
            }
        }
    }
}
