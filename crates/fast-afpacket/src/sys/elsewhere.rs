//! Values that are dropped on a thread of their own.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::thread;

/// A value that takes long to drop, so that no thread that others depend on shall do it.
pub(crate) trait DropsSlowly: Send + 'static {
    /// What has to be done before the drop returns, because nobody waits for the thread at the end of the program.
    fn before_drop(&mut self);
}

/// Drops its value on a thread that is made for it. If none can be made, the thread that drops this does it.
pub(crate) struct Elsewhere<T: DropsSlowly>(ManuallyDrop<T>);

impl<T: DropsSlowly> Elsewhere<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not touched again, and not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T: DropsSlowly> Deref for Elsewhere<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DropsSlowly> DerefMut for Elsewhere<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: DropsSlowly> Drop for Elsewhere<T> {
    fn drop(&mut self) {
        self.0.before_drop();
        // SAFETY: nothing touches the field after this.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        // A failure drops the closure here, and the value with it.
        let _ = thread::Builder::new().name("packet-close".to_owned()).spawn(move || drop(value));
    }
}

impl<T: DropsSlowly + fmt::Debug> fmt::Debug for Elsewhere<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;

    struct Told {
        before: mpsc::Sender<ThreadId>,
        dropped: mpsc::Sender<ThreadId>,
    }

    impl DropsSlowly for Told {
        fn before_drop(&mut self) {
            let _ = self.before.send(thread::current().id());
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.dropped.send(thread::current().id());
        }
    }

    #[test]
    fn dropped_once_on_another_thread_and_prepared_on_this_one() {
        let ((before, befores), (dropped, drops)) = (mpsc::channel(), mpsc::channel());
        drop(Elsewhere::new(Told { before, dropped }));
        let here = thread::current().id();
        assert_eq!(befores.try_recv(), Ok(here), "before the drop returns");
        assert_ne!(drops.recv(), Ok(here));
        assert!(drops.recv().is_err() && befores.recv().is_err(), "once");
    }

    #[test]
    fn taken_back_it_is_as_it_was() {
        let ((before, befores), (dropped, drops)) = (mpsc::channel(), mpsc::channel());
        let told = Elsewhere::new(Told { before, dropped }).into_inner();
        assert!(drops.try_recv().is_err() && befores.try_recv().is_err());
        drop(told);
        assert_eq!(drops.recv(), Ok(thread::current().id()));
        assert!(befores.recv().is_err());
    }
}
