//! What the system says, as what is to be done about it.

use std::path::PathBuf;

use notify::event::{AccessKind, EventKind, ModifyKind, RenameMode};

/// What an event asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Events were lost, and with them perhaps new directories.
    Overflowed,
    /// Something about this path may have changed.
    Changed(PathBuf),
    /// Something new is at this path; if it is a directory, nothing watches it yet.
    Appeared(PathBuf),
}

/// The steps of one event, in order.
pub(super) fn steps(event: notify::Event) -> Vec<Step> {
    // First of all: such an event has no paths.
    if event.need_rescan() {
        return vec![Step::Overflowed];
    }
    let mut paths = event.paths.into_iter();
    match event.kind {
        // Reading is no change, and our own hashing reads everything.
        EventKind::Access(AccessKind::Close(notify::event::AccessMode::Write)) => {
            paths.map(Step::Changed).collect()
        }
        EventKind::Access(_) => Vec::new(),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            paths.map(Step::Appeared).collect()
        }
        // Its two halves are told on their own as well.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            let (from, to) = (paths.next(), paths.next());
            from.map(Step::Changed).into_iter().chain(to.map(Step::Appeared)).collect()
        }
        _ => paths.map(Step::Changed).collect(),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessMode, CreateKind, Flag, MetadataKind};
    use notify::{Event, EventKind};

    use super::*;

    #[test]
    fn a_lost_event_is_seen_before_anything_else() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(steps(event), [Step::Overflowed]);
    }

    #[test]
    fn opening_a_file_is_no_change_and_writing_to_it_is() {
        let opened = Event::new(EventKind::Access(AccessKind::Open(AccessMode::Any))).add_path("/f".into());
        assert_eq!(steps(opened), []);
        let written = Event::new(EventKind::Access(AccessKind::Close(AccessMode::Write))).add_path("/f".into());
        assert_eq!(steps(written), [Step::Changed("/f".into())]);
        let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        assert_eq!(steps(Event::new(mode).add_path("/f".into())), [Step::Changed("/f".into())]);
    }

    #[test]
    fn what_appears_may_be_a_directory() {
        let made = Event::new(EventKind::Create(CreateKind::Folder)).add_path("/d".into());
        assert_eq!(steps(made), [Step::Appeared("/d".into())]);
        let moved = Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::Both)))
            .add_path("/a".into())
            .add_path("/b".into());
        assert_eq!(steps(moved), [Step::Changed("/a".into()), Step::Appeared("/b".into())]);
    }
}
