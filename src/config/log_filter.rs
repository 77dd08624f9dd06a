//! `LOG_LEVEL`: what is logged at which level, by target.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Our own targets begin with this.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The most detail that other crates may log. Below it they may quote message text and keys.
const OTHERS_AT_MOST: LevelFilter = LevelFilter::INFO;

/// Reads `LOG_LEVEL`: a level, then `target=level` pairs, by commas. `None` when it is anything else.
#[must_use]
pub(crate) fn parse_filter(text: &str) -> Option<Targets> {
    let mut parts = text.split(',').map(str::trim);
    let default = parse_level(parts.next()?)?;
    let mut filter = Targets::new().with_default(default.min(OTHERS_AT_MOST)).with_target(OURS, default);
    for part in parts {
        let (target, level) = part.split_once('=')?;
        let (target, level) = (target.trim(), parse_level(level.trim())?);
        if target.is_empty() {
            return None;
        }
        let is_ours = target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        filter = filter.with_target(target, if is_ours { level } else { level.min(OTHERS_AT_MOST) });
    }
    Some(filter)
}

/// Words only, although the library also accepts numbers and the empty string.
fn parse_level(word: &str) -> Option<LevelFilter> {
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_word.then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_filter_is_refused() {
        for good in ["off", "INFO", "info, openai_backend::turn = debug", "warn,hyper=error"] {
            assert!(parse_filter(good).is_some(), "{good:?}");
        }
        for bad in ["", "loud", "3", "info,loud", "info,=debug", "info,turn=loud", "turn=debug", "info,"] {
            assert!(parse_filter(bad).is_none(), "{bad:?}");
        }
    }
}
