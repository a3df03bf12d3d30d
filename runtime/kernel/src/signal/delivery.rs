//! What happens on the way back to the application.

/// Takes signals from the host, and delivers what is pending for the calling thread: ends the program, or builds a
/// signal frame on the application's stack and sets its registers to the handler.
pub fn work() {
    unimplemented!("K3")
}
