//! The request that a thread is at: what it logs meanwhile is about that.
//!
//! A number costs a store; text is copied only where the request came with a name of its own.

use std::cell::{Cell, RefCell};

use crate::request::RequestId;

/// The thread is at no request.
const NONE: u64 = 0;

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(NONE) };
    static NAMED: Cell<bool> = const { Cell::new(false) };
    static NAME: RefCell<String> = const { RefCell::new(String::new()) };
}

/// This thread is at this request from now on.
#[inline]
pub fn enter(id: RequestId<'_>) {
    match id {
        RequestId::Made(number) => NUMBER.set(number),
        RequestId::Given(text) => name(text),
    }
}

/// This thread is at no request any more.
#[inline]
pub fn leave() {
    NUMBER.set(NONE);
    if NAMED.get() {
        NAMED.set(false);
    }
}

#[cold]
fn name(text: &str) {
    NAME.with_borrow_mut(|name| {
        name.clear();
        name.push_str(text);
    });
    NAMED.set(true);
}

/// What the request is called that this thread is at.
pub(super) fn id() -> Option<String> {
    if NAMED.get() {
        return Some(NAME.with_borrow(String::clone));
    }
    let number = NUMBER.get();
    (number != NONE).then(|| RequestId::Made(number).to_string())
}
