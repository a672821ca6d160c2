//! The FUSE adapter and the life of a mount; the only place that names fuser.

mod adapter;
mod deadline;
mod mountinfo;
mod mountpoint;
mod session;
mod signals;
mod unmount;

pub use mountpoint::{Needed, check as check_mountpoint, check_hides_nothing, is_dead};
pub use session::{Access, Phase, Settings, serve};
pub use signals::OnSignals;
pub use unmount::{unmount, unmount_patiently};
