//! The response as a value, and what can become one.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::Error;
use crate::body::Body;

/// A response: status, fields, and a [`Body`].
pub type Response = http::Response<Body>;

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// What a closure may return. An error is a 500 whose text goes to the log only.
pub trait IntoResponse {
    /// The response.
    ///
    /// # Errors
    /// What the handler failed with.
    fn into_response(self) -> Result<Response, Error>;
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self) -> Result<Response, Error> {
        Ok(self)
    }
}

impl<T: IntoResponse, E: Into<Error>> IntoResponse for Result<T, E> {
    #[inline]
    fn into_response(self) -> Result<Response, Error> {
        self.map_err(Into::into)?.into_response()
    }
}

/// The status with its reason as text. Some want a field that only the application knows, so a tuple:
/// 401 `WWW-Authenticate` (RFC 9110 section 15.5.2), 405 `Allow` (15.5.6), 426 `Upgrade` (15.5.22).
impl IntoResponse for StatusCode {
    fn into_response(self) -> Result<Response, Error> {
        let body = match self.canonical_reason() {
            Some(reason) if has_content(self) => Body::from(reason),
            _ => Body::empty(),
        };
        (self, body).into_response()
    }
}

/// 204 No Content.
impl IntoResponse for () {
    fn into_response(self) -> Result<Response, Error> {
        StatusCode::NO_CONTENT.into_response()
    }
}

macro_rules! ok_with_body {
    ($($type:ty),*) => {$(
        /// 200 with this content.
        impl IntoResponse for $type {
            #[inline]
            fn into_response(self) -> Result<Response, Error> {
                Ok(Response::new(Body::from(self)))
            }
        }
    )*};
}

ok_with_body!(&'static str, String, &'static [u8], Vec<u8>, Bytes);

impl IntoResponse for Body {
    #[inline]
    fn into_response(self) -> Result<Response, Error> {
        Ok(Response::new(self))
    }
}

/// Something with another status.
impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Result<Response, Error> {
        let mut response = self.1.into_response()?;
        *response.status_mut() = self.0;
        Ok(response)
    }
}

/// Something with another status and more fields.
impl<T: IntoResponse> IntoResponse for (StatusCode, HeaderMap, T) {
    fn into_response(self) -> Result<Response, Error> {
        let mut response = (self.0, self.2).into_response()?;
        response.headers_mut().extend(self.1);
        Ok(response)
    }
}

/// Something with more fields.
impl<T: IntoResponse, const N: usize> IntoResponse for ([(HeaderName, &'static str); N], T) {
    fn into_response(self) -> Result<Response, Error> {
        let mut response = self.1.into_response()?;
        for (name, value) in self.0 {
            response
                .headers_mut()
                .append(name, HeaderValue::try_from(value)?);
        }
        Ok(response)
    }
}

/// A response of this content type.
///
/// ```
/// let page = ferricorn_base::typed("text/html; charset=utf-8", "<h1>Hello</h1>");
/// assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
/// ```
#[must_use]
pub fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn has_content(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}
