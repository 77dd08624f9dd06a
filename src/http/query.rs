//! Reads the query of the cookie door's addresses. A parameter that the address does not have is a mistake, which is told;
//! those that caches and trackers add to every address are no client's own, and read over.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use url::form_urlencoded::{Serializer, parse};

use super::error::ApiError;

/// What begins the name of a parameter that is not meant for the server: `?_=1` makes a cache ask again, `?utm_source=` says where a
/// visitor came from.
const READ_OVER: [&str; 2] = ["_", "utm_"];

/// The same, in whole.
const NAMES_READ_OVER: [&str; 9] =
    ["cb", "cachebust", "cachebuster", "nocache", "t", "ts", "fbclid", "gclid", "msclkid"];

/// The parameters of an address.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read(&parts.uri).map(Self)
    }
}

fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let wrong =
        |error: &dyn std::fmt::Display| ApiError::invalid("A parameter is not right.").details(error.to_string());
    let pairs = || parse(uri.query().unwrap_or_default().as_bytes());
    let is_foreign = pairs().any(|(name, _)| is_read_over(&name));
    let value = match is_foreign {
        false => axum::extract::Query::try_from_uri(uri),
        true => {
            let ours =
                Serializer::new(String::new()).extend_pairs(pairs().filter(|(name, _)| !is_read_over(name))).finish();
            let uri = Uri::builder().path_and_query(format!("/?{ours}")).build().map_err(|error| wrong(&error))?;
            axum::extract::Query::try_from_uri(&uri)
        }
    };
    let axum::extract::Query(value) = value.map_err(|error| wrong(&error.body_text()))?;
    Ok(value)
}

fn is_read_over(name: &str) -> bool {
    READ_OVER.iter().any(|start| name.starts_with(start)) || NAMES_READ_OVER.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Known {
        limit: Option<u16>,
        after: Option<String>,
    }

    #[test]
    fn what_caches_and_trackers_add_is_read_over_and_nothing_else() {
        let known = |text: &str| read::<Known>(&format!("/chat?{text}").parse().unwrap()).ok();
        let both = || Known { limit: Some(2), after: Some("a b+é".into()) };
        for text in [
            "limit=2&after=a%20b%2B%C3%A9",
            "_=1732&limit=2&after=a+b%2b%c3%a9",
            "limit=2&after=a%20b%2B%C3%A9&_=&utm_source=x&fbclid=%ff&ts=1&__cb=5",
        ] {
            assert_eq!(known(text), Some(both()), "{text}");
        }
        assert_eq!(known("_=1"), Some(Known { limit: None, after: None }));
        for wrong in ["colour=red", "_=1&Limit=2", "limit=2&limit=3&_=1", "tx=1", "limit[]=1", "%ff=1"] {
            assert_eq!(known(wrong), None, "{wrong}");
        }
    }
}
