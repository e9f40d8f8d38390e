//! Where a [`Place`] is below the root: the path of a directory, and one name in it.

use std::io;

use protocol::path::CONTROL_DIRECTORY;

use super::{ControlName, Place};

/// A directory's path below the root (empty for the root itself), and one name in it.
pub(super) struct Spot {
    pub(super) directory: Vec<u8>,
    pub(super) name: Vec<u8>,
}

pub(super) fn not_for(at: &Place) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("this cannot be done at {at:?}"))
}

pub(super) fn control_name(name: ControlName) -> &'static str {
    match name {
        ControlName::Directory => "",
        ControlName::Marker => "marker",
        ControlName::NewMarker => "marker.new",
        ControlName::Staging => "staging",
        ControlName::Archive => "archive",
        ControlName::Probe => "probe",
        ControlName::NewProbe => "probe.new",
    }
}

pub(super) fn control_path(name: ControlName) -> Vec<u8> {
    match name {
        ControlName::Directory => CONTROL_DIRECTORY.into(),
        name => [CONTROL_DIRECTORY, "/", control_name(name)].concat().into_bytes(),
    }
}

/// The path of a place below the root; empty for the root.
pub(super) fn directory_path(at: &Place) -> io::Result<Vec<u8>> {
    let Place::Root = at else {
        let Spot { mut directory, name } = spot(at)?;
        if directory.is_empty() {
            return Ok(name);
        }
        directory.push(b'/');
        directory.extend_from_slice(&name);
        return Ok(directory);
    };
    Ok(Vec::new())
}

pub(super) fn spot(at: &Place) -> io::Result<Spot> {
    let spot = match at {
        Place::Root => return Err(not_for(at)),
        Place::Folder(path) => split(path.as_bytes()),
        Place::Staged(name) => {
            Spot { directory: control_path(ControlName::Staging), name: name.as_str().into() }
        }
        Place::Archived(archived) => {
            let mut path = control_path(ControlName::Archive);
            for part in [archived.stamp.as_str().as_bytes(), archived.path.as_bytes()] {
                path.push(b'/');
                path.extend_from_slice(part);
            }
            split(&path)
        }
        Place::Step(stamp) => {
            Spot { directory: control_path(ControlName::Archive), name: stamp.as_str().into() }
        }
        Place::Control(name) => split(&control_path(*name)),
    };
    Ok(spot)
}

fn split(path: &[u8]) -> Spot {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => Spot { directory: path[..slash].into(), name: path[slash + 1..].into() },
        None => Spot { directory: Vec::new(), name: path.into() },
    }
}
