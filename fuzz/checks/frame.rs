//! Frames and messages: a stream means the same however it is cut, and the same as to tungstenite, but for the excuses in
//! `tests/support/readers.rs`.

use super::readers::{excuse, texto_reads, tungstenite_reads};

/// Streams up to this length are also read byte by byte.
const SINGLES_MAX: usize = 512;

pub(crate) fn check(stream: &[u8]) {
    let texto = texto_reads(&[stream]);
    for at in [1, stream.len() / 3, stream.len() / 2, stream.len().saturating_sub(1)] {
        if let Some((first, rest)) = stream.split_at_checked(at) {
            assert_eq!(texto_reads(&[first, rest]), texto, "cut at {at}");
        }
    }
    if stream.len() <= SINGLES_MAX {
        let singles: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(texto_reads(&singles), texto, "byte by byte");
    }
    let tungstenite = tungstenite_reads(stream);
    assert!(texto == tungstenite || excuse(stream, &texto, &tungstenite).is_some(), "texto {texto:?}\ntungstenite {tungstenite:?}");
}
