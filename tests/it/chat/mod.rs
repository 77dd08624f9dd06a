//! `/chat` through the front door.

mod basics;
