//! tokio's own channels, with a point before each step where the checker of schedules may let another thread run. A
//! step itself is taken whole: tokio tests the inside of its channels with loom.

pub mod sync {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    pub use real::sync::{Mutex, mpsc, watch};

    /// Another thread may run here.
    fn point() {
        use shuttle::sync::atomic::{AtomicBool, Ordering};
        if !std::thread::panicking() {
            AtomicBool::new(false).load(Ordering::SeqCst);
        }
    }

    #[derive(Debug, Default)]
    pub struct Notify(real::sync::Notify);

    impl Notify {
        pub fn new() -> Self {
            Self::default()
        }

        pub fn notify_one(&self) {
            point();
            self.0.notify_one();
        }

        pub fn notify_waiters(&self) {
            point();
            self.0.notify_waiters();
        }

        pub fn notified(&self) -> Notified<'_> {
            point();
            Notified(Box::pin(self.0.notified()))
        }
    }

    pub struct Notified<'a>(Pin<Box<real::sync::futures::Notified<'a>>>);

    impl Notified<'_> {
        pub fn enable(mut self: Pin<&mut Self>) -> bool {
            point();
            self.0.as_mut().enable()
        }
    }

    impl Future for Notified<'_> {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let polled = self.0.as_mut().poll(cx);
            if polled.is_ready() {
                point();
            }
            polled
        }
    }

    pub mod oneshot {
        use super::point;
        use std::future::Future;
        use std::pin::Pin;
        use std::task::{Context, Poll};

        pub use real::sync::oneshot::error;

        pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = real::sync::oneshot::channel();
            (Sender(Some(sender)), Receiver(Some(receiver)))
        }

        #[derive(Debug)]
        pub struct Sender<T>(Option<real::sync::oneshot::Sender<T>>);

        impl<T> Sender<T> {
            pub fn send(mut self, value: T) -> Result<(), T> {
                point();
                match self.0.take() {
                    Some(sender) => sender.send(value),
                    None => Err(value),
                }
            }

            pub fn is_closed(&self) -> bool {
                point();
                self.0.as_ref().is_none_or(|sender| sender.is_closed())
            }
        }

        impl<T> Drop for Sender<T> {
            fn drop(&mut self) {
                if self.0.is_some() {
                    point();
                }
            }
        }

        #[derive(Debug)]
        pub struct Receiver<T>(Option<real::sync::oneshot::Receiver<T>>);

        impl<T> Future for Receiver<T> {
            type Output = Result<T, error::RecvError>;

            fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                point();
                match &mut self.0 {
                    Some(receiver) => Pin::new(receiver).poll(cx),
                    None => Poll::Pending,
                }
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                point();
                // A value that was sent and not received is dropped by this.
                self.0 = None;
            }
        }
    }
}
