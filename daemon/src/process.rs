//! What the process asks of the system for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A core file would hold keys. Where this is refused, the home's 0700 is what is left.
pub(crate) fn protect_secrets() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Connections, watches and files on their way need more descriptors than most systems give at first.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
