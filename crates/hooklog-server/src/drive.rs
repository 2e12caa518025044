//! How a connection is driven: what may end it is looked at only when it has something to say, and a
//! connection that woke itself goes on at once.
//!
//! **Invariant:** no wake is lost: one that comes while nobody looks is passed on to the task, and one
//! that comes while somebody does is seen before the task sleeps.
//! **Next:** `head_timer.rs`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// How often a connection goes on at once before others have their turn. A request takes three turns:
/// hyper hands a body over in the turn after it was asked for, and that wakes it once more.
const TURNS_MAX: usize = 4;

/// What was done first, and how it ended.
pub(crate) enum First<M, A> {
    Main(M),
    Aside(A),
}

/// The outcome of whichever is done first. `aside` is polled only when it woke, which costs a request
/// nothing, where `select!` asks every branch each time that any of them has something to do.
pub(crate) async fn first<M: Future, A: Future>(main: M, aside: A) -> First<M::Output, A::Output> {
    let (mut main, mut aside) = (pin!(main), pin!(aside));
    let bell = Arc::new(Bell {
        rang: AtomicBool::new(true),
        task: Task::default(),
    });
    let waker = Waker::from(Arc::clone(&bell));
    let mut known = None;
    poll_fn(move |context| {
        if let Poll::Ready(done) = main.as_mut().poll(context) {
            return Poll::Ready(First::Main(done));
        }
        bell.task.is_of(&mut known, context);
        // Swapped only where it rang: that is seldom, and a swap costs more than a look. What was done before
        // it rang, be it just now, is seen by the poll.
        if !(bell.rang.load(Ordering::Relaxed) && bell.rang.swap(false, Ordering::AcqRel)) {
            return Poll::Pending;
        }
        let aside = aside.as_mut().poll(&mut Context::from_waker(&waker));
        aside.map(First::Aside)
    })
    .await
}

/// Polls `future` again at once when it woke itself, a few times: a turn of the scheduler costs as much
/// as what the turn is for, and may wake another thread.
pub(crate) async fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let turn = Arc::new(Turn {
        state: AtomicU8::new(IDLE),
        task: Task::default(),
    });
    let waker = Waker::from(Arc::clone(&turn));
    let mut known = None;
    poll_fn(move |context| {
        turn.task.is_of(&mut known, context);
        let mut own = Context::from_waker(&waker);
        for _ in 0..TURNS_MAX {
            // A swap, so that the poll sees what was done before a wake that this hides.
            turn.state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(done) = future.as_mut().poll(&mut own) {
                return Poll::Ready(done);
            }
            let ended =
                turn.state
                    .compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if ended.is_ok() {
                return Poll::Pending;
            }
        }
        // It woke itself again, and the others wait.
        turn.state.store(IDLE, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// The task that waits.
#[derive(Default)]
struct Task(Mutex<Option<Waker>>);

impl Task {
    /// It is that of `context`; `known` is what was said before.
    fn is_of(&self, known: &mut Option<Waker>, context: &Context<'_>) {
        let waker = context.waker();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
            *self.0.lock() = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(task) = &*self.0.lock() {
            task.wake_by_ref();
        }
    }
}

/// Rings when what is aside has something to say.
struct Bell {
    rang: AtomicBool,
    task: Task,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Nobody polls: a wake is for the task.
const IDLE: u8 = 0;
/// Somebody does, and is to do so again after a wake.
const POLLED: u8 = 1;
/// There was one.
const WOKEN: u8 = 2;

struct Turn {
    state: AtomicU8,
    task: Task,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests;
