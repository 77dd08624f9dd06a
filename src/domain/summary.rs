//! What a compaction item carries: a summary, and what of the history goes on word for word.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What stands before the JSON of a content that has all that is left of its history. Without it the content is a summary's
/// text, and what goes on word for word are items beside it.
const MARK: &str = "compacted-1:";

/// What is left of a longer history.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Compacted {
    /// What the model said of it.
    pub summary: String,
    /// The items that go on word for word, in order.
    #[serde(default)]
    pub items: Vec<Box<RawValue>>,
    /// Whether this is all that is left, so that nothing before it belongs to a prompt.
    #[serde(skip)]
    pub is_all: bool,
}

impl Compacted {
    /// As a compaction item carries it: base64, which says to clients that it is not theirs to read.
    #[must_use]
    pub fn sealed(&self) -> String {
        match self.is_all {
            true => STANDARD.encode(format!("{MARK}{}", super::json::json_of(self))),
            false => STANDARD.encode(&self.summary),
        }
    }

    /// [`Compacted::sealed`] back; `None` where another server made it.
    #[must_use]
    pub fn of(sealed: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(sealed).ok()?).ok()?;
        match text.strip_prefix(MARK).and_then(|json| serde_json::from_str(json).ok()) {
            Some(compacted) => Some(Self { is_all: true, ..compacted }),
            None => Some(Self { summary: text, ..Self::default() }),
        }
    }

    /// All its text, for counting.
    #[must_use]
    pub fn text(&self) -> String {
        self.items.iter().fold(self.summary.clone(), |text, item| text + item.get())
    }
}
