use std::time::Duration;

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind};
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::failed;
use crate::rpc::EndpointUrl;
use crate::rpc::url::label;

/// The longest answer that is read. The largest are logs; of those, fewer can be asked for.
const LONGEST: usize = 64 * 1024 * 1024;
/// The longest page that is read with a status that is no success.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// Asks by HTTP.
pub(super) async fn post(
    client: &Client,
    url: &EndpointUrl,
    request: &RequestPacket,
) -> Result<ResponsePacket, TransportError> {
    let body = serde_json::to_vec(request).map_err(TransportError::ser_err)?;
    // The client takes user and password out of the address into a header that it marks as sensitive.
    let ask = client.post(url.exposed().clone()).headers(request.headers());
    let ask = ask.header(CONTENT_TYPE, "application/json").body(body);
    let answer = ask.send().await.map_err(|error| failed(url, error))?;
    if !answer.status().is_success() {
        return refused(url, answer).await;
    }
    let body = read(url, answer, LONGEST).await?.ok_or_else(|| {
        TransportErrorKind::http_error(413, format!("the response size exceeds {LONGEST} bytes"))
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| TransportError::deser_err(error, String::from_utf8_lossy(&body)))
}

/// An answer whose status is no success: the refusal that it holds, or the status.
pub(super) async fn refused(url: &EndpointUrl, answer: Response) -> Result<ResponsePacket, TransportError> {
    let status = answer.status();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if status.is_redirection() {
        // Of the address that it names, too, only the host is safe to show.
        let to = header(LOCATION).and_then(|to| Url::parse(to).ok());
        let to = to.map_or_else(|| "another address".to_owned(), |to| label(&to));
        return Err(TransportErrorKind::http_error(status.as_u16(), to));
    }
    let retry_after = header(RETRY_AFTER).and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let body = read(url, answer, LONGEST_REFUSAL).await.ok().flatten().unwrap_or_default();
    // Some gateways refuse in JSON-RPC and give the refusal a status of its own.
    if let Ok(refusal) = serde_json::from_slice::<ResponsePacket>(&body)
        && refusal.is_error()
    {
        return Ok(refusal);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Err(TransportErrorKind::http_error_with_retry_after(status.as_u16(), body, retry_after))
}

/// The body; none if it is longer than `longest`.
async fn read(
    url: &EndpointUrl,
    mut answer: Response,
    longest: usize,
) -> Result<Option<Vec<u8>>, TransportError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| failed(url, error))? {
        if body.len() + piece.len() > longest {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
