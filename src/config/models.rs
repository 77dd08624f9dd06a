//! Which models requests may name.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::ConfigError;

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
    /// When a pattern cannot be parsed.
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

    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// As they were written.
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
    fn an_unreadable_pattern_is_refused() {
        let error = AllowedModels::new(["gpt-[4"]).unwrap_err();
        assert!(error.to_string().starts_with("ALLOWED_MODELS holds the unreadable pattern \"gpt-[4\""), "{error}");
    }
}
