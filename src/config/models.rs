//! Which models may go to the bill.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::ConfigError;

/// The names that requests may use.
#[derive(Debug, Clone)]
pub struct AllowedModels {
    patterns: Vec<String>,
    set: GlobSet,
}

impl AllowedModels {
    /// Names that fit one of `patterns`, in which `*` stands for anything, `?` for one character and `[a-c]`, `{a,b}` for a
    /// choice.
    ///
    /// # Errors
    /// Where a pattern is none.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, ConfigError> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            let glob = GlobBuilder::new(pattern).literal_separator(false).build();
            let unreadable = |error: globset::Error| {
                ConfigError(format!("ALLOWED_MODELS holds the unreadable pattern {pattern:?}: {}.", error.kind()))
            };
            set.add(glob.map_err(unreadable)?);
        }
        let set =
            set.build().map_err(|error| ConfigError(format!("ALLOWED_MODELS is too large: {}.", error.kind())))?;
        Ok(Self { patterns, set })
    }

    /// Whether a request may name this model.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// What is allowed, as it was written, for people.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let allowed = AllowedModels::new(["gpt-4*", "org/model", "?"]).unwrap();
        for name in ["gpt-4", "gpt-4o/x", "org/model", "x"] {
            assert!(allowed.allows(name), "{name}");
        }
        for name in ["", "gpt-3.5-turbo", "xgpt-4", "GPT-4", "org/modelx", "org"] {
            assert!(!allowed.allows(name), "{name}");
        }
        assert!(AllowedModels::new(["*"]).unwrap().allows("any/name:1"));
        assert!(!AllowedModels::new(Vec::<String>::new()).unwrap().allows("gpt-4"));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        let error = AllowedModels::new(["gpt-[4"]).unwrap_err();
        assert!(error.to_string().starts_with("ALLOWED_MODELS holds the unreadable pattern \"gpt-[4\""), "{error}");
    }
}
