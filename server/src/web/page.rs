//! Pages that are one file, embedded; the browser client is one.

use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// Built from `web/`, committed; CI builds it again and compares.
const PAGE: &str = include_str!("../../assets/index.html");

static CLIENT: LazyLock<Embedded> = LazyLock::new(|| Embedded::new(PAGE));

/// `GET /` and `GET /replay`.
pub(super) fn serve() -> Response {
    CLIENT.respond()
}

/// A page, and what it may do.
pub(crate) struct Embedded {
    page: &'static str,
    policy: HeaderValue,
}

impl Embedded {
    /// Only the page's own script and style may run, and it may talk to this server only.
    pub(crate) fn new(page: &'static str) -> Self {
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hashes(page, "script"),
            hashes(page, "style"),
        );
        let nothing = HeaderValue::from_static("default-src 'none'");
        Self { page, policy: HeaderValue::try_from(policy).unwrap_or(nothing) }
    }

    pub(crate) fn respond(&self) -> Response {
        let headers = [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
        ];
        (headers, Html(self.page)).into_response()
    }
}

/// The CSP sources for all inline elements of this kind; `'none'` if there are none.
fn hashes(page: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let mut sources = Vec::new();
    let mut rest = page;
    while let Some((body, after)) = next_element(rest, &open, &close) {
        sources.push(format!("'sha256-{}'", STANDARD.encode(Sha256::digest(body))));
        rest = after;
    }
    if sources.is_empty() { "'none'".into() } else { sources.join(" ") }
}

fn next_element<'a>(page: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let (_, tag) = page.split_once(open)?;
    let (_, body) = tag.split_once('>')?;
    body.split_once(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_elements_are_named_by_their_hashes() {
        let page = "<style>a{}</style><script type=module>alert('Hello, world.');</script><script></script>";
        // The example of the CSP specification.
        let known = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(hashes(page, "script"), format!("{known} {empty}"));
        assert_eq!(hashes("no such thing", "script"), "'none'");
    }
}
