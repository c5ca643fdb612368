//! How long a request may take to arrive.

use crate::session::{Error, Sessions};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as _, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the one message of a request may be under way.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// Calls whose requests may last, and say themselves what is too long.
const LASTING: [&str; 3] = ["/fray.v1.Play/", "/fray.v1.Replays/Verify", "/grpc.reflection."];

/// Answers requests that do not arrive.
pub(super) async fn whole(
    State(sessions): State<Arc<Sessions>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if request.body().is_end_stream() || LASTING.iter().any(|lasting| path.starts_with(lasting)) {
        return next.run(request).await;
    }
    let (arriving, arrived) = oneshot::channel();
    let request = request.map(|body| Body::new(Arriving { body, under_way: Some(arriving) }));
    let too_late = async {
        // An error says that it is all there, or that nobody reads it any more.
        if timeout(ARRIVES_WITHIN, arrived).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = too_late => {
            let error = Error::UploadTimeout("the request does not arrive");
            sessions.metrics.refused(error.reason());
            tonic::Status::from(error).into_http()
        }
    }
}

/// A request's body that says when it is over.
struct Arriving {
    body: Body,
    /// Its end is the message.
    under_way: Option<oneshot::Sender<()>>,
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.under_way = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
