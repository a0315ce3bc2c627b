//! A place for one value, which threads put there and take without a lock. For what is as large as a
//! pointer: then it is one instruction each.

#[cfg(not(loom))]
use crossbeam_utils::atomic::AtomicCell;
#[cfg(loom)]
use loom::sync::Mutex;

/// A place for a `T`, or nothing.
#[cfg(not(loom))]
pub(crate) struct Slot<T>(AtomicCell<Option<T>>);

#[cfg(not(loom))]
impl<T> Slot<T> {
    /// With nothing in it.
    pub(crate) fn new() -> Slot<T> {
        Slot(AtomicCell::new(None))
    }

    /// Puts a value there, where there must be none.
    #[inline]
    pub(crate) fn put(&self, value: T) {
        let before = self.0.swap(Some(value));
        debug_assert!(before.is_none(), "one baton");
        // Nothing: that needs not be looked at.
        std::mem::forget(before);
    }

    /// Takes what is there.
    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        self.0.take()
    }
}

/// The same for models: what crossbeam does in one instruction is one step here, too.
#[cfg(loom)]
pub(crate) struct Slot<T>(Mutex<Option<T>>);

#[cfg(loom)]
impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot(Mutex::new(None))
    }

    pub(crate) fn put(&self, value: T) {
        // No thread panics with the lock in hand.
        *self.0.lock().unwrap() = Some(value);
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}
