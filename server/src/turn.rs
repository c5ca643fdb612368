//! Why a stream is polled.

use std::task::Context;

/// A stream's turn: by what it is woken again, and whether it was its request that woke it. A tick wakes a stream to which nothing came
/// meanwhile; to look for a message all the same would cost as much as to read one.
pub struct Turn<'a> {
    /// For all but the request.
    pub context: Context<'a>,
    /// For the request.
    pub request: Context<'a>,
    /// There may be more of it.
    pub has_request: bool,
}

impl<'a> Turn<'a> {
    /// Where one waker stands for everything.
    pub fn whole(context: &Context<'a>) -> Self {
        let waker = context.waker();
        Self {
            context: Context::from_waker(waker),
            request: Context::from_waker(waker),
            has_request: true,
        }
    }
}
