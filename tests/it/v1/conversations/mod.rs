//! `/v1/conversations` through the front door: plain storage, as the Agents SDK uses it, and no more than that.

mod crud;
mod items;

use serde_json::{Value, json};

use super::failed;
use super::sdk::{Sdk, over};
use crate::support::schema::{Spec, check};
