//! The FUSE adapter and the life of a mount; the only place that names fuser.

mod adapter;
mod deadline;
mod mountinfo;
mod mountpoint;
mod session;
mod signals;
mod unmount;

pub(crate) use mountpoint::{Needed, check as check_mountpoint, check_hides_nothing, is_dead};
pub(crate) use session::{Access, MountSettings, Phase, serve};
pub(crate) use signals::OnSignals;
pub(crate) use unmount::{unmount, unmount_patiently};
