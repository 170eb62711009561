use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;

/// Shorter parts of a path or a query are words like `rpc` or `v2` rather than keys; hiding them would make other text
/// unreadable.
const SHORTEST_KEY: usize = 6;
/// The same of users and passwords, which are secrets more surely.
const SHORTEST_CREDENTIAL: usize = 4;

/// The parts of an address that must not be shown, to be taken out of texts that others wrote: libraries quote
/// addresses, servers repeat them, raw, percent-encoded or in base64.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// Each with what is shown instead, the longest first.
    hidden: Vec<(String, String)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.hidden.len())
    }
}

impl Secrets {
    /// Those of an address, as it was given and as it was parsed. `label` is shown in the place of the whole.
    pub(super) fn of(given: &str, url: &Url, label: &str) -> Self {
        let mut bare = url.clone();
        // It has a host, so it can have these.
        let _ = bare.set_username("").and_then(|()| bare.set_password(None));
        let whole = [given, given.trim_end_matches('/'), url.as_str(), bare.as_str()];
        let mut hidden: Vec<(String, String)> =
            whole.iter().map(|text| ((*text).to_owned(), label.to_owned())).collect();
        let mut hide = |part: &str, shortest: usize| {
            for form in forms(part) {
                if form.len() >= shortest {
                    hidden.push((form, "…".to_owned()));
                }
            }
        };
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        hide(user, SHORTEST_CREDENTIAL);
        hide(password, SHORTEST_CREDENTIAL);
        let basic = format!("{}:{}", decoded(user), decoded(password));
        hide(&STANDARD_NO_PAD.encode(&basic), SHORTEST_KEY);
        hide(&URL_SAFE_NO_PAD.encode(&basic), SHORTEST_KEY);
        hide(url.path(), SHORTEST_KEY);
        url.path().split('/').for_each(|part| hide(part, SHORTEST_KEY));
        for part in [url.query(), url.fragment()].into_iter().flatten() {
            hide(part, SHORTEST_KEY);
            for pair in part.split('&') {
                hide(pair.split_once('=').map_or(pair, |(_, value)| value), SHORTEST_KEY);
            }
        }
        // The host is shown anyway; a key that is like it would hide it from every message.
        let host = url.host_str().unwrap_or_default();
        hidden.retain(|(secret, instead)| {
            !secret.is_empty() && secret != instead && !(host.contains(secret.as_str()) && instead != label)
        });
        hidden.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        hidden.dedup_by(|a, b| a.0 == b.0);
        Self { hidden }
    }

    /// These and those of another address.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut hidden = [&*self.hidden, &*other.hidden].concat();
        hidden.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        hidden.dedup_by(|a, b| a.0 == b.0);
        Self { hidden }
    }

    /// The text without them. Must see a text before it is shortened: half a key is still a secret.
    pub(super) fn hide(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, (secret, instead)| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), instead) } else { text }
        })
    }
}

/// A part as it stands in the address, as it is meant, and as others may encode it.
fn forms(part: &str) -> [String; 3] {
    let meant = decoded(part);
    let encoded = utf8_percent_encode(&meant, NON_ALPHANUMERIC).to_string();
    [part.to_owned(), meant, encoded]
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> Secrets {
        let url = Url::parse(text).unwrap();
        Secrets::of(text, &url, &super::super::url::label(&url))
    }

    #[test]
    fn whatever_way_an_address_is_repeated_its_secrets_are_hidden() {
        let secrets =
            secrets("https://oper%40tor:hun%2Fter2@RPC.example:443/v2/sek%20ret/?key=sekret2&n=sekret3");
        for told in [
            "at https://oper%40tor:hun%2Fter2@RPC.example:443/v2/sek%20ret/?key=sekret2&n=sekret3",
            "for url (https://rpc.example/v2/sek%20ret/?key=sekret2&n=sekret3)",
            "GET /v2/sek%20ret/ not found",
            "no key 'sek ret'",
            "user oper@tor with password hun/ter2",
            "hun%2Fter2",
            "Authorization: Basic b3BlckB0b3I6aHVuL3RlcjI=",
            "n is sekret3, key is sekret2",
        ] {
            let shown = secrets.hide(told);
            for secret in ["sek", "hun", "ter2", "oper", "b3Bl"] {
                assert!(!shown.contains(secret), "{told}: {shown}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        let secrets = secrets("https://node.example/rpc/v2/node.example?x=1");
        assert_eq!(secrets.hide("no host node.example has an rpc"), "no host node.example has an rpc");
        assert_eq!(Secrets::default().hide("as it is"), "as it is");
    }
}
