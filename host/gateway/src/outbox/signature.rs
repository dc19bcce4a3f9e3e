//! Signatures of the Standard Webhooks specification.
//!
//! The receiver computes HMAC-SHA256 over `id.timestamp.body` with the secret
//! that both sides have, and so knows who sent a message, that nobody changed
//! it, and that it is not an old one sent again.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What every secret begins with, so that people and scanners know it.
const PREFIX: &str = "whsec_";
/// Bytes of a secret: the specification's.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Base64 with or without its padding, for secrets come with both.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What messages are signed with. Cheap to clone; never shown.
#[derive(Clone)]
pub struct SigningKey(Arc<[u8]>);

impl SigningKey {
    /// The key of a secret: `whsec_` and 24 to 64 bytes in base64. None for
    /// any other text.
    pub fn parse(secret: &str) -> Option<SigningKey> {
        let key = LENIENT.decode(secret.strip_prefix(PREFIX)?).ok()?;
        BYTES.contains(&key.len()).then(|| SigningKey(key.into()))
    }

    fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            unreachable!("a key of any length is one");
        };
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// The value of `webhook-signature`: one signature for each key, in their
/// order, with spaces between.
pub(super) fn signatures(keys: &[SigningKey], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let signed: Vec<_> = keys
        .iter()
        .map(|key| format!("v1,{}", key.sign(id, timestamp_s, body)))
        .collect();
    signed.join(" ")
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &SigningKey) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SigningKey {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one that the specification's own libraries are tested with.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_example_is_signed_as_published() {
        let key = SigningKey::parse(SECRET).unwrap();
        let signed = signatures(std::slice::from_ref(&key), ID, 1_614_265_330, BODY);
        assert_eq!(signed, SIGNATURE);
        let other = SigningKey::parse(&format!("whsec_{}", "A".repeat(43))).unwrap();
        let signed = signatures(&[other, key.clone()], ID, 1_614_265_330, BODY);
        assert!(signed.ends_with(&format!("= {SIGNATURE}")), "{signed}");
        for changed in [
            signatures(std::slice::from_ref(&key), "msg_other", 1_614_265_330, BODY),
            signatures(std::slice::from_ref(&key), ID, 1_614_265_331, BODY),
            signatures(std::slice::from_ref(&key), ID, 1_614_265_330, b"{}"),
        ] {
            assert_ne!(changed, SIGNATURE);
        }
        assert_eq!(format!("{key:?}"), "[secret]");
    }

    #[test]
    fn secrets_are_of_the_form_and_the_length_that_the_specification_has() {
        for secret in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            "whsec_".to_owned(),
            format!("whsec_{}", "A".repeat(31)),
            format!("whsec_{}", "A".repeat(87)),
            format!("whsec_{}!", "A".repeat(32)),
        ] {
            assert!(SigningKey::parse(&secret).is_none(), "{secret}");
        }
        for length in [32, 43, 86] {
            let secret = format!("whsec_{}", "A".repeat(length));
            assert!(SigningKey::parse(&secret).is_some(), "{secret}");
        }
    }
}
