//! Trees against plain ordered sets.

mod edits;
mod hostile;
mod pulls;
pub(crate) mod support;
