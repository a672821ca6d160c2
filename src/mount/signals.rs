//! What is done on signals, in a thread beside those of requests.

use signal_hook::iterator::{Handle, Signals};

use crate::error::Result;
use crate::io::{Background, Cancel, Next};

/// Calls back on signals until it is dropped.
pub(crate) struct OnSignals {
    handle: Handle,
    _thread: Background,
}

impl OnSignals {
    pub(crate) fn start(
        name: &str,
        mut signals: Signals,
        mut call: impl FnMut(i32) + Send + 'static,
    ) -> Result<OnSignals> {
        let handle = signals.handle();
        let step = move |_: &Cancel| {
            signals.wait().for_each(&mut call);
            // Once they are closed, this does not wait any more.
            if signals.is_closed() { Next::WhenWoken } else { Next::NOW }
        };
        let thread = Background::start(name, Next::NOW, step)?;
        Ok(OnSignals { handle, _thread: thread })
    }
}

impl Drop for OnSignals {
    fn drop(&mut self) {
        self.handle.close();
    }
}
