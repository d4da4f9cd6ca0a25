//! The socket as hyper sees it: it reports that bytes came, and closes without taking back what was just answered.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::activity::Activity;

/// A stream whose reads are reported to an [`Activity`] and whose end lingers.
pub(super) struct Socket<T> {
    stream: T,
    activity: Arc<Activity>,
    protocol: Protocol,
    linger: Duration,
    draining: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

/// Which protocol the first bytes speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    /// Frames come between requests too (pings, settings), so bytes do not mean that a request starts.
    Http2,
}

impl<T> Socket<T> {
    pub(super) fn new(stream: T, activity: Arc<Activity>, linger: Duration) -> Self {
        Self { stream, activity, protocol: Protocol::Unknown, linger, draining: None, has_ended: false }
    }

    fn saw(&mut self, bytes: &[u8]) {
        if self.protocol == Protocol::Unknown {
            self.protocol = if bytes.starts_with(b"PRI") { Protocol::Http2 } else { Protocol::Http1 };
        }
        if self.protocol == Protocol::Http1 {
            self.activity.bytes_came();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match &buffer.filled()[before..] {
            [] => self.has_ended |= buffer.remaining() > 0,
            bytes => self.saw(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends our side, then reads and drops what the client still sends until it ends its side too or the time is over.
    /// A socket that is closed with unread bytes in it is reset by the kernel, and a reset takes back the answer that
    /// the client has not read yet: a sender of a body that is too large would never learn that it is.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.draining.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let linger = this.linger;
        let draining = this.draining.get_or_insert_with(|| Box::pin(sleep(linger)));
        let mut scratch = [MaybeUninit::uninit(); 4096];
        while !this.has_ended {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => this.has_ended = buffer.filled().is_empty(),
                Poll::Ready(Err(_)) => this.has_ended = true,
                Poll::Pending => {
                    ready!(draining.as_mut().poll(context));
                    this.has_ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
