//! Trees against plain ordered sets.

mod edits;
mod hostile;
mod pulls;
mod support;
