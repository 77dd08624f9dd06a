//! Lists, a page at a time, as OpenAI has them: `limit`, `order`, `after`; `first_id`, `last_id`, `has_more`.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::error::OpenAiError;
use super::fields::wrong_value;
use crate::http::digits;

/// The most that a page has, and what it has where the request sets no limit.
const MOST: u64 = 100;
const SOME: u64 = 20;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// At most this many.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20, example = 20)]
    limit: Option<String>,
    /// Newest first (`desc`), or oldest first (`asc`).
    #[param(value_type = Option<Order>, inline)]
    order: Option<String>,
    /// Only those behind the one with this id: the `last_id` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// For the document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "its variants are only named in the document")]
enum Order {
    Asc,
    Desc,
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most this many, 1 to 100.
    pub limit: usize,
    /// Oldest first.
    pub ascending: bool,
    /// Only what comes behind the one with this id.
    pub after: Option<String>,
}

impl Page {
    /// Checks a query; `ascending` is what counts where it says nothing of the order.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(query: Result<Query<PageQuery>, QueryRejection>, ascending: bool) -> Result<Self, OpenAiError> {
        let Query(query) = query.map_err(|_| {
            OpenAiError::new(
                axum::http::StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "invalid_query",
                "The query cannot be read.",
            )
        })?;
        let limit = match query.limit.as_deref() {
            None => SOME,
            Some(text) => digits::read(text).filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
                let message = format!("Invalid 'limit': expected an integer from 1 to {MOST}.");
                OpenAiError::invalid("limit", "invalid_value", message)
            })?,
        };
        let ascending = match query.order.as_deref() {
            None => ascending,
            Some("asc") => true,
            Some("desc") => false,
            Some(_) => return Err(wrong_value("order", &["asc", "desc"])),
        };
        Ok(Self { limit: usize::try_from(limit).unwrap_or(usize::MAX), ascending, after: query.after })
    }

    /// This part of a list that is there as a whole, oldest first, and whether more follows; `is_it` knows an entry by its
    /// id.
    ///
    /// # Errors
    /// When `after` names nothing in the list.
    pub fn cut<T>(&self, mut list: Vec<T>, is_it: impl Fn(&T, &str) -> bool) -> Result<(Vec<T>, bool), OpenAiError> {
        if !self.ascending {
            list.reverse();
        }
        if let Some(after) = &self.after {
            let place = list.iter().position(|entry| is_it(entry, after)).ok_or_else(no_such_place)?;
            list.drain(..=place);
        }
        let has_more = list.len() > self.limit;
        list.truncate(self.limit);
        Ok((list, has_more))
    }
}

/// A page of objects that have an `id` each.
#[must_use]
pub fn list(data: Vec<Value>, has_more: bool) -> Value {
    let id = |value: Option<&Value>| value.map_or(Value::Null, |value| value["id"].clone());
    // The specification has texts here, also where the list is empty.
    let text = |id: Value| if id.is_null() { json!("") } else { id };
    let (first, last) = (text(id(data.first())), text(id(data.last())));
    json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more})
}

/// `after` names nothing in the list.
#[must_use]
pub fn no_such_place() -> OpenAiError {
    OpenAiError::invalid("after", "invalid_value", "There is nothing with the id in 'after'.")
}
