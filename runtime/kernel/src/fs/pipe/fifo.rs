//! Pipes with a name (fifo(7)).

use alloc::sync::{Arc, Weak};

use mystikos_platform::sync::Mutex;

use super::{Pipe, PipeFile, O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY};
use crate::fs::file::File;
use crate::process::wait::wait_until;
use crate::{Errno, Result};

/// What a FIFO's inode holds: the pipe that lives while someone has it open.
#[derive(Default)]
pub struct Fifo {
    pipe: Mutex<Weak<Pipe>>,
}

impl Fifo {
    /// Opens the FIFO: waits for the other side, unless O_NONBLOCK or O_RDWR (fifo(7)). Every description needs a file
    /// of its own: as long as it lives it counts as a reader or writer.
    pub fn open(&self, flags: u32) -> Result<Arc<dyn File>> {
        let pipe = self.pipe();
        let access = flags & O_ACCMODE;
        let nonblocking = flags & O_NONBLOCK != 0;
        let (readers, readers_ever, writers, writers_ever) = {
            let state = pipe.state.lock();
            (
                state.readers,
                state.readers_ever,
                state.writers,
                state.writers_ever,
            )
        };
        if access == O_WRONLY && nonblocking && readers == 0 {
            return Err(Errno::ENXIO);
        }
        let mut file = PipeFile::new(&pipe, access, true);
        pipe.queue.wake_all();
        match access {
            O_RDONLY if writers == 0 && nonblocking => file.writers_before = writers_ever,
            O_RDONLY if writers == 0 => wait_until(&[&pipe.queue], None, || {
                (pipe.state.lock().writers_ever != writers_ever).then_some(())
            })?,
            O_WRONLY if readers == 0 => wait_until(&[&pipe.queue], None, || {
                (pipe.state.lock().readers_ever != readers_ever).then_some(())
            })?,
            _ => {}
        }
        Ok(Arc::new(file))
    }

    fn pipe(&self) -> Arc<Pipe> {
        let mut slot = self.pipe.lock();
        slot.upgrade().unwrap_or_else(|| {
            let pipe = Pipe::new();
            *slot = Arc::downgrade(&pipe);
            pipe
        })
    }
}
