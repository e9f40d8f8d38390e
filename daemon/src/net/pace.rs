//! Timers of connections that are due on time.
//!
//! quinn paces: it sends a burst of some 2 ms, and what it cannot send within the next quarter of
//! that is lost to it. Tokio's timers go by the millisecond and are late by up to two, so a path
//! that is still being found out gets a third less than the window says. What is due soon is
//! therefore waited for with a timer of the system; everything else with Tokio's, which cost nothing.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// What is due later may be late by a millisecond or two.
const SOON: Duration = Duration::from_millis(10);

/// Tokio, with timers that are due on time.
#[derive(Debug)]
pub(super) struct Paced;

impl Runtime for Paced {
    fn new_timer(&self, due: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let mut timer = Timer { coarse: Box::pin(tokio::time::sleep_until(due.into())), fine: None, due };
        timer.wait_until(due);
        Box::pin(timer)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A timer of a connection.
#[derive(Debug)]
struct Timer {
    coarse: Pin<Box<Sleep>>,
    /// Made when something is due soon for the first time.
    fine: Option<Fine>,
    due: Instant,
}

/// A timer of the system.
#[derive(Debug)]
struct Fine {
    descriptor: AsyncFd<OwnedFd>,
    /// When it goes off, if it will. That may be too soon: what is put off is looked at again then,
    /// since it is put off with nearly every packet.
    set_to: Option<Instant>,
    is_in_use: bool,
}

impl Fine {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "`register` is unsafe; what is owned here stays open")]
        let descriptor = AsyncFd::new(descriptor)?;
        Ok(Self { descriptor, set_to: None, is_in_use: true })
    }

    fn set(&mut self, now: Instant, due: Instant) -> io::Result<()> {
        // Zero would stop it.
        let wait = due.saturating_duration_since(now).max(Duration::from_nanos(1));
        let it_value =
            Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once)?;
        self.set_to = Some(due);
        Ok(())
    }

    /// Waits until the timer has gone off.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.descriptor.poll_read_ready(context))?;
            let mut count = [0; 8];
            match rustix::io::read(&self.descriptor, &mut count) {
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok(_) => {
                    self.set_to = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Timer {
    fn wait_until(&mut self, due: Instant) {
        self.due = due;
        let now = Instant::now();
        let is_soon = due.saturating_duration_since(now) <= SOON;
        if is_soon && self.set_fine(now).is_ok() {
            return;
        }
        if let Some(fine) = &mut self.fine {
            fine.is_in_use = false;
        }
        self.coarse.as_mut().reset(due.into());
    }

    fn set_fine(&mut self, now: Instant) -> io::Result<()> {
        let fine = match &mut self.fine {
            Some(fine) => fine,
            none => none.insert(Fine::new()?),
        };
        if fine.set_to.is_none_or(|set_to| set_to > self.due) {
            fine.set(now, self.due)?;
        }
        fine.is_in_use = true;
        Ok(())
    }
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, due: Instant) {
        self.wait_until(due);
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timer = &mut *self;
        while let Some(fine) = timer.fine.as_mut().filter(|fine| fine.is_in_use) {
            let now = Instant::now();
            if now >= timer.due {
                return Poll::Ready(());
            }
            let gone_off = match fine.set_to {
                Some(_) => ready!(fine.poll(context)),
                None => fine.set(now, timer.due),
            };
            if gone_off.is_err() {
                fine.is_in_use = false;
                timer.coarse.as_mut().reset(timer.due.into());
            }
        }
        Future::poll(timer.coarse.as_mut(), context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn wait(timer: &mut Pin<Box<dyn AsyncTimer>>) {
        poll_fn(|context| timer.as_mut().poll(context)).await;
    }

    #[tokio::test]
    async fn a_timer_never_goes_off_before_it_is_due() {
        for millis in [0, 1, 3, 20] {
            let due = Instant::now() + Duration::from_millis(millis);
            let mut timer = Paced.new_timer(due);
            wait(&mut timer).await;
            assert!(Instant::now() >= due, "{millis} ms");
        }
    }

    #[tokio::test]
    async fn what_is_put_off_or_brought_forward_is_due_when_it_was_said_last() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timer = Paced.new_timer(after(3));
        for (first, last) in [(2, 6), (60_000, 9), (4, 30), (32, 31)] {
            timer.as_mut().reset(after(first));
            timer.as_mut().reset(after(last));
            wait(&mut timer).await;
            assert!(Instant::now() >= after(last), "{last} ms");
            assert!(Instant::now() < after(30_000), "{last} ms");
        }
    }
}
