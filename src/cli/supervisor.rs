//! What a service manager is told of a mount in the foreground (sd_notify(3)); without one, nothing happens.

use std::path::Path;

use sd_notify::NotifyState;

use crate::format::printable::printable;
use crate::mount::Phase;

pub(crate) fn tell(phase: Phase, store: &Path, mountpoint: &Path) {
    let (store, mountpoint) = (store.display(), mountpoint.display());
    let (state, status) = match phase {
        Phase::Serving => (NotifyState::Ready, format!("serving {store} on {mountpoint}")),
        Phase::Unmounted => {
            let status = format!("{mountpoint} is unmounted; waiting for programs that have files open");
            (NotifyState::Stopping, status)
        }
    };
    // A line end would begin the next variable.
    let status = printable(&status);
    if let Err(error) = sd_notify::notify(&[state, NotifyState::Status(&status)]) {
        log::warn!("the service manager could not be told: {error}");
    }
}
