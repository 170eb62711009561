//! What people keep secrets in: text files, as editors and shells on every system write them.

use secrecy::SecretString;

/// Why bytes are no secret text. Says nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotText {
    #[error("it is UTF-16: save it as UTF-8, or as plain ASCII")]
    Utf16,
    #[error("it is not UTF-8: save it in that encoding, or as plain ASCII")]
    NotUtf8,
    #[error("it holds a zero byte, as UTF-16 and binary files do: save it as UTF-8 text")]
    ZeroByte,
    #[error("it is empty")]
    Empty,
    #[error("its first line is empty, and only that line counts: write the secret there")]
    EmptyFirstLine,
}

/// A text, and whether a byte order mark stood before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) had_mark: bool,
}

/// Reads bytes as UTF-8, without the mark that some editors write before it.
pub(crate) fn text(bytes: &[u8]) -> Result<Text<'_>, NotText> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(NotText::Utf16);
    }
    if bytes.contains(&0) {
        return Err(NotText::ZeroByte);
    }
    let text = str::from_utf8(bytes).map_err(|_| NotText::NotUtf8)?;
    let bare = text.strip_prefix('\u{feff}');
    Ok(Text { text: bare.unwrap_or(text), had_mark: bare.is_some() })
}

/// The first line of a text: up to a line feed, without the carriage returns before it. Spaces count, as in geth.
pub(crate) fn first_line(text: &str) -> Result<SecretString, NotText> {
    let line = text.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    match (line.is_empty(), text.trim().is_empty()) {
        (false, _) => Ok(SecretString::from(line)),
        (true, true) => Err(NotText::Empty),
        (true, false) => Err(NotText::EmptyFirstLine),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn secret(bytes: &[u8]) -> Result<String, NotText> {
        Ok(first_line(text(bytes)?.text)?.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_is_the_first_line_however_the_file_was_written() {
        for bytes in [
            &b"secret"[..],
            b"secret\n",
            b"secret\r\n",
            b"secret\r",
            b"secret\nmore\n",
            b"\xef\xbb\xbfsecret\r\nmore",
        ] {
            assert_eq!(secret(bytes).as_deref(), Ok("secret"), "{bytes:?}");
        }
        assert_eq!(secret(b" two words \n").as_deref(), Ok(" two words "), "spaces count");
        assert_eq!(secret(b"\t\n").as_deref(), Ok("\t"));
        assert_eq!(secret("pässwörd\n".as_bytes()).as_deref(), Ok("pässwörd"));
        assert_eq!(secret(b"a\rb\r\r\n").as_deref(), Ok("a\rb"));
    }

    #[test]
    fn a_byte_order_mark_is_reported() {
        assert!(text(b"\xef\xbb\xbfsecret").unwrap().had_mark);
        assert!(!text(b"secret").unwrap().had_mark);
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        for (bytes, expected) in [
            (&b"\xff\xfes\0e\0"[..], NotText::Utf16),
            (b"\xfe\xff\0s\0e", NotText::Utf16),
            (b"s\0e\0c\0", NotText::ZeroByte),
            (b"p\xe4ssword", NotText::NotUtf8),
            (b"", NotText::Empty),
            (b"\xef\xbb\xbf", NotText::Empty),
            (b"\n \r\n", NotText::Empty),
            (b"\nsecret\n", NotText::EmptyFirstLine),
            (b"\r\nsecret\n", NotText::EmptyFirstLine),
        ] {
            assert_eq!(secret(bytes), Err(expected), "{bytes:?}");
        }
    }
}
